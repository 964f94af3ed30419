"""The day as drawn by the server: nothing invented, nothing out of the frame, gaps told."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enalysis.core.daylight import Place
from enalysis.core.intervals import day_slots
from enalysis.core.metrics import Quality
from enalysis.queries.shapes import Quarter, SiteDay
from enalysis.web.charts import Gap, absences, day_chart, gaps, quality_words, spark

BERLIN = Place(52.5, 13.4)
LATER = datetime(2027, 1, 1, tzinfo=UTC)
QUARTER = timedelta(minutes=15)
ENERGY = st.one_of(st.none(), st.floats(min_value=0, max_value=1e8))


def quarter(start: datetime, state: str = "stored", values: Mapping[str, float | None] | None = None) -> Quarter:
    """Return a quarter of an hour, unknown but for the values given."""
    blank = Quarter(start, start + QUARTER, *(None,) * 8, 0, state)
    return replace(blank, **(values or {}))  # type: ignore[arg-type] # names of energies


def day_of(quarters: Sequence[Quarter], zone: str = "UTC") -> SiteDay:
    """Return a day of these quarters."""
    return SiteDay(date(2026, 6, 2), zone, tuple(quarters), None, None, date(2026, 6, 2))


def midday(count: int = 4) -> list[datetime]:
    """Return the starts of the first quarters after noon UTC."""
    return [datetime(2026, 6, 2, 12, tzinfo=UTC) + n * QUARTER for n in range(count)]


@given(st.lists(st.tuples(*(ENERGY,) * 6), min_size=1, max_size=8))
def test_everything_drawn_lies_in_the_frame_and_stacks_exactly(rows: list[tuple[float | None, ...]]) -> None:
    names = (
        "pv_wh",
        "battery_discharge_wh",
        "grid_import_wh",
        "battery_charge_wh",
        "grid_export_wh",
        "load_wh",
    )
    quarters = [
        quarter(at, values=dict(zip(names, row, strict=True))) for at, row in zip(midday(8), rows, strict=False)
    ]
    chart = day_chart(day_of(quarters), LATER)
    assert all(b.y >= -0.01 and b.y + b.height <= 100.01 for b in chart.bars)
    assert all(b.x >= 0 and b.x + b.width <= 100.01 for b in chart.bars)
    assert len(chart.power_ticks) <= 10
    assert chart.zero in {t.at for t in chart.power_ticks}
    gaps_between = {round(b.at - a.at, 2) for a, b in zip(chart.power_ticks, chart.power_ticks[1:], strict=False)}
    assert max(gaps_between) - min(gaps_between) < 0.05
    above = sum(b.height for b in chart.bars if b.y + b.height <= chart.zero + 0.01)
    below = sum(b.height for b in chart.bars if b.y >= chart.zero - 0.01 and b.height)
    factor = {"kW": 1e3, "MW": 1e6, "GW": 1e9}[chart.unit] / 4
    per_percent = tick(chart.power_ticks[0].label) * factor / chart.zero
    assert above * per_percent == pytest.approx(sum(v or 0 for r in rows for v in r[:3]), rel=0.01, abs=per_percent)
    assert below * per_percent == pytest.approx(sum(v or 0 for r in rows for v in r[3:5]), rel=0.01, abs=per_percent)


def tick(label: str) -> float:
    """Read a tick's number."""
    return float(label.replace("−", "-"))


def test_one_kilowatt_hour_in_a_quarter_is_four_kilowatts() -> None:
    chart = day_chart(day_of([quarter(midday()[0], values={"pv_wh": 1000.0})]), LATER)
    assert chart.unit == "kW"
    (bar,) = chart.bars
    assert bar.height * tick(chart.power_ticks[0].label) / chart.zero == pytest.approx(4.0, abs=0.01)


def test_zero_is_no_bar_and_unknown_breaks_the_load() -> None:
    starts = midday(5)
    loads = (250.0, 300.0, None, 250.0, 0.0)
    quarters = [quarter(a, values={"pv_wh": 0.0, "load_wh": v}) for a, v in zip(starts, loads, strict=True)]
    chart = day_chart(day_of(quarters), LATER)
    assert chart.bars == ()
    assert len(chart.load) == 2
    assert chart.load[0].count("H") == 2
    assert chart.series == ("pv_wh", "load_wh")


def test_a_day_without_anything_is_empty() -> None:
    assert day_chart(day_of([]), LATER).empty
    assert day_chart(day_of([quarter(midday()[0])]), LATER).empty


