"""The budget: what each app or account may spend, has spent and will spend, and how fresh every site is for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from enalysis.connectors.base import Plan, Spec, Stream, Way
from enalysis.core.access import Scope
from enalysis.core.daylight import Place
from enalysis.core.outlook import mean_age_s, outlook
from enalysis.core.planner import StreamNeed, demand_per_day, plan
from enalysis.core.quotas import Budget
from enalysis.core.sharing import lit_share
from enalysis.queries import budget_words as words
from enalysis.queries.budget_shapes import BudgetAccount, BudgetConnection, BudgetPlan, BudgetSite, BudgetWindow
from enalysis.queries.needs import need_of
from enalysis.queries.places import place_of
from enalysis.store import apps, connections, quotas, sites, streams
from enalysis.store.connections import Connection
from enalysis.store.pool import Database
from enalysis.store.sites import Site
from enalysis.store.streams import STOPPED, StreamRow


@dataclass(frozen=True, slots=True)
class _Fetched:
    """One stream as planned: its row, its card, what the planner is told, and the cadence it has now."""

    row: StreamRow
    card: Stream
    need: StreamNeed

    @property
    def every_s(self) -> int:
        return self.row.every_s or self.card.every_s

    @property
    def lit(self) -> float:
        return lit_share(self.need.daylight)

    @property
    def per_day(self) -> float:
        return demand_per_day(self.need) * self.card.every_s / self.every_s

    def age_s(self, every_s: float) -> float:
        return mean_age_s(every_s, self.card.delay_s, self.lit)


@dataclass(frozen=True, slots=True)
class _Known:
    """Everything of the organization that a budget is made of."""

    specs: Mapping[str, Spec]
    app_names: Mapping[UUID, str]
    sites: Mapping[UUID, Site]
    places: Mapping[UUID, Place | None]
    rows: Mapping[UUID, Sequence[StreamRow]]


async def budget(scope: Scope, db: Database, specs: Mapping[str, Spec], now: datetime) -> tuple[BudgetAccount, ...]:
    """Return every app and account whose quota the organization's connections spend, oldest first.

    Of other organizations on the same app only the sum of their calls is told.
    """
    async with db.org(scope) as conn:
        found = await connections.list_connections(scope, conn)
        rows: dict[UUID, list[StreamRow]] = {c.id: [] for c in found}
        for row in await streams.list_all_streams(scope, conn):
            rows[row.connection_id].append(row)
        all_sites = {s.id: s for s in await sites.list_sites(scope, conn)}
        names = {a.id: a.name for a in await apps.list_apps(scope, conn)}
    by_account: dict[str, list[Connection]] = {}
    for connection in found:
        by_account.setdefault(connection.account, []).append(connection)
    async with db.engine() as conn:
        wanted = await streams.demand_of_accounts(conn, by_account)
    async with db.world() as conn:
        budgets = await quotas.budgets(conn, by_account, now)
    known = _Known(specs, names, all_sites, {i: place_of(s) for i, s in all_sites.items()}, rows)
    return tuple(
        _account(known, those, [b for b in budgets if b.scope == account], wanted.get(account, 0.0), now)
        for account, those in by_account.items()
        if those[0].vendor in specs
    )


def _account(
    known: _Known, those: Sequence[Connection], budgets: Sequence[Budget], wanted: float, now: datetime
) -> BudgetAccount:
    first = those[0]
    spec = known.specs[first.vendor]
    way = spec.way(first.way)
    by_connection = {c.id: _streams(known, spec, c, now) for c in those}
    running = [f for c in those if _runs(c) for f in by_connection[c.id]]
    own, pace = sum(demand_per_day(f.need) for f in running), sum(f.per_day for f in running)
    # Others on the same quota are slowed down by the same factor.
    others = max(0.0, wanted - own)
    others_pace = others * (pace / own if own else 1.0)
    lit = sum(f.per_day * f.lit for f in running) / pace if pace else 1.0
    windows = tuple(_window(b, pace + others_pace, lit, now) for b in budgets)
    made = tuple(_connection(known, c, by_connection[c.id]) for c in those)
    ages = [s.age_s for c in made for s in c.sites if s.age_s is not None]
    account = BudgetAccount(
        mark=first.account.rsplit(":", 1)[-1],
        kind="account" if way.app is None else "app",
        name=first.name if first.app_id is None else known.app_names.get(first.app_id, "App"),
        vendor=spec.key,
        vendor_label=spec.label,
        plan=way.plan(first.plan).key,
        plan_label=way.plan(first.plan).label,
        wanted_per_day=round(own, 1),
        planned_per_day=round(pace, 1),
        others_per_day=round(others_pace, 1),
        mean_age_s=sum(ages) / len(ages) if ages else None,
        windows=windows,
        connections=made,
        plans=_plans(way, first, running, others, now),
        sentence="",
    )
    return words.with_sentence(account)


def _runs(connection: Connection) -> bool:
    return connection.paused_at is None and connection.state not in STOPPED


def _streams(known: _Known, spec: Spec, connection: Connection, now: datetime) -> list[_Fetched]:
    cards = {s.name: s for s in spec.streams}
    found = []
    for row in known.rows[connection.id]:
        card = cards.get(row.name)
        if card is not None:
            place = None if row.site_id is None else known.places.get(row.site_id)
            found.append(_Fetched(row, card, need_of(card, connection.account, place, row, now)))
    return found


def _window(budget: Budget, per_day: float, lit: float, now: datetime) -> BudgetWindow:
    seen = outlook(budget, per_day, lit, now)
    quota = budget.quota
    return BudgetWindow(
        window=quota.window.value,
        limit=quota.limit,
        chosen=quota.chosen,
        used=budget.taken,
        planned=seen.planned,
        people=seen.people,
        live=seen.live,
        left_over=seen.left_over,
        fate=seen.fate.value,
        ends_at=seen.ends_at,
        turns_at=budget.turns_at,
        hold_until=budget.hold_until if budget.hold_until is not None and budget.hold_until > now else None,
        sentence=words.window(budget, seen),
    )


def _connection(known: _Known, connection: Connection, fetched: Sequence[_Fetched]) -> BudgetConnection:
    by_site: dict[UUID, list[_Fetched]] = {}
    for each in fetched:
        if each.row.site_id is not None:
            by_site.setdefault(each.row.site_id, []).append(each)
    runs = _runs(connection)
    told = [_site(known.sites[site], those, runs=runs) for site, those in by_site.items() if site in known.sites]
    return BudgetConnection(
        connection.id,
        connection.name,
        "paused" if connection.paused_at is not None else connection.state,
        round(sum(f.per_day for f in fetched), 1) if runs else 0.0,
        tuple(sorted(told, key=lambda s: (-(s.age_s or 0.0), s.name))),
    )


def _site(site: Site, fetched: Sequence[_Fetched], *, runs: bool) -> BudgetSite:
    telling = [f for f in fetched if f.card.step_s is not None]
    # All its streams are slowed down alike; the one that lags most says how old the picture is.
    slowest = max(telling, key=lambda f: f.age_s(f.every_s), default=None) if runs else None
    age_s = None if slowest is None else slowest.age_s(slowest.every_s)
    every_s = None if slowest is None else slowest.every_s
    per_day = round(sum(f.per_day for f in fetched), 1) if runs else 0.0
    return BudgetSite(site.id, site.name, per_day, every_s, age_s, words.site(every_s, age_s))


def _plans(
    way: Way, connection: Connection, running: Sequence[_Fetched], others: float, now: datetime
) -> tuple[BudgetPlan, ...]:
    """Return how fresh the same sites would be on each plan, its quota untouched."""
    telling = {f.row.name: f for f in running if f.card.step_s is not None}
    current = way.plan(connection.plan).key
    return tuple(_on(p, connection, running, telling, others, now, current=p.key == current) for p in way.plans)


def _on(
    offer: Plan,
    connection: Connection,
    running: Sequence[_Fetched],
    telling: Mapping[str, _Fetched],
    others: float,
    now: datetime,
    *,
    current: bool,
) -> BudgetPlan:
    fresh = [Budget(connection.account, q, 0, now) for q in offer.quotas]
    only = {f.need.key for f in telling.values()}
    dues = plan([f.need for f in running], fresh, now, {connection.account: others}, only)
    age_s = max((f.age_s(dues[f.need.key].every_s) for f in telling.values()), default=None)
    limits = {q.window.value: q.limit for q in offer.quotas}
    made = BudgetPlan(offer.key, offer.label, limits, age_s, current, words.price(offer.note), "")
    return words.with_offer(made)
