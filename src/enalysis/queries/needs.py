"""A stored stream as the planner sees it."""

from datetime import datetime
from typing import Protocol

from enalysis.connectors.base import Stream
from enalysis.core.daylight import Place, lit_around
from enalysis.core.intervals import floor_time
from enalysis.core.planner import StreamNeed


class Asked(Protocol):
    """What of a stored stream the planner goes by."""

    @property
    def id(self) -> int:
        """Its number."""

    @property
    def last_ok_at(self) -> datetime | None:
        """When the vendor last answered, or None."""

    @property
    def wait_until(self) -> datetime | None:
        """A vendor's word or a back-off to respect."""


def need_of(stream: Stream, account: str, place: Place | None, row: Asked, now: datetime) -> StreamNeed:
    """Return what the planner is told of a stream; one of daylight at an unknown place may have news at any hour."""
    lit = None if place is None or not stream.daylight_only else lit_around(place, floor_time(now, 3600))
    return StreamNeed(
        str(row.id),
        (account,),
        stream.every_s,
        stream.cost,
        stream.delay_s,
        lit,
        # From the last success: a failed poll is repeated when its pause is over, not a cadence later.
        row.last_ok_at,
        row.wait_until,
    )
