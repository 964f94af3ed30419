"""A stored stream as the planner sees it."""

from datetime import datetime

from enalysis.connectors.base import Stream
from enalysis.core.daylight import Place, lit_around
from enalysis.core.intervals import floor_time
from enalysis.core.planner import StreamNeed
from enalysis.store.streams import StreamRow


def need_of(stream: Stream, account: str, place: Place | None, row: StreamRow, now: datetime) -> StreamNeed:
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
