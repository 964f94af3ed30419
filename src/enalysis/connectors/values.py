"""Single values of vendors' answers, judged one by one: rubbish spoils only itself; no I/O."""

from collections.abc import Callable
from datetime import date
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from enalysis.core.errors import UnknownUnit
from enalysis.core.metrics import INFO, Metric

NULL = msgspec.Raw(b"null")
_NUMBER: msgspec.json.Decoder[float | None] = msgspec.json.Decoder(float | None)


def text(value: object) -> str | None:
    """Return a vendor's text without control characters, at most 200 long; None for anything but a text."""
    if not isinstance(value, str):
        return None
    return "".join(c for c in value if c.isprintable()).strip()[:200] or None


def number(metric: Metric, raw: msgspec.Raw, scale: float) -> float:
    """Return a value times `scale`, in the unit of the metric.

    Raises ValueError, with the reason, for what is no finite number or cannot be true of the metric.
    """
    try:
        told = _NUMBER.decode(raw)
    except msgspec.MsgspecError:
        told = None
    if told is None:
        raise ValueError("not a finite number")
    # Adding zero turns a negative zero into zero.
    info, value = INFO[metric], told * scale + 0.0
    if not info.low <= value <= info.high:
        raise ValueError(f"outside {info.low:g} to {info.high:g} {info.unit}")
    return value


def number_or_none(metric: Metric, raw: msgspec.Raw, unit: object, scale_of: Callable[[str], float]) -> float | None:
    """Return a value in the unit of the metric, or None where it or its unit is none."""
    try:
        return number(metric, raw, scale_of(str(unit)))
    except (ValueError, UnknownUnit):
        return None


def zone(value: object) -> str | None:
    """Return the name where it is a zone of the IANA database."""
    try:
        return ZoneInfo(text(value) or "").key
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def day(value: object) -> date | None:
    """Return the calendar day a stamp begins with; rubbish is no day."""
    try:
        return date.fromisoformat((text(value) or "")[:10])
    except ValueError:
        return None
