"""Connecting by command: fields from everywhere, tests, the list, removal; never a secret shown."""

import asyncio
import contextlib
import json
import os
import pty
import sys
import termios
import time
from pathlib import Path

import pytest

from enalysis.simulators.faults import Fault, FaultKind
from tests.cli.conftest import Terminal, Vendors

SIX = {"success", "vendor", "current_power_w", "energy_today_wh", "status", "last_update"}


async def test_a_connection_is_added_listed_tested_and_removed(
    shell: Terminal, vendors: Vendors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENALYSIS_API_KEY", f"  '{vendors.secret('portfolio')}' ")
    added = await shell.json("connection", "add", "SolarEdge", "--name", "My roofs", "--plan", "business")
    assert (added["name"], added["plan"], added["sandbox"]) == ("My roofs", "business", True)
    assert set(added["test"]) == SIX
    assert added["test"]["success"] is True
    monkeypatch.delenv("ENALYSIS_API_KEY")

    listed = await shell.json("connection", "list")
    assert listed["sandbox"] is True
    [row] = listed["connections"]
    assert (row["id"], row["state"], row["plan_label"]) == (added["id"], "connecting", "Business")
    taken = {each["window"]: each["taken"] for each in row["quota"]}
    served = vendors.sandbox.vendors["solaredge"].tallies["portfolio"].served.total()
    assert taken["minute"] == taken["month"] == served

    for which in (added["id"], added["id"][:8], "my", "My roofs"):
        found = await shell.json("connection", "test", which)
        assert set(found) == SIX
        assert (found["success"], found["vendor"]) == (True, "solaredge")

    said = await shell.run("connection", "remove", "my")
    assert (said.code, said.out) == (2, "")
    assert "--yes" in said.err
    gone = await shell.json("connection", "remove", "my", "--yes")
    assert gone == {"removed": added["id"], "name": "My roofs"}
    assert (await shell.json("connection", "list"))["connections"] == []


async def test_people_get_tables_on_standard_output_and_sentences_beside_it(shell: Terminal, vendors: Vendors) -> None:
    said = await shell.run("connection", "list")
    assert "enalysis connection add" in said.err
    (Path.cwd() / "key").write_text(vendors.secret("portfolio") + "\n", encoding="utf-8")
    said = await shell.run("connection", "add", "solaredge", "--plan", "business", "--field-file", "api_key=key")
    assert (said.code, said.out) == (0, ""), said
    assert "8 sites" in said.err
    assert "Saved as 'SolarEdge'" in said.err
    said = await shell.run("connection", "list")
    assert said.code == 0, said.err
    assert "of 200,000* a month" in said.out
    assert "assumed by us" in said.out + said.err
    assert "simulated" in said.err
    said = await shell.run("connection", "test")
    assert (said.code, said.out) == (0, "")
    assert said.err.startswith("SolarEdge works: 8 sites, ")


async def test_a_secret_on_the_command_line_is_warned_about(shell: Terminal, vendors: Vendors) -> None:
    words = ("connection", "test", "--vendor", "solaredge", "--set", f"api_key={vendors.secret('lapsed')}")
    said = await shell.run(*words)
    assert said.code == 0
    assert "ENALYSIS_API_KEY" in said.err
    assert "works: 1 site" in said.err
    said = await shell.run(*words, "--json")
    assert "Warning" in said.err
    assert said.document["success"] is True


async def test_a_refused_credential_is_no_success_and_not_saved(shell: Terminal, vendors: Vendors) -> None:
    vendors.sandbox.faults.set(Fault(FaultKind.WRONG_KEY))
    words = ("--set", f"api_key={vendors.secret('household')}")
    said = await shell.run("connection", "test", "--vendor", "solaredge", *words, "--json")
    assert said.code == 1
    assert said.document["success"] is False
    assert said.document["kind"] == "reauth_required"
    assert said.document["error"] == "Access token expired. Please refresh your connection."
    assert "SolarEdge" in said.document["detail"]
    assert said.document["current_power_w"] is None
    said = await shell.run("connection", "test", "--vendor", "solaredge", *words)
    assert (said.code, said.out) == (1, "")
    assert "Next: correct the credential" in said.err
    said = await shell.run("connection", "add", "solaredge", *words, "--json")
    assert said.code == 1
    assert said.document["kind"] == "reauth_required"
    vendors.sandbox.faults.clear()
    assert (await shell.json("connection", "list"))["connections"] == []


async def test_a_credential_that_is_connected_already_is_refused(shell: Terminal, vendors: Vendors) -> None:
    words = ("connection", "add", "solaredge", "--set", f"api_key={vendors.secret('portfolio')}")
    await shell.json(*words, "--plan", "business", "--name", "First")
    said = await shell.run(*words, "--name", "Second", "--json")
    assert said.code == 1
    assert said.document == {
        "error": "This credential is connected already, as 'First'.",
        "kind": "refused",
    }


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("add", "nobody"), "there are: enphase, solaredge"),
        (("add", "solaredge", "--plan", "gold"), "free, business"),
        (("add", "solaredge", "--set", "token=x-4711-y"), "the fields are api_key"),
        (("add", "solaredge", "--set", "x-4711-y"), "an equals sign"),
        (
            ("add", "solaredge", "--set", "api_key=x-4711-y", "--field-file", "api_key=f"),
            "is given by --set too",
        ),
        (("test", "--set", "api_key=x-4711-y"), "brings its own credential"),
        (("test", "some", "--vendor", "solaredge"), "not both"),
    ],
)
async def test_what_is_asked_wrongly_is_told_without_the_secret(
    terminal: Terminal, words: tuple[str, ...], told: str
) -> None:
    terminal.secrets.append("x-4711-y")
    said = await terminal.run("connection", *words)
    assert (said.code, said.out) == (2, "")
    assert told in said.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "--field-file api_key=PATH, or the environment variable ENALYSIS_API_KEY"),
        (("--field-file", "api_key=x-4711-y"), "no such file"),
        (("--field-file", "api_key=."), "is a directory"),
        (("--field-file", "api_key=large"), "too large"),
        (("--field-file", "api_key=binary"), "not a text file"),
    ],
)
async def test_a_field_that_cannot_be_read_is_told_without_its_path(
    terminal: Terminal, folder: Path, words: tuple[str, ...], told: str
) -> None:
    terminal.secrets.append("x-4711-y")
    (folder / "large").write_text("k" * 70_000, encoding="utf-8")
    (folder / "binary").write_bytes(b"\xff\xfe\x00\x80")
    said = await terminal.run("connection", "add", "solaredge", *words)
    assert (said.code, said.out) == (1, "")
    assert told in said.err


