"""The answers of the budget: calls, calls a day, seconds, and a sentence for each line. None is unknown."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class BudgetWindow:
    """One quota of an app or account, in calls.

    planned: what scheduled polls will spend until something comes back at `turns_at`. people: kept for clicks
    and renewal. live: kept from history beyond that. fate: lasts, runs_out, spent or held; until or from
    `ends_at` on. chosen: the vendor publishes no figure, this one is assumed.
    """

    window: str
    limit: int
    chosen: bool
    used: int
    planned: int
    people: int
    live: int
    left_over: int
    fate: str
    ends_at: datetime | None
    turns_at: datetime
    hold_until: datetime | None
    sentence: str


@dataclass(frozen=True, slots=True)
class BudgetSite:
    """A site on a budget: calls a day, the cadence of its slowest stream, and how old its newest value is, s."""

    id: UUID
    name: str
    per_day: float
    every_s: int | None
    age_s: float | None
    sentence: str


@dataclass(frozen=True, slots=True)
class BudgetConnection:
    """A connection that spends the budget, and its sites, the stalest first."""

    id: UUID
    name: str
    state: str
    per_day: float
    sites: tuple[BudgetSite, ...]


@dataclass(frozen=True, slots=True)
class BudgetPlan:
    """What a plan of the vendor would buy the same sites; `price`: what its card says of money, else None."""

    key: str
    label: str
    limits: Mapping[str, int]
    age_s: float | None
    current: bool
    price: str | None
    sentence: str


@dataclass(frozen=True, slots=True)
class BudgetAccount:
    """Everything that one quota of a vendor pays for.

    kind: app or account, whichever the vendor counts by. mark: by which equal secrets are known, and nothing
    else. mean_age_s: over its sites, s. others_per_day: calls of connections of other organizations.
    """

    mark: str
    kind: str
    name: str
    vendor: str
    vendor_label: str
    plan: str
    plan_label: str
    wanted_per_day: float
    planned_per_day: float
    others_per_day: float
    mean_age_s: float | None
    windows: tuple[BudgetWindow, ...]
    connections: tuple[BudgetConnection, ...]
    plans: tuple[BudgetPlan, ...]
    sentence: str
