"""Devices as a tree, whatever the vendor claims."""

from dataclasses import replace

import pytest

from enalysis.queries.shapes import DeviceRow
from enalysis.web.trees import Twig, tree

ONE = DeviceRow(
    id=1,
    ref="a",
    parent_ref=None,
    kind="inverter",
    name="A",
    manufacturer=None,
    model=None,
    serial=None,
    firmware=None,
    vendor="acme",
    connection="c",
    feeds=(),
    active=True,
    at=None,
    power_w=None,
    soc_pct=None,
)


def device(number: int, ref: str, parent: str | None, kind: str = "inverter", connection: str = "c") -> DeviceRow:
    """Return a device named after its reference."""
    return replace(ONE, id=number, ref=ref, parent_ref=parent, kind=kind, name=ref, connection=connection)


def shape(*devices: DeviceRow) -> list[tuple[str, int]]:
    """Return names and depths in order."""
    return [(t.device.name, t.depth) for t in tree(devices)]


def test_parts_follow_what_they_belong_to() -> None:
    found = shape(
        device(1, "panel-2", "inv", "panel"),
        device(2, "inv", "site"),
        device(3, "site", None, "site_total"),
        device(4, "meter", "site", "meter"),
        device(5, "panel-1", "inv", "panel"),
    )
    assert found == [("site", 0), ("inv", 1), ("panel-1", 2), ("panel-2", 2), ("meter", 1)]


def test_unknown_parents_leave_a_device_at_the_top() -> None:
    assert shape(device(1, "a", "gone"), device(2, "b", "a")) == [("a", 0), ("b", 1)]


def test_a_circle_loses_nobody() -> None:
    found = shape(device(1, "a", "c"), device(2, "b", "a"), device(3, "c", "b"), device(4, "self", "self"))
    assert sorted(name for name, _ in found) == ["a", "b", "c", "self"]


def test_the_same_reference_of_another_connection_is_another_device() -> None:
    found = shape(device(1, "x", None), device(2, "y", "x", connection="other"))
    assert found == [("x", 0), ("y", 0)]


def test_a_chain_of_ten_thousand_is_no_harm() -> None:
    chain = [device(n, f"d{n:05}", f"d{n - 1:05}" if n else None) for n in range(10_000)]
    found = tree(chain)
    assert len(found) == 10_000
    assert max(t.depth for t in found) == 6


@pytest.mark.parametrize(
    ("kind", "feeds", "power", "word"),
    [
        ("meter", ("grid",), 500.0, "importing"),
        ("meter", ("grid",), -500.0, "exporting"),
        ("battery", (), -500.0, "charging"),
        ("meter", ("load",), -500.0, "using"),
        ("site_total", ("pv",), 500.0, "producing"),
        ("gateway", (), -5.0, "taking"),
        ("inverter", (), 0.0, ""),
        ("inverter", (), None, ""),
    ],
)
def test_the_sign_of_a_power_is_a_word(kind: str, feeds: tuple[str, ...], power: float | None, word: str) -> None:
    twig = Twig(replace(ONE, kind=kind, feeds=feeds, power_w=power), 0)
    assert twig.doing == word
    assert twig.power_w == (None if power is None else abs(power))
