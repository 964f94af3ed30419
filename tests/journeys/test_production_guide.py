"""Walks the quick start of docs/production.md (MISSION C11) as far as it is built, through real doors.

The web application and the simulated vendors answer on ports of their own; only the clock is ours.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID
from zoneinfo import ZoneInfo

import httpx2
import pytest
import uvicorn

from enalysis.actions import accounts
from enalysis.cli.app import reference
from enalysis.cli.serving import http
from enalysis.config import Settings, load_settings
from enalysis.core.errors import ConfigError
from enalysis.runtime import Runtime, open_runtime
from enalysis.simulators.accounts import Account
from enalysis.simulators.enphase.cloud import EnphaseCloud
from enalysis.simulators.oauth import Ageing
from enalysis.simulators.server import SERVER_OPTIONS, Sandbox, create
from tests.bar.__main__ import PLACES
from tests.cli.conftest import database_url
from tests.conftest import Base
from tests.journeys.conftest import free_port
from tests.journeys.people import Person
from tests.settings import CRON, KEY
from tests.web.conftest import EMAIL, PASSWORD, Clock

GUIDE = Path(__file__).parents[2] / "docs" / "production.md"
VENDOR = "enphase"
EXPIRED = "Access token expired. Please refresh your connection."


@dataclass
class Walk:
    """Everything the walker has, and what they came by on the way."""

    base: Base
    folder: Path
    sandbox: Sandbox
    sandbox_url: str
    clock: Clock
    settings: Settings | None = None
    runtime: Runtime | None = None
    owner: Person | None = None
    connection: UUID | None = None

    @property
    def account(self) -> Account:
        """Return the owner's account at the simulated vendor."""
        return next(a for a in self.sandbox.accounts if (a.vendor, a.key) == (VENDOR, "household"))

    @property
    def cloud(self) -> EnphaseCloud:
        """Return the simulated vendor."""
        cloud = self.sandbox.vendors[VENDOR]
        assert isinstance(cloud, EnphaseCloud)
        return cloud

    @property
    def url(self) -> str:
        """Return where the application answers."""
        assert self.settings is not None
        return self.settings.public_url

    @property
    def person(self) -> Person:
        """Return the owner at their browser."""
        assert self.owner is not None
        return self.owner

    def environ(self, port: int) -> dict[str, str]:
        """Return what the operator sets: the app's keys from the vendor's page among it."""
        return {
            "ENCRYPTION_KEY": KEY,
            "CRON_SECRET": CRON,
            "PORT": str(port),
            "DATABASE_URL": database_url(self.base.app),
            "DATABASE_ENGINE_URL": database_url(self.base.engine),
            "DATABASE_JOBS_URL": database_url(self.base.jobs),
            "DATABASE_OWNER_URL": database_url(self.base.owner),
            "SANDBOX_URL": self.sandbox_url,
            **{f"ENPHASE_{name.upper()}": value for name, value in self.account.app.items()},
            "ENPHASE_REDIRECT_URI": f"http://localhost:{port}/api/oauth/enphase/callback",
        }

    async def scheduler(self) -> dict[str, Any]:
        """Make the scheduler's call, as curl in a crontab does, and return its answer for our connection."""
        async with httpx2.AsyncClient(trust_env=False, timeout=60) as client:
            answer = await client.get(f"{self.url}/api/cron/collect", headers={"Authorization": f"Bearer {CRON}"})
        assert answer.status_code == 200
        (result,) = answer.json()["results"]
        assert result["sourceId"] == str(self.connection)
        return dict(result)

    async def row(self) -> dict[str, Any]:
        """Return the connection as the API tells it."""
        return dict((await self.person.call("GET", f"/api/v1/connections/{self.connection}")).json())


@pytest.fixture
async def walk(base: Base, tmp_path: Path) -> AsyncIterator[Walk]:
    """Serve the simulated vendors on a port."""
    clock = Clock()
    sandbox = create(1, clock)
    config = uvicorn.Config(sandbox.app, port=0, access_log=False, log_config=None, **SERVER_OPTIONS)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event to wait for
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield Walk(base, tmp_path, sandbox, f"http://127.0.0.1:{port}", clock)
    server.should_exit = True
    await serving


