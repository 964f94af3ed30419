"""The ledger of slots: for every stream and site-local day, what became of each expected slot."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from zoneinfo import ZoneInfo

from enalysis.core.intervals import Window, day_window, local_days


class Slot(StrEnum):
    """What became of a slot, as the letter kept in the database."""

    AHEAD = "."
    STORED = "s"
    VENDOR_NULL = "n"
    RETRYING = "r"
    EXPIRED = "x"
    QUARANTINED = "q"


# A later answer may improve a slot, never worsen it: stored stays stored when the vendor later says null.
_RANK = {
    Slot.AHEAD: 0,
    Slot.RETRYING: 1,
    Slot.EXPIRED: 2,
    Slot.VENDOR_NULL: 3,
    Slot.QUARANTINED: 4,
    Slot.STORED: 5,
}


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring slots of one day: letters for the slots from `first` on, of `slots` in the whole day."""

    day: date
    slots: int
    first: int
    letters: str


def runs(
    answered: Window,
    step_s: int,
    zone: ZoneInfo,
    stored: Iterable[datetime],
    quarantined: Iterable[datetime] = (),
    otherwise: Slot = Slot.VENDOR_NULL,
) -> list[Run]:
    """Return what a vendor's answer over a window says of each slot in it, split by the site's days.

    Args: answered: the closed slots the answer speaks of. stored, quarantined: starts of slots that held a
        value. otherwise: what every other slot of the window is.
    """
    good, bad = frozenset(stored), frozenset(quarantined)
    out = []
    for day in local_days(answered, zone):
        whole = day_window(day, zone)
        part = answered.meet(whole)
        if part is None:
            continue
        first = int((part.start - whole.start).total_seconds() // step_s)
        letters = "".join(
            Slot.STORED if at in good else Slot.QUARANTINED if at in bad else otherwise for at in part.slots(step_s)
        )
        if letters:
            out.append(Run(day, int(whole.seconds // step_s), first, letters))
    return out


def merge(old: str, run: Run) -> str:
    """Return the day's letters after a run: each slot keeps the better of what was and what is now known."""
    row = list(old.ljust(run.slots, Slot.AHEAD))
    for offset, letter in enumerate(run.letters):
        at = run.first + offset
        if at < run.slots and _RANK[Slot(letter)] >= _RANK[Slot(row[at])]:
            row[at] = letter
    return "".join(row[: run.slots])


def coarsen(letters: str, slots: int) -> str:
    """Return the letters of a day in so many slots; of the parts of a slot the least settled one speaks for it."""
    parts = len(letters) // slots if slots else 0
    if parts <= 1:
        return letters
    groups = (letters[n : n + parts] for n in range(0, slots * parts, parts))
    return "".join(min(group, key=lambda letter: _RANK[Slot(letter)]) for group in groups)


def joined(a: Run, b: Run) -> Run:
    """Return two runs of the same day as one; slots between them stay ahead, the better letter wins."""
    letters = merge(merge("", a), b)
    known = letters.rstrip(Slot.AHEAD)
    first = len(known) - len(known.lstrip(Slot.AHEAD))
    return Run(a.day, a.slots, first, known[first:])


def expected(day: date, zone: ZoneInfo, step_s: int, now: datetime, delay_s: int) -> int:
    """Return how many slots of the day a vendor that publishes `delay_s` late must have told by `now`."""
    whole = day_window(day, zone)
    told = (now - whole.start).total_seconds() - delay_s
    return max(0, min(int(whole.seconds // step_s), int(told // step_s)))


def count(letters: str) -> Mapping[Slot, int]:
    """Return how many slots are in each state."""
    return {slot: letters.count(slot.value) for slot in Slot}
