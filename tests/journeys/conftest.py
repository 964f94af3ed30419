"""A newcomer's beginnings: the product started by one command in an empty folder, vendors beside it, a browser."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from shutil import which
from socket import socket

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, expect, sync_playwright

from enalysis.simulators.server import SERVER_OPTIONS, Sandbox, create

# Chromium would otherwise look for its maker's servers at every start.
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


@dataclass
class Place:
    """The product as started by one command in an empty folder, and the vendors beside it."""

    url: str
    secret: str
    sandbox: Sandbox


def free_port() -> int:
    """Return a TCP port nobody listens on."""
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def sandbox() -> Iterator[tuple[str, Sandbox]]:
    """Serve the simulated vendors on the real clock."""
    # On a plan whose minute nobody has to wait for; what the smallest one does is told by other tests.
    roomier = {f"enphase/{key}": "kilowatt" for key in ("household", "lapsed", "slim")}
    made = create(1, lambda: datetime.now(UTC), plans=roomier)
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(made.app, port=port, access_log=False, log_config=None, **SERVER_OPTIONS))
    thread = threading.Thread(target=server.run)
    thread.start()
    yield f"http://127.0.0.1:{port}", made
    server.should_exit = True
    thread.join(20)


@pytest.fixture(scope="module")
def place(sandbox: tuple[str, Sandbox], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Run `enalysis run` in an empty folder, as the README says, and read what it prints."""
    folder = tmp_path_factory.mktemp("newcomer")
    port = free_port()
    environ = {
        **{name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")},
        "PORT": str(port),
        "SANDBOX_URL": sandbox[0],
    }
    command = [sys.executable, "-m", "enalysis", "run"]
    with subprocess.Popen(command, cwd=folder, env=environ, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if found := re.search(r"enter this secret: (\S+)", line):
                break
        else:
            pytest.fail("it ended before it printed the setup secret:\n" + "".join(said))
        drain = threading.Thread(target=process.stderr.read)
        drain.start()
        yield Place(f"http://localhost:{port}", found[1], sandbox[1])
        process.terminate()
        assert process.wait(30) == 0, "SIGTERM ends it in good order"
        drain.join(5)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start Debian's chromium. `make browser` installs it."""
    binary = which("chromium") or which("chromium-browser") or which("google-chrome")
    assert binary is not None, "no chromium: run `make browser`"
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=binary, args=QUIET)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    """Open a page and keep whatever the browser complains of."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    complaints: list[str] = []
    opened.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
    opened.on("pageerror", lambda e: complaints.append(str(e)))
    yield opened
    context.close()
    assert complaints == [], "the browser's console is clean, its content security policy kept"


def click(page: Page, name: str) -> None:
    """Press the button of that name."""
    page.get_by_role("button", name=name, exact=True).click()


def sign_up(page: Page, place: Place) -> None:
    """Go through setup."""
    page.goto(place.url)
    expect(page.get_by_role("heading", name="Set up")).to_be_visible()
    page.get_by_label("Setup secret").fill(place.secret)
    page.get_by_label("Organization").fill("Sunny Side Energy")
    page.get_by_label("Your name").fill("Ada")
    page.get_by_label("E-mail address").fill("ada@example.org")
    page.get_by_label("Password").fill("a short sentence is good")
    click(page, "Set up and sign in")
