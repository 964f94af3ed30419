"""Holds the bar's runner to its word: what fails is counted, named, and seen in the exit code."""

import asyncio
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.bar import __main__ as bar
from tests.bar.__main__ import PLACES, Measure, Unmeasured, find, main
from tests.bar.row import Row
from tests.conftest import Base

ROOT = Path(__file__).resolve().parents[1]


def good() -> Row:
    return Row("B1", 12, 0, 10, {"share_pct": 0.5, "kept": "yes"})


def run(rows: Mapping[str, Measure], capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str], str]:
    """Run some rows; return the exit code, the lines on standard output, and standard error."""
    code = main(list(rows), rows.__getitem__)
    said = capsys.readouterr()
    return code, said.out.splitlines(), said.err


def test_a_good_row_passes_and_prints_its_figures(capsys: pytest.CaptureFixture[str]) -> None:
    code, lines, progress = run({"B1": good}, capsys)
    assert (code, lines) == (0, ["B1 n=12 bad=0 share_pct=0.5 kept=yes", "1 passed, 0 failed"])
    assert "[1/1] B1" in progress


def test_a_bad_row_fails_the_run_and_the_others_still_run(capsys: pytest.CaptureFixture[str]) -> None:
    code, lines, _ = run({"B2": lambda: Row("B2", 12, 1, 10), "B1": good}, capsys)
    assert code == 1
    assert [line.split()[:3] for line in lines[:2]] == [["B2", "n=12", "bad=1"], ["B1", "n=12", "bad=0"]]
    assert lines[-1] == "1 passed, 1 failed"


@pytest.mark.parametrize(("n", "floor"), [(9, 10), (0, 0)])
def test_a_row_that_tried_too_little_fails(n: int, floor: int, capsys: pytest.CaptureFixture[str]) -> None:
    code, lines, _ = run({"B1": lambda: Row("B1", n, 0, floor)}, capsys)
    assert (code, lines[-1]) == (1, "0 passed, 1 failed")
    assert ("floor=10" in lines[0]) == (n < floor)


def raises(error: BaseException) -> Measure:
    """Return a measure that fails in its own way."""

    def measure() -> Row:
        raise error

    return measure


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("it is\n  late"), "ValueError: it is late"),
        (SystemExit(3), "SystemExit: 3"),
        (pytest.fail.Exception("DID NOT RAISE"), "Failed: DID NOT RAISE"),
    ],
)
def test_an_error_is_the_failure_of_its_own_row_only(
    error: BaseException, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, lines, _ = run({"C3": raises(error), "B1": good}, capsys)
    assert (code, lines[-1]) == (1, "1 passed, 1 failed")
    assert lines[0] == f"C3 n=0 bad=1 floor=1 error={told}"


def test_ctrl_c_ends_the_run() -> None:
    with pytest.raises(KeyboardInterrupt):
        main(["B1"], lambda _: raises(KeyboardInterrupt()))


def test_a_row_that_waits_for_ever_fails(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    async def hangs() -> Row:
        await asyncio.Event().wait()
        return good()

    monkeypatch.setattr(bar, "ROW_TIME_LIMIT_S", 0.05)
    code, lines, _ = run({"B1": hangs}, capsys)
    assert code == 1
    assert "TimeoutError" in lines[0]


def test_what_a_row_prints_does_not_stand_among_the_rows(capsys: pytest.CaptureFixture[str]) -> None:
    async def talks() -> Row:
        print("by the way")  # noqa: T201 - what is tested
        return good()

    _, lines, progress = run({"B1": talks}, capsys)
    assert len(lines) == 2
    assert "by the way" in progress


def test_a_row_gets_the_database_it_asks_for(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bar.Parts, "cluster", lambda _: base.cluster)

    def measure(base: Base) -> Row:
        return Row("E1", len(base.name), 0, 1)

    assert main(["E1"], lambda _: measure) == 0


@pytest.mark.parametrize("measure", [lambda moon: moon, good, lambda: None])
def test_a_measure_that_is_none_of_this_requirement_fails(measure: Measure, capsys: pytest.CaptureFixture[str]) -> None:
    code, lines, _ = run({"C2": measure}, capsys)
    assert code == 1
    assert "error=Unmeasured" in lines[0]


def test_an_unknown_id_is_refused_before_anything_runs() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bar", "B1", "Z9"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "Z9" in done.stderr
    assert all(name in done.stderr for name in PLACES)


def test_a_missing_file_or_function_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PLACES, "Y1", "rows_elsewhere")
    monkeypatch.setitem(PLACES, "Y2", "rows_secrets")
    with pytest.raises(Unmeasured, match=r"tests/bar/rows_elsewhere\.py is missing"):
        find("Y1")
    with pytest.raises(Unmeasured, match=r"tests/bar/rows_secrets\.py has no function y2"):
        find("Y2")


def test_every_requirement_has_its_measure() -> None:
    assert {name: callable(find(name)) for name in PLACES} == dict.fromkeys(PLACES, True)
