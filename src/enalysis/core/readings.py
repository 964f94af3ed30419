"""Samples and intervals: what a connector hands over, checked before anything is stored."""

import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeGuard

from enalysis.core.metrics import INFO, INTERVAL_METRICS, SAMPLE_METRICS, Metric, Quality

INTERVAL_DURATIONS_S = (300, 900, 3600, 86400)
# A device clock may run ahead a little; beyond this a stamp is no measurement (BAR H10).
FUTURE_TOLERANCE = timedelta(minutes=10)
# A device that lost its clock says 1970; every month believed would cost a partition.
OLDEST = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Sample:
    """What was true of a device at an instant.

    Attributes:
        device: the vendor's reference of the device, unique in its connection.
        at: aware UTC. values: W, Wh (lifetime counters), %, °C; an absent metric was not told.
    """

    device: str
    at: datetime
    values: Mapping[Metric, float]
    quality: Quality = Quality.MEASURED
    extra: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class Interval:
    """Energy of a device in [start, start + duration_s), labelled by start; soc_pct is at its end.

    Attributes:
        start: aware UTC. duration_s: one of 300, 900, 3600, 86400.
        values: Wh, never negative, and %; an absent metric was not told.
    """

    device: str
    start: datetime
    duration_s: int
    values: Mapping[Metric, float]
    quality: Quality = Quality.MEASURED
    extra: Mapping[str, object] | None = None

    @property
    def end(self) -> datetime:
        """First instant after the interval."""
        return self.start + timedelta(seconds=self.duration_s)


@dataclass(frozen=True, slots=True)
class Rejected:
    """One value that cannot be stored, and why; `shown` is a short excerpt without secrets."""

    device: str
    at: datetime | None
    metric: str
    reason: str
    shown: str = ""


@dataclass(slots=True)
class Sifted:
    """Readings fit to store and the values that are not."""

    samples: list[Sample] = field(default_factory=list)
    intervals: list[Interval] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)


def sift(samples: Iterable[Sample], intervals: Iterable[Interval], now: datetime) -> Sifted:
    """Part what can be true from what cannot: one bad value is set aside, the rest of its row stays.

    Raises nothing for bad values: a naive time, one in the future or before 2000, a duration we do not
    store, a number that is not finite, or one outside its metric's range becomes a Rejected with its reason.
    """
    out = Sifted()
    for s in samples:
        reason = _bad_time(s.at, now)
        values = _good(s.device, s.at, s.values, SAMPLE_METRICS, reason, out.rejected)
        if values:
            out.samples.append(Sample(s.device, s.at, values, s.quality, _beside(s.extra)))
    for i in intervals:
        reason = _bad_interval(i, now)
        values = _good(i.device, i.start, i.values, INTERVAL_METRICS, reason, out.rejected)
        if values:
            out.intervals.append(Interval(i.device, i.start, i.duration_s, values, i.quality, _beside(i.extra)))
    return out


def _bad_interval(i: Interval, now: datetime) -> str | None:
    if i.duration_s not in INTERVAL_DURATIONS_S:
        return f"duration of {i.duration_s} s is none of {INTERVAL_DURATIONS_S}"
    return _bad_time(i.start, now) or _bad_time(i.end, now)


def _bad_time(at: datetime, now: datetime) -> str | None:
    if at.utcoffset() is None:
        return "time without a zone"
    if at < OLDEST:
        return f"before {OLDEST.year}"
    if at > now + FUTURE_TOLERANCE:
        return f"{int((at - now).total_seconds() // 60)} min in the future"
    return None


def _good(
    device: str,
    at: datetime,
    values: Mapping[Metric, float],
    allowed: tuple[Metric, ...],
    reason: str | None,
    rejected: list[Rejected],
) -> dict[Metric, float]:
    good: dict[Metric, float] = {}
    for metric, value in values.items():
        why = reason or _bad_value(metric, value, allowed)
        if why is None:
            good[metric] = float(value)
        else:
            rejected.append(Rejected(device, at, metric.value, why, _shown(value)))
    return good


def _beside(extra: Mapping[str, object] | None) -> Mapping[str, object] | None:
    return {_text(k): _plain(v) for k, v in extra.items()} if extra else None


def _plain(value: object) -> object:
    """Return what the database's JSON can hold of a value: one NUL in it would cost the whole batch."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        return {_text(str(k)): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return None if _is_huge(value) or not math.isfinite(value) else value
    return _text(_shown(value))


def _text(text: str) -> str:
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def _shown(value: object) -> str:
    # Python refuses to write out an int of thousands of digits.
    return f"int of {value.bit_length()} bits" if _is_huge(value) else repr(value)[:40]


def _is_huge(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and value.bit_length() > sys.float_info.max_exp


def _bad_value(metric: Metric, value: object, allowed: tuple[Metric, ...]) -> str | None:
    if metric not in allowed:
        return "not a metric of this kind of reading"
    if isinstance(value, bool) or not isinstance(value, int | float) or _is_huge(value):
        return "not a finite number"
    if not math.isfinite(value):
        return "not a finite number"
    info = INFO[metric]
    if not info.low <= value <= info.high:
        return f"outside {info.low:g} to {info.high:g} {info.unit}"
    return None