@pytest.mark.parametrize(
    ("day", "zone", "slots", "labels"),
    [
        (date(2026, 3, 29), "Europe/Berlin", 92, ["00:00", "03:00", "06:00"]),
        (date(2026, 10, 25), "Europe/Berlin", 100, ["00:00", "03:00", "06:00"]),
        (date(2026, 6, 2), "Asia/Kathmandu", 96, ["00:00", "03:00", "06:00"]),
        (date(2026, 10, 4), "Australia/Lord_Howe", 94, ["00:00", "03:00", "06:00"]),
    ],
)
def test_days_of_every_length_are_labelled_by_the_sites_clock(
    day: date, zone: str, slots: int, labels: list[str]
) -> None:
    starts = day_slots(day, ZoneInfo(zone), 900)
    chart = day_chart(day_of([quarter(a, values={"pv_wh": 1.0}) for a in starts], zone), LATER)
    assert len(chart.absent) == slots
    assert [t.label for t in chart.time_ticks][:3] == labels
    assert (chart.time_ticks[-1].label, chart.time_ticks[-1].at) == ("24:00", 100)


def test_now_is_marked_on_the_day_itself_only() -> None:
    shown = day_of([quarter(a, values={"pv_wh": 1.0}) for a in midday(4)])
    assert day_chart(shown, datetime(2026, 6, 2, 12, 30, tzinfo=UTC)).now == 50
    assert day_chart(shown, LATER).now is None


@pytest.mark.parametrize(
    ("state", "hours_ago", "place", "words", "shaded"),
    [
        ("vendor_null", 5, BERLIN, "the vendor has no value for this time", True),
        ("retrying", 5, BERLIN, "the fetch failed and will be tried again", True),
        ("expired", 5, None, "lost: the vendor no longer has it", True),
        ("quarantined", 5, BERLIN, "the value cannot be true and was set aside", True),
        ("ahead", 5, BERLIN, "not fetched yet", True),
        ("ahead", 1, BERLIN, "not published yet", False),
        ("ahead", -1, BERLIN, "still ahead", False),
        ("vendor_null", -1, BERLIN, "still ahead", False),
        ("some_new_word", 5, BERLIN, "some new word", True),
        ("stored", 5, BERLIN, "no PV value came with the others", False),
    ],
)
def test_a_gap_says_why(state: str, hours_ago: int, place: Place | None, words: str, *, shaded: bool) -> None:
    start = midday()[0]
    (absence,) = absences(day_of([quarter(start, state)]), start + QUARTER + timedelta(hours=hours_ago), place)
    assert (absence.words, absence.shaded) == (words, shaded)


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (BERLIN, "night"),
        (Place(52.5, 13.4, exact=False), "night"),
        (None, "the vendor has no value for this time"),
    ],
)
def test_a_vendors_null_at_night_is_the_night(place: Place | None, words: str) -> None:
    midnight = datetime(2026, 6, 2, 23, tzinfo=UTC)
    (absence,) = absences(day_of([quarter(midnight, "vendor_null")]), LATER, place)
    assert (absence.words, absence.shaded) == (words, place is None)


def test_neighbouring_gaps_of_one_reason_are_one() -> None:
    states = ("retrying", "retrying", "stored", "vendor_null")
    values = (None, None, 5.0, None)
    quarters = [quarter(a, s, values={"pv_wh": v}) for a, s, v in zip(midday(), states, values, strict=True)]
    assert gaps(absences(day_of(quarters), LATER, BERLIN)) == (
        Gap(0, 50, "the fetch failed and will be tried again"),
        Gap(75, 25, "the vendor has no value for this time"),
    )


def test_qualities_in_words() -> None:
    assert quality_words(0) == "measured"
    assert quality_words(Quality.DERIVED | Quality.SANDBOX) == "computed, simulated"
    assert all(quality_words(flag) != "measured" for flag in Quality if flag)


def test_a_sparkline_keeps_unknown_hours_apart_from_those_to_come() -> None:
    drawn = spark((None, None, 0.0, 500.0, None, 1000.0, None, None))
    assert drawn.bars == ((3, 5.0), (5, 10.0))
    assert drawn.missing == (4,)
    assert (drawn.peak_w, drawn.peak_hour, drawn.hours) == (1000.0, 5, 8)


@pytest.mark.parametrize("hours", [(), (None,) * 24, (0.0, 0.0)])
def test_a_sparkline_of_nothing_draws_nothing(hours: tuple[float | None, ...]) -> None:
    assert spark(hours).bars == ()
