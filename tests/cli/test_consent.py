"""Apps and consents from a terminal: the address printed, the address pasted, and what is done afterwards."""

import asyncio
import io
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from enalysis.simulators.accounts import Account
from enalysis.simulators.oauth import Ageing
from tests.cli.conftest import Said, Terminal, Vendors
from tests.web.owners import answer, params

CLIENT = re.compile(r"^(http://\S+/oauth/authorize\?\S+)$", re.MULTILINE)


async def add_app(shell: Terminal, account: Account, folder: Path, *more: str) -> dict[str, object]:
    """Add an account's app with its keys from files, as a careful person would."""
    words = ["app", "add", account.vendor, "--name", account.key, "--plan", account.plan.key, *more]
    for name, value in account.app.items():
        (folder / name).write_text(value + "\n", encoding="utf-8")
        words += ["--field-file", f"{name}={folder / name}"]
    return await shell.json(*words)


async def authorize(
    shell: Terminal, monkeypatch: pytest.MonkeyPatch, account: Account, *words: str, bare: bool = False
) -> Said:
    """Run a command that asks for an address, go where it says, and paste what the vendor's page shows."""
    loop = asyncio.get_running_loop()

    class Owner(io.StringIO):
        """Answers once the address was printed."""

        def readline(self, _: int | None = -1, /) -> str:  # type: ignore[override] # as text streams do
            found = CLIENT.search(shell.capture.readouterr().err)
            assert found
            shown = asyncio.run_coroutine_threadsafe(answer(found[1], account), loop).result(30)
            return params(shown)["code"] if bare else shown

    monkeypatch.setattr(sys, "stdin", Owner())
    return await shell.run(*words, "--json")


async def test_an_app_comes_changes_and_goes(shell: Terminal, vendors: Vendors, folder: Path) -> None:
    account = vendors.account("household", "enphase")
    made = await add_app(shell, account, folder)
    assert (made["vendor"], made["kind"], made["plan"], made["state"]) == ("enphase", "developer", "watt", "verified")
    [listed] = (await shell.json("app", "list"))["apps"]
    assert listed == made
    said = await shell.run("app", "list")
    assert "household" in said.out + said.err
    changed = await shell.json("app", "change", "house", "--plan", "kilowatt", "--state", "suspended")
    assert (changed["plan"], changed["state"]) == ("kilowatt", "suspended")
    assert (await shell.run("app", "change", "house")).code == 2
    assert (await shell.run("app", "change", "house", "--state", "fine")).code == 2
    assert (await shell.run("app", "add", "enphase", "--kind", "other")).code == 2
    said = await shell.run("app", "remove", "other", "--json")
    assert (said.code, said.document["kind"]) == (1, "not_found")
    assert await shell.json("app", "remove", "house") == {"removed": made["id"], "name": "household"}
    assert (await shell.json("app", "list"))["apps"] == []


async def test_adding_an_app_tells_how_to_register_it(shell: Terminal, vendors: Vendors) -> None:
    said = await shell.run("app", "add", "enphase")
    assert "http://localhost:3000/api/oauth/enphase/callback" in said.err
    assert "11. Copy API key" in said.err
    assert (said.code, "Client ID for Enphase is missing" in said.err) == (1, True)
    assert vendors.url


async def test_a_consent_and_everything_after_it(
    shell: Terminal, vendors: Vendors, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = vendors.account("household", "enphase")
    none = await shell.run("connection", "authorize", "enphase", "--json")
    assert (none.code, "enalysis app add enphase" in none.document["error"]) == (1, True)
    await add_app(shell, account, folder)
    words = ("connection", "authorize", "enphase", "--name", "Home")
    bare = await authorize(shell, monkeypatch, account, *words, bare=True)
    assert (bare.code, "not the whole address" in bare.document["error"]) == (1, True)
    done = await authorize(shell, monkeypatch, account, *words)
    assert done.code == 0, done
    assert (done.document["name"], done.document["renewed"], done.document["trouble"]) == ("Home", False, None)
    assert done.document["test"]["success"] is True
    [row] = (await shell.json("connection", "list"))["connections"]
    assert (row["way"], row["app_name"], row["state"]) == ("developer", "household", "connecting")
    renewed = await shell.json("connection", "refresh", "home")
    assert renewed["expires_at"] > row["expires_at"]
    assert (await shell.json("connection", "test", "home"))["success"] is True
    assert (await shell.json("connection", "pause", "home"))["paused"] is True
    assert (await shell.json("connection", "list"))["connections"][0]["state"] == "paused"
    assert (await shell.json("connection", "resume", "home"))["paused"] is False
    assert (await shell.json("connection", "fetch", "home"))["queued"] >= 1

    auth = vendors.sandbox.vendors["enphase"].auth
    assert auth is not None
    auth.age("household", Ageing.REVOKE, datetime.now(UTC))
    dead = await shell.run("connection", "refresh", "home", "--json")
    assert (dead.code, dead.document["kind"]) == (1, "reauth_required")
    again = await authorize(shell, monkeypatch, account, "connection", "reconnect", "home")
    assert again.code == 0, again
    assert (again.document["renewed"], again.document["connection"]) == (True, row["id"])

    said = await shell.run("connection", "disconnect", "home")
    assert (said.code, "--yes" in said.err) == (2, True)
    gone = await shell.json("connection", "disconnect", "home", "--yes")
    assert gone == {"connection": row["id"], "revoked": True}
    assert (await shell.json("connection", "list"))["connections"][0]["state"] == "disconnected"


async def test_an_installers_sign_in_goes_through_an_app(shell: Terminal, vendors: Vendors, folder: Path) -> None:
    account = vendors.account("portfolio", "enphase")
    (folder / "password").write_text(account.login["password"], encoding="utf-8")
    login = ("--set", f"username={account.login['username']}", "--field-file", f"password={folder / 'password'}")
    words = ("connection", "add", "enphase", "--way", "partner", *login)
    none = await shell.run(*words, "--json")
    assert (none.code, none.document["kind"]) == (1, "not_found")
    await add_app(shell, account, folder, "--kind", "partner")
    added = await shell.json(*words, "--name", "Fleet")
    assert added["test"]["success"] is True
    again = await shell.json("connection", "reconnect", "fleet", *login)
    assert (again["renewed"], again["test"]["success"]) == (True, True)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("add", "enphase"), "connection authorize enphase"),
        (("add", "solaredge", "--app", "x", "--set", "api_key=x-4711-y"), "goes through no app"),
        (("authorize", "nobody"), "there are: enphase"),
    ],
)
async def test_what_does_not_fit_says_what_does(shell: Terminal, words: tuple[str, ...], told: str) -> None:
    said = await shell.run("connection", *words)
    assert (said.code, said.out) == (2, "")
    assert told in said.err