async def settings(walk: Walk) -> None:
    """With the app's keys from the vendor's page it starts; with a foreign redirect address it does not."""
    environ = walk.environ(free_port())
    with pytest.raises(ConfigError, match="ENPHASE_REDIRECT_URI must equal PUBLIC_URL"):
        load_settings(environ | {"ENPHASE_REDIRECT_URI": "http://localhost:9/callback"}, walk.folder)
    walk.settings = load_settings(environ, walk.folder)
    assert dict(walk.settings.apps[VENDOR].fields) == dict(walk.account.app)


async def first_account(walk: Walk) -> None:
    """The one-time secret from the console opens the setup page, once."""
    assert walk.runtime is not None
    secret = await accounts.begin_setup(walk.runtime.db)
    walk.owner = Person()
    await walk.person.open(walk.url)
    assert walk.person.address == f"{walk.url}/setup"
    typed = {"organization": "Org", "name": "Ada", "email": EMAIL, "password": PASSWORD, "secret": secret or ""}
    await walk.person.press("Set up and sign in", **typed)
    assert (walk.person.status, walk.person.address) == (200, f"{walk.url}/")


async def consent(walk: Walk) -> None:
    """The owner is led to the vendor, signs in there, allows the app and comes back; no code stays in an address."""
    await walk.person.open(f"/connections/new?vendor={VENDOR}&way=developer")
    await walk.person.press("Continue to Enphase", name="At home")
    await walk.person.follow("Continue to Enphase")
    assert walk.person.address.startswith(f"{walk.sandbox_url}/{VENDOR}/oauth/authorize?")
    await walk.person.press("Sign in", **walk.account.login)
    await walk.person.press("Allow")
    back = urlsplit(walk.person.address)
    assert f"{back.scheme}://{back.netloc}" == walk.url
    found = re.fullmatch(r"/connections/([0-9a-f-]{36})", back.path)
    assert found, walk.person.address
    assert "code=" not in back.query
    walk.connection = UUID(found[1])
    callback = next(each for each in walk.person.visited if "/callback?" in each)
    await walk.person.open(callback)
    assert "used already" in walk.person.page, "the state is good for once"


async def connection_test(walk: Walk) -> None:
    """The test answers all six fields, with what the vendor gives."""
    answer = await walk.person.call("POST", f"/api/v1/connections/{walk.connection}/test")
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert set(told) == {"success", "vendor", "current_power_w", "energy_today_wh", "status", "last_update"}
    assert (told["success"], told["vendor"]) == (True, VENDOR)
    assert told["energy_today_wh"] > 0
    assert told["status"]
    assert datetime.fromisoformat(told["last_update"]) <= walk.clock()


async def scheduler_call(walk: Walk) -> None:
    """Without the secret it answers 401; with it, what is due is fetched and told per source."""
    async with httpx2.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"{walk.url}/api/cron/collect")).status_code == 401
    told = await walk.scheduler()
    assert (told["vendor"], told["status"], told["error"]) == (VENDOR, "success", None)


async def stored_reading(walk: Walk) -> None:
    """The day of the site holds pv for this morning, through the API that the pages use too."""
    walk.clock.move(hours=1)
    assert (await walk.scheduler())["status"] == "success"
    sites = (await walk.person.call("GET", "/api/v1/sites")).json()
    assert sites
    told = (await walk.person.call("GET", f"/api/v1/sites/{sites[0]['id']}/day")).json()
    assert date.fromisoformat(told["day"]) == walk.clock().astimezone(ZoneInfo(told["zone"])).date()
    assert sum(slot["pv_wh"] or 0 for slot in told["quarters"]) > 0


async def refresh(walk: Walk) -> None:
    """A token with less than five minutes to live is not used: the first call is the one that renews it."""
    before = await walk.row()
    walk.clock.at = datetime.fromisoformat(before["expires_at"]) - timedelta(minutes=4)
    # Whoever used it now would be refused, and the refusal would be in the account of calls.
    assert walk.cloud.auth.age(walk.account.key, Ageing.EXPIRE_ACCESS, walk.clock()) > 0
    assert (await walk.scheduler())["status"] == "success"
    after = await walk.row()
    assert datetime.fromisoformat(after["expires_at"]) - walk.clock() > timedelta(hours=23)
    assert after["calls_failed"] == before["calls_failed"]
    assert after["state"] == "healthy"


