"""Connections as a person watches them: state in a sentence, quota, history, next call."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from enalysis.connectors.base import Spec
from enalysis.core.access import Scope
from enalysis.core.errors import NotFound
from enalysis.core.quotas import Budget
from enalysis.queries.health import of_state
from enalysis.queries.shapes import BackfillRow, ConnectionRow, Health, QuotaRow
from enalysis.store import quotas
from enalysis.store.pool import Database, named_rows

_CONNECTIONS = """
    select c.id, c.vendor, c.name, c.way, c.plan, c.account, c.state, c.fault, c.state_since, c.paused_at, c.last_ok_at,
           c.sealed_at, c.app_id, a.name as app_name, a.state as app_state, a.state_since as app_state_since,
           c.expires_at, c.refresh_expires_at, c.refreshed_at, c.sandbox, c.twin_of,
           (select t.id from connections t where t.organization_id = c.organization_id and t.twin_of = c.id) as twin,
           (select count(*) from vendor_sites v where v.organization_id = c.organization_id
                and v.connection_id = c.id) as sites,
           (select count(*) from devices d where d.organization_id = c.organization_id
                and d.connection_id = c.id) as devices,
           (select count(*) from samples r join devices d on d.organization_id = r.organization_id
                and d.id = r.device_id where r.organization_id = c.organization_id
                and d.connection_id = c.id and r.at > %(since)s) as samples,
           (select count(*) from intervals r join devices d on d.organization_id = r.organization_id
                and d.id = r.device_id where r.organization_id = c.organization_id
                and d.connection_id = c.id and r.start > %(since)s) as intervals,
           (select count(*) from vendor_calls v where v.organization_id = c.organization_id
                and v.connection_id = c.id) as calls,
           (select count(*) from vendor_calls v where v.organization_id = c.organization_id
                and v.connection_id = c.id and v.verdict <> 'ok') as calls_failed,
           (select count(*) from quarantine q where q.organization_id = c.organization_id
                and q.connection_id = c.id) as quarantined,
           s.next_at, s.done_s, s.asked_s, s.backfill_next_at
    from connections c
    left join vendor_apps a on a.organization_id = c.organization_id and a.id = c.app_id
    left join lateral (
        select min(next_at) filter (where enabled) as next_at, min(backfill_next_at) as backfill_next_at,
               sum(extract(epoch from started - coalesce(backfill_at, started)))::float8 as done_s,
               sum(extract(epoch from started - backfill_until))::float8 as asked_s
        from (select *, coalesce(backfill_start, %(now)s) as started from streams x
              where x.organization_id = c.organization_id and x.connection_id = c.id) x
    ) s on true
    where c.organization_id = %(org)s and (%(only)s::uuid is null or c.id = %(only)s)
    order by c.created_at, c.name
"""


async def connections(
    scope: Scope, db: Database, specs: Mapping[str, Spec], now: datetime
) -> tuple[ConnectionRow, ...]:
    """Return every connection of the organization, oldest first. Counts of readings cover 40 days."""
    return await _rows(scope, db, specs, now, None)


async def connection(
    scope: Scope, db: Database, specs: Mapping[str, Spec], which: UUID, now: datetime
) -> ConnectionRow:
    """Return one connection. Raises NotFound."""
    rows = await _rows(scope, db, specs, now, which)
    if not rows:
        msg = "no such connection"
        raise NotFound(msg)
    return rows[0]


async def _rows(
    scope: Scope, db: Database, specs: Mapping[str, Spec], now: datetime, only: UUID | None
) -> tuple[ConnectionRow, ...]:
    async with db.org(scope) as conn, conn.cursor(row_factory=named_rows) as cur:
        since = now - timedelta(days=40)
        await cur.execute(_CONNECTIONS, {"org": scope.organization, "now": now, "only": only, "since": since})
        found: list[Any] = await cur.fetchall()
    async with db.world() as conn:
        budgets = await quotas.budgets(conn, {r.account for r in found}, now)
    return tuple(_row(r, specs, [b for b in budgets if b.scope == r.account]) for r in found)


def _row(r: Any, specs: Mapping[str, Spec], budgets: list[Budget]) -> ConnectionRow:  # noqa: ANN401 - a named row
    spec = specs.get(r.vendor)
    label = r.vendor if spec is None else spec.label
    state = "paused" if r.paused_at is not None else r.state
    health = Health.UNKNOWN if r.paused_at is not None else of_state(r.state)
    asked_days = (r.asked_s or 0) / 86400
    return ConnectionRow(
        r.id,
        r.vendor,
        label,
        r.name,
        r.plan,
        r.plan if spec is None else spec.way(r.way).plan(r.plan).label,
        state,
        health,
        r.fault or _SENTENCES.get(state, "Collecting"),
        r.state_since,
        r.sites,
        r.devices,
        r.samples,
        r.intervals,
        r.calls,
        r.calls_failed,
        tuple(_quota(b) for b in budgets),
        BackfillRow(round(min(asked_days, (r.done_s or 0) / 86400), 2), round(asked_days, 2), r.backfill_next_at),
        r.last_ok_at,
        r.next_at,
        r.quarantined,
        r.paused_at,
        r.sealed_at,
        r.account.rsplit(":", 1)[-1],
        r.way,
        r.way if spec is None else spec.way(r.way).label,
        r.app_id,
        r.app_name,
        r.app_state,
        r.app_state_since,
        r.expires_at,
        r.refresh_expires_at,
        r.refreshed_at,
        sandbox=r.sandbox,
        twin_of=r.twin_of,
        twin=r.twin,
    )


def _quota(budget: Budget) -> QuotaRow:
    turns = budget.turns_at if budget.left == 0 or budget.hold_until is None else budget.hold_until
    return QuotaRow(budget.quota.window.value, budget.quota.limit, budget.taken, budget.quota.chosen, turns)


_SENTENCES = {
    "healthy": "Collecting",
    "connecting": "Looking for the sites behind this account",
    "paused": "Paused: nothing is collected until it is resumed",
}
