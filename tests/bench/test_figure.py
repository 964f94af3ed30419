"""What a benchmark prints, and what it refuses."""

import json

import pytest

from tests.bench.__main__ import NAMES, main
from tests.bench.figure import Figure, p95_ms, rate


def test_a_figure_is_one_line_with_its_ratio() -> None:
    assert json.loads(str(Figure("speed", 123456.0, 500000.0, "rows/s", 100_000))) == {
        "name": "speed",
        "ours": 123500.0,
        "reference": 500000.0,
        "ratio": 0.2469,
        "unit": "rows/s",
        "n": 100_000,
    }
    assert "\n" not in str(Figure("speed", 1.0, 2.0, "s", 1))


def test_a_figure_without_a_reference_has_no_ratio() -> None:
    told = json.loads(str(Figure("ready_s", 1.25, None, "s", 3)))
    assert (told["ours"], told["reference"], told["ratio"]) == (1.25, None, None)


def test_rate_and_p95() -> None:
    assert rate(100, [9.0, 2.0, 1.0]) == 50
    assert p95_ms([n / 1000 for n in range(101)]) == pytest.approx(95)


def test_an_unknown_figure_is_refused_before_anything_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ready_s", "warp"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "warp" in said.err
    assert all(name in said.err for name in NAMES)
