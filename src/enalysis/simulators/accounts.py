"""Accounts at simulated vendors: who may read which sites, on which plan, and what has been spent."""

import calendar
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from enalysis.core.intervals import floor_time


@dataclass(frozen=True, slots=True)
class Plan:
    """What a vendor sells: calls per minute and per billing month, and whether its figures are documented."""

    key: str
    label: str
    per_minute: int
    per_month: int
    documented: bool


@dataclass(frozen=True, slots=True)
class Account:
    """One account at a simulated vendor.

    Attributes:
        key: name in the sandbox. credentials: what a person enters to connect, by the name of the field.
        sites: keys of the worlds it may read. billed_from: when its billing months begin.
        way: by which of the vendor's ways it is connected. app: `client_id`, `client_secret` and `api_key` of
            the application it is connected by, empty where none is needed; app_label: the application's name.
        login: `username` and `password` at the vendor, typed on its consent page or given by an installer.
    """

    vendor: str
    key: str
    label: str
    credentials: Mapping[str, str]
    plan: Plan
    sites: tuple[str, ...]
    billed_from: datetime
    way: str = ""
    app: Mapping[str, str] = field(default_factory=dict)
    app_label: str = ""
    login: Mapping[str, str] = field(default_factory=dict)


class Verdict(StrEnum):
    """Whether a call may be served."""

    SERVED = "served"
    MINUTE = "minute"
    MONTH = "month"


@dataclass(slots=True)
class Tally:
    """What an account has spent: by calendar minute, and by month from its billing day.

    `served` counts calls by endpoint, `refused` by the window that was spent; both are never reset.
    """

    plan: Plan
    billed_from: datetime
    served: Counter[str] = field(default_factory=Counter)
    refused: Counter[Verdict] = field(default_factory=Counter)
    most_in_minute: int = 0
    most_in_month: int = 0
    _minute: tuple[datetime, int] = (datetime.min.replace(tzinfo=UTC), 0)
    _month: tuple[datetime, int] = (datetime.min.replace(tzinfo=UTC), 0)

    def spend(self, endpoint: str, now: datetime) -> Verdict:
        """Count one call of any outcome and say whether it may be served."""
        minute, month = self.minute(now), self.month(now)
        if minute >= self.plan.per_minute:
            self.refused[Verdict.MINUTE] += 1
            return Verdict.MINUTE
        self._minute = (floor_time(now, 60), minute + 1)
        self.most_in_minute = max(self.most_in_minute, minute + 1)
        if month >= self.plan.per_month:
            self.refused[Verdict.MONTH] += 1
            return Verdict.MONTH
        self._month = (billing_month(self.billed_from, now), month + 1)
        self.most_in_month = max(self.most_in_month, month + 1)
        self.served[endpoint] += 1
        return Verdict.SERVED

    def minute(self, now: datetime) -> int:
        """Return the calls of the calendar minute `now` lies in."""
        start, count = self._minute
        return count if start == floor_time(now, 60) else 0

    def month(self, now: datetime) -> int:
        """Return the calls of the billing month `now` lies in."""
        start, count = self._month
        return count if start == billing_month(self.billed_from, now) else 0

    def remaining_minute(self, now: datetime) -> int:
        """Return how many calls the current minute still allows."""
        return max(0, self.plan.per_minute - self.minute(now))


def tallies_of(accounts: Iterable[Account]) -> dict[str, Tally]:
    """Return a tally for each account, by its key; the accounts of one app share one."""
    shared: dict[str, Tally] = {}
    return {
        a.key: shared.setdefault(a.app.get("client_id") or f"account {a.key}", Tally(a.plan, a.billed_from))
        for a in accounts
    }


def minute_left_s(now: datetime) -> int:
    """Return the whole seconds until the next calendar minute, at least 1."""
    return max(1, round((floor_time(now, 60) + timedelta(seconds=60) - now).total_seconds()))


def billing_month(billed_from: datetime, now: datetime) -> datetime:
    """Return when the billing month of `now` began: on the day of the month of `billed_from`, at its time.

    Where a month is too short for that day, it begins on its last day.
    """
    year, month = now.astimezone(UTC).year, now.astimezone(UTC).month
    this = _anniversary(billed_from, year, month)
    if this <= now:
        return this
    return _anniversary(billed_from, year - (month == 1), (month - 2) % 12 + 1)


def made_up(what: str, seed: int, key: str, length: int = 24) -> str:
    """Return a credential that is obviously made up, the same for the same seed."""
    digest = hashlib.blake2b(f"{what}|{seed}|{key}".encode(), digest_size=32).hexdigest()
    return f"SANDBOX-{digest[:length].upper()}"


def _anniversary(billed_from: datetime, year: int, month: int) -> datetime:
    last = calendar.monthrange(year, month)[1]
    return billed_from.astimezone(UTC).replace(year=year, month=month, day=min(billed_from.day, last))
