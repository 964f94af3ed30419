"""An owner connects Enphase by consent: from setup to the first chart, and through everything that can go wrong."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import urljoin, urlsplit

import pytest
from playwright.sync_api import Browser, Locator, Page, Request, expect

from enalysis.simulators.accounts import Account
from enalysis.simulators.oauth import Ageing
from tests.journeys.conftest import Place, sign_up

MOST_CLICKS = 12
CALLBACK = "/api/oauth/enphase/callback"
_PATIENCE_MS = 60_000


@dataclass
class Person:
    """Somebody at a browser: every click is counted, every way back from the vendor remembered."""

    page: Page
    place: Place
    clicks: int = 0
    came_back: list[str] = field(default_factory=list)

    def click(self, what: Locator) -> None:
        """Click, and count it."""
        what.click()
        self.clicks += 1

    def button(self, name: str) -> None:
        """Press the button of that name."""
        self.click(self.page.get_by_role("button", name=name, exact=True))

    def link(self, name: str) -> None:
        """Follow the first link of that name."""
        self.click(self.page.get_by_role("link", name=name, exact=True).first)

    def account(self, key: str) -> Account:
        """Return one of the vendor's accounts."""
        return next(a for a in self.place.sandbox.accounts if (a.vendor, a.key) == ("enphase", key))

    def open(self, path: str) -> None:
        """Type an address of ours."""
        self.page.goto(urljoin(self.place.url, path))

    def enter_app(self, account: Account) -> None:
        """Fill in an app's keys and save."""
        for name, value in account.app.items():
            self.page.locator(f"#field-{name}").fill(f" {value} ")
        plan = self.page.locator(f"#plan-developer-{account.plan.key}")
        if plan.count():
            plan.check()
        self.page.get_by_label("Name here").fill(account.app_label)
        self.button("Save and go on")

    def set_out(self, account: Account) -> None:
        """Leave for the vendor and stand before its sign-in."""
        self.button("Continue to Enphase")
        expect(self.page.get_by_role("heading", name="Sign in to Enphase")).to_be_visible(timeout=15_000)
        self.page.get_by_label("E-mail").fill(account.login["username"])
        self.page.get_by_label("Password").fill(account.login["password"])

    def allow(self) -> None:
        """Sign in at the vendor and allow the app."""
        self.button("Sign in")
        self.button("Allow")
        expect(self.page.locator("#state")).to_be_visible(timeout=15_000)

    def reads(self, *texts: str, patience_ms: int = 5_000) -> None:
        """Hold the page to what it must say."""
        for text in texts:
            expect(self.page.locator("#main")).to_contain_text(text, timeout=patience_ms)