async def test_a_name_that_fits_none_or_several_is_told_with_those_there_are(shell: Terminal, vendors: Vendors) -> None:
    for key, plan in (("portfolio", "business"), ("lapsed", "free")):
        words = ("--plan", plan, "--set", f"api_key={vendors.secret(key)}", "--name", f"Roof {key}")
        await shell.json("connection", "add", "solaredge", *words)
    said = await shell.run("connection", "test", "roof", "--json")
    assert (said.code, said.document["kind"]) == (1, "refused")
    assert "'Roof portfolio' (" in said.document["error"]
    said = await shell.run("connection", "test", "barn", "--json")
    assert (said.code, said.document["kind"]) == (1, "not_found")
    assert "'Roof lapsed'" in said.document["error"]
    said = await shell.run("connection", "test", "roof", "--organization", "Elsewhere", "--json")
    assert (said.code, said.document["kind"]) == (1, "not_found")
    assert "'Sunny Side'" in said.document["error"]


async def test_a_secret_is_asked_for_without_being_shown(
    shell: Terminal, vendors: Vendors, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = vendors.secret("lapsed")
    monkeypatch.setenv("TERM", "dumb")
    leader, follower = pty.openpty()
    # A session of its own has no other terminal that the answer could be read from.
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "enalysis", "connection", "test", "--vendor", "solaredge", "--json"),
        stdin=follower,
        stdout=asyncio.subprocess.PIPE,
        stderr=follower,
        start_new_session=True,
    )
    os.close(follower)
    screen = b""
    try:
        while b"API key: " not in screen:
            screen += await asyncio.to_thread(_read, leader)
        await asyncio.to_thread(_until_blind, leader)
        os.write(leader, f"{secret}\n".encode())
        out, _ = await asyncio.wait_for(child.communicate(), 60)
        while chunk := await asyncio.to_thread(_read, leader):
            screen += chunk
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()
        os.close(leader)
    assert json.loads(out)["success"] is True
    assert secret.encode() not in screen + out
    assert shell.secrets


def _until_blind(leader: int) -> None:
    """Wait until the terminal shows no typing any more; what is typed before that is thrown away."""
    while termios.tcgetattr(leader)[3] & termios.ECHO:
        time.sleep(0.01)


def _read(leader: int) -> bytes:
    """Return what appeared on the terminal; the kernel fails the call once nobody is on the other side."""
    try:
        return os.read(leader, 1024)
    except OSError:
        return b""