async def idle_sign_in(walk: Walk) -> None:
    """A sign-in that nobody uses for weeks is kept alive all the same, where the scheduler's call is all that runs."""
    assert (await walk.person.call("POST", f"/api/v1/connections/{walk.connection}/pause")).status_code == 200
    walk.clock.move(days=11)
    told = await walk.scheduler()
    assert (told["status"], told["error"]) == ("skipped", "Paused: nothing is collected until it is resumed.")
    await walk.person.open("/sign-in")
    await walk.person.press("Sign in", email=EMAIL, password=PASSWORD)
    row = await walk.row()
    assert datetime.fromisoformat(row["expires_at"]) > walk.clock()
    assert (await walk.person.call("POST", f"/api/v1/connections/{walk.connection}/resume")).status_code == 200


async def expired_grant(walk: Walk) -> None:
    """When the owner takes the consent back, the connection says so in words, and the test answers 401 with them."""
    walk.cloud.auth.age(walk.account.key, Ageing.REVOKE, walk.clock())
    walk.clock.move(hours=6)
    told = await walk.scheduler()
    assert told["status"] == "error"
    row = await walk.row()
    assert row["state"] == "reauth_required"
    assert len(row["sentence"]) > 30
    answer = await walk.person.call("POST", f"/api/v1/connections/{walk.connection}/test")
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["error"] == EXPIRED
    assert answer.json()["type"] != "urn:enalysis:problem:sign-in"
    await walk.person.open(answer.json()["link"])
    assert walk.person.status == 200


async def health(walk: Walk) -> None:
    """The health check names what it looked at."""
    async with httpx2.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"{walk.url}/api/health")
        assert (await client.get(f"{walk.url}/live")).text == "ok"
    assert answer.status_code == 200
    assert answer.json()["status"] == "healthy"
    assert answer.json()["checks"]["database"] == "ok"


Step = Callable[[Walk], Awaitable[None]]
# In the guide's own order and words.
STEPS: dict[str, Step] = {
    "First account": first_account,
    "Consent": consent,
    "Test": connection_test,
    "Scheduler call": scheduler_call,
    "Stored reading": stored_reading,
    "Renewal": refresh,
    "Expired grant": expired_grant,
    "Health": health,
}
NOT_BUILT = ("Cache", "Limit")


async def test_the_guide_is_walked(walk: Walk) -> None:
    """Every step of the quick start does what the guide says, one after the other."""
    await settings(walk)
    assert walk.settings is not None
    async with open_runtime(walk.settings, walk.clock) as runtime, http(runtime):
        walk.runtime = runtime
        for step in STEPS.values():
            await step(walk)
            if step is refresh:
                await idle_sign_in(walk)


def test_the_walk_and_the_guide_name_the_same_steps() -> None:
    """The quick start has the steps of this walk, and names those that are not built as not built."""
    text = GUIDE.read_text(encoding="utf-8")
    quick = text.split("## Quick start")[1].split("\n## ")[0]
    steps = re.findall(r"^\d+\. \*\*(.+?)\.\*\*(.*(?:\n   .*)*)", quick, re.MULTILINE)
    assert [name for name, _ in steps] == ["Settings", *STEPS, *NOT_BUILT]
    for name, words in steps:
        assert ("not built yet" in words) is (name in NOT_BUILT), name


def test_what_the_guide_names_is_there() -> None:
    """Every test, page of documentation, command and make target that the guide names exists."""
    text = GUIDE.read_text(encoding="utf-8")
    root = GUIDE.parents[1]
    tests = set(re.findall(r"`(tests/[\w/]+\.py)`", text))
    links = set(re.findall(r"\]\(([\w./]+\.md|connectors|decisions)(?:#[\w'-]+)?\)", text))
    assert len(tests) > 15
    assert len(links) > 8
    assert [each for each in tests if not (root / each).is_file()] == []
    assert [each for each in links if not (GUIDE.parent / each).exists()] == []
    known = {" ".join(line.split()[2:]) for line in reference() if line.startswith("### ")}
    roots = {name.split()[0] for name in known}
    planned = {"doctor", "report"}
    named = set(re.findall(r"`enalysis (\w+)", text))
    assert named - planned <= roots
    assert not planned & roots, "they are built now: the guide says they are not"
    makefile = (root / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"`make ([\w-]+)", text))
    assert [each for each in targets if not re.search(rf"^{each}:", makefile, re.MULTILINE)] == []
    rows = set(re.findall(r"\b[A-K]\d\b", " ".join(re.findall(r"make bar ARGS=\"?([A-K\d ]+)", text))))
    assert rows <= set(PLACES), "rows of the bar"
