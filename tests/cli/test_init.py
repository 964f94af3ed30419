"""`enalysis init` writes keys once, for its owner's eyes, and shows them to nobody."""

import os
import stat
from pathlib import Path

from tests.cli.conftest import Terminal


async def test_the_first_call_writes_and_the_second_leaves_it(terminal: Terminal, folder: Path) -> None:
    said = await terminal.run("init", "--json")
    written = folder / ".env"
    assert (said.code, said.err) == (0, "")
    assert said.document == {"written": str(written)}
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    text = written.read_text(encoding="utf-8")
    terminal.secrets += [line.partition("=")[2] for line in text.splitlines() if "=" in line]
    assert len(terminal.secrets) == 2

    said = await terminal.run("init", "--json")
    assert (said.code, said.document) == (0, {"written": None})
    said = await terminal.run("init")
    assert (said.code, said.out) == (0, "")
    assert "is there already" in said.err
    assert "enalysis run" in said.err
    assert written.read_text(encoding="utf-8") == text


async def test_people_are_told_what_to_do_next(terminal: Terminal) -> None:
    said = await terminal.run("init")
    assert (said.code, said.out) == (0, "")
    assert "enalysis run" in said.err


async def test_a_folder_that_is_gone_is_told_in_a_sentence(terminal: Terminal, folder: Path) -> None:
    here = folder / "here"
    here.mkdir()
    os.chdir(here)
    here.rmdir()
    said = await terminal.run("init", "--json")
    assert said.code == 1
    assert said.document == {"error": "No such file or directory.", "kind": "system"}