@pytest.fixture(scope="module")
def person(browser: Browser, place: Place) -> Iterator[Person]:
    """Return somebody new; at the end the browser must have had nothing to complain of."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    found = Person(page, place)
    complaints: list[str] = []

    def remember(request: Request) -> None:
        if urlsplit(request.url).path == CALLBACK:
            found.came_back.append(request.url)

    page.on("request", remember)
    page.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda e: complaints.append(str(e)))
    yield found
    context.close()
    ours = [c for c in complaints if "status of 4" not in c]
    assert ours == [], "the browser's console is clean, its content security policy kept"


def test_from_setup_to_the_first_chart_in_twelve_clicks(person: Person) -> None:
    sign_up(person.page, person.place)
    person.clicks += 1
    account = person.account("household")
    person.link("Connect a vendor")
    person.link("Enphase")
    person.link("Owner's consent")
    person.reads("First, your app at Enphase", f"{person.place.url}{CALLBACK}")
    person.enter_app(account)
    person.reads("Step 4 of 4", f"{person.place.url}{CALLBACK}")
    person.set_out(account)
    person.allow()
    person.reads("Connected. The first look found")
    assert "code=" not in person.page.url
    site = person.page.locator(".found a").first
    expect(site).to_be_visible(timeout=_PATIENCE_MS)
    person.click(site)
    chart = person.page.locator(".live-chart canvas")
    for _ in range(60):
        if chart.count():
            break
        person.page.wait_for_timeout(1_000)
        person.page.reload()
    expect(chart.first).to_be_visible()
    assert person.clicks <= MOST_CLICKS, f"{person.clicks} clicks"


def to_the_consent(person: Person) -> None:
    """Walk from the list to the page before the vendor; the one app is chosen already."""
    person.open("/connections")
    person.link("Connect a vendor")
    person.link("Enphase")
    person.link("Owner's consent")


def test_refused_at_the_vendor(person: Person) -> None:
    to_the_consent(person)
    person.set_out(person.account("household"))
    person.button("Deny")
    person.reads("You did not allow it", "Nothing was connected", "start again and choose Allow at Enphase")
    assert person.page.url.startswith(urljoin(person.place.url, "/connections/consent/refused"))
    person.link("Start again")
    person.reads("Sign in at Enphase")


def test_a_way_back_works_once(person: Person) -> None:
    allowed = next(url for url in person.came_back if "code=" in url)
    person.page.goto(allowed)
    person.reads("This sign-in was used already", "Look at the list of connections first")
    assert "code=" not in person.page.url
    person.link("To the connections")
    expect(person.page.locator("li.connection")).to_have_count(1)


def test_a_way_back_that_was_not_started_here(person: Person) -> None:
    person.open(f"{CALLBACK}?code=2TJk7M&state=forged")
    person.reads("This sign-in was not started here", "finish in the same browser")
    assert "forged" not in person.page.url


@pytest.mark.parametrize("how", [Ageing.EXPIRE_REFRESH, Ageing.REVOKE])
def test_a_grant_that_ended_is_signed_in_again(person: Person, how: Ageing) -> None:
    auth = person.place.sandbox.vendors["enphase"].auth
    assert auth is not None
    person.open("/connections")
    person.page.locator("li.connection h2 a").first.click()
    auth.age("household", how, datetime.now(UTC))
    trouble = person.page.locator("[data-trouble]")
    for _ in range(8):
        person.button("Refresh sign-in")
        expect(trouble).to_be_visible()
        if "quota" not in trouble.inner_text():
            break
        # Ten calls a minute are soon spent by the first fetch.
        person.page.wait_for_timeout(10_000)
    expect(trouble).to_contain_text("sign in at Enphase again")
    person.reads("Sign in again: sites and history stay")
    expect(person.page.locator("#state")).to_have_attribute("data-state", "reauth_required")
    person.click(person.page.locator(".todo a"))
    person.reads("keeps its sites and its history")
    person.set_out(person.account("household"))
    person.allow()
    person.reads("Signed in again; sites and history are kept. The first look")
    expect(person.page.locator(".found a").first).to_be_visible()


def test_an_app_that_waits_for_approval(person: Person) -> None:
    account = person.account("pending")
    person.open("/connections/new?vendor=enphase")
    person.link("Installer's sign-in")
    person.enter_app(account)
    person.reads("waits for Enphase’s approval", "It is not kept.")
    person.page.locator("#field-username").fill(account.login["username"])
    person.page.locator("#field-password").fill(account.login["password"])
    person.button("Save")
    person.reads("Ask Enphase to verify the app", "nobody needs to sign in again", "We look at most every six hours")
    person.link("Use another verified app")
    person.reads(person.account("household").app_label)


def test_an_app_without_the_endpoint(person: Person) -> None:
    account = person.account("slim")
    person.open("/connections/new?vendor=enphase&way=developer")
    person.link("Use another app")
    person.enter_app(account)
    person.set_out(account)
    person.allow()
    refused = person.page.locator("#main").get_by_text("Enphase does not give this app")
    for _ in range(60):
        if refused.count():
            break
        person.page.wait_for_timeout(1000)
        # The page looks anew by itself, every half minute.
        person.page.reload()
    person.reads("Enphase does not give this app", "The rest is collected")
    person.reads("an app with that access")
