"""Holds docs/glossary.md to the enums, word for word."""

import itertools
import re
from pathlib import Path

import pytest

from enalysis.core.coverage import Run, Slot, merge
from enalysis.core.metrics import INFO, Metric, Quality
from enalysis.core.readings import INTERVAL_DURATIONS_S
from enalysis.core.sites import METER_ENERGIES, DeviceKind, MeterKind
from tests.databases import NOW

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "glossary.md").read_text(encoding="utf-8")
SECTIONS: dict[str, str] = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
# The words that DESIGN fixes, and those the page needs to explain them.
WORDS = {
    *("organization", "site", "meter", "meter source", "connection", "device", "vendor", "connector", "stream"),
    *("poll", "sample", "interval", "slot", "coverage", "cursor", "backfill", "quota", "account", "quarantine"),
    *("revision", "residual", "gap", "twin"),
}


def table(section: str) -> list[tuple[str, ...]]:
    """Return the rows of a section's first table without its head, code marks taken off single words."""
    rows = re.findall(r"^\|(.+)\|$", SECTIONS[section], re.MULTILINE)[2:]
    cells = [tuple(cell.strip() for cell in row.split("|")) for row in rows]
    return [tuple(c[1:-1] if re.fullmatch(r"`[^`]+`", c) else c for c in row) for row in cells]


def test_every_metric_is_there_with_its_unit_kind_sign_and_meaning() -> None:
    assert table("Metrics") == [(m.value, i.unit, i.kind.value, i.sign, i.meaning) for m, i in INFO.items()]
    assert set(INFO) == set(Metric)


def test_every_quality_flag_is_there_with_its_bit() -> None:
    assert [row[:2] for row in table("Quality")] == [(str(f.name).lower(), str(f.value)) for f in Quality]


def test_every_kind_of_meter_is_there_with_its_energies() -> None:
    expected = [(k.value, [m.value for m in METER_ENERGIES[k]]) for k in MeterKind]
    assert [(kind, re.findall(r"[a-z_]+", energies)) for kind, energies in table("Kinds of meter")] == expected


def test_every_kind_of_device_is_there() -> None:
    assert [row[0] for row in table("Kinds of device")] == [k.value for k in DeviceKind]


def test_every_state_of_a_slot_is_there_in_order_of_worth() -> None:
    rows = table("States of a slot")
    assert {(name, letter) for name, letter, _ in rows} == {(s.name.lower(), s.value) for s in Slot}
    letters = [letter for _, letter, _ in rows]
    for worse, better in itertools.pairwise(letters):
        for first, then in ((worse, better), (better, worse)):
            assert merge(first, Run(NOW.date(), 1, 0, then)) == better


def test_every_word_is_explained_once() -> None:
    words = [row[0] for row in table("Words")]
    assert set(words) == WORDS
    assert len(words) == len(set(words))


def test_the_durations_are_those_we_store() -> None:
    told = next(text for word, text in table("Words") if word == "interval")
    assert [int(n) for n in re.findall(r"\d+", told)] == list(INTERVAL_DURATIONS_S)


@pytest.mark.parametrize("word", ["Self-consumption", "Self-sufficiency"])
def test_the_two_shares_are_defined(word: str) -> None:
    assert len(re.findall(rf"^- \*\*{word}\*\* is .+: \(.+\) ÷ \w+\.$", PAGE, re.MULTILINE)) == 1


@pytest.mark.parametrize("section", ["Words", "Metrics", "Quality", "Kinds of device", "States of a slot"])
def test_nothing_is_left_unexplained(section: str) -> None:
    rows = table(section)
    assert rows
    assert [row for row in rows if len(row) < 2 or not all(row)] == []
