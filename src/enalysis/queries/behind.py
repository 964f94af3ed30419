"""What stands behind one connection: its sites, streams, newest events and newest calls."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from enalysis.connectors.base import Spec
from enalysis.core.access import Scope
from enalysis.core.errors import NotFound
from enalysis.queries.shapes import CallLine, ConnectionDetail, EventLine, SiteLine, StreamLine
from enalysis.store.pool import Database, named_rows

NEWEST = 50
_MOST_SITES = 500
_MOST_STREAMS = 2000

_SITES = """
    select v.site_id as id, coalesce(s.name, v.name) as name, v.active
    from vendor_sites v left join sites s on s.organization_id = v.organization_id and s.id = v.site_id
    where v.organization_id = %(org)s and v.connection_id = %(connection)s
    order by lower(coalesce(s.name, v.name)), v.ref limit %(most)s
"""
_STREAMS = """
    select t.id, t.name, t.site_id as site, s.name as site_name, t.enabled, t.every_s, t.why, t.last_ok_at, t.next_at,
           t.failures, t.fault, t.fault_text
    from streams t left join sites s on s.organization_id = t.organization_id and s.id = t.site_id
    where t.organization_id = %(org)s and t.connection_id = %(connection)s
    order by s.name nulls first, t.subject, t.id limit %(most)s
"""
_EVENTS = """
    select at, kind, text from events where organization_id = %(org)s and connection_id = %(connection)s
    order by at desc, id desc limit %(most)s
"""
_CALLS = """
    select at, operation, cost, verdict, ms from vendor_calls
    where organization_id = %(org)s and connection_id = %(connection)s
    order by at desc, id desc limit %(most)s
"""


async def behind(scope: Scope, db: Database, specs: Mapping[str, Spec], connection: UUID) -> ConnectionDetail:
    """Return what stands behind a connection: events and calls newest first, at most 50 each. Raises NotFound."""
    asked = {"org": scope.organization, "connection": connection}
    async with db.org(scope) as conn, conn.cursor(row_factory=named_rows) as cur:
        await cur.execute(
            "select vendor from connections where organization_id = %(org)s and id = %(connection)s", asked
        )
        head: Any = await cur.fetchone()
        if head is None:
            msg = "no such connection"
            raise NotFound(msg)

        async def rows(statement: str, most: int) -> list[Any]:
            await cur.execute(statement, {**asked, "most": most})
            return await cur.fetchall()

        sites = await rows(_SITES, _MOST_SITES)
        streams = await rows(_STREAMS, _MOST_STREAMS)
        events = await rows(_EVENTS, NEWEST)
        calls = await rows(_CALLS, NEWEST)
    spec = specs.get(head.vendor)
    labels = {} if spec is None else {s.name: s.label for s in spec.streams}
    every = {} if spec is None else {s.name: s.every_s for s in spec.streams}
    return ConnectionDetail(
        tuple(SiteLine(r.id, r.name, r.active) for r in sites),
        tuple(
            StreamLine(
                r.id,
                r.name,
                labels.get(r.name, r.name),
                r.site,
                r.site_name,
                r.enabled,
                r.every_s or every.get(r.name),
                r.why,
                r.last_ok_at,
                r.next_at,
                r.failures,
                r.fault,
                r.fault_text,
            )
            for r in streams
        ),
        tuple(EventLine(r.at, r.kind, r.text) for r in events),
        tuple(CallLine(r.at, r.operation, r.cost, r.verdict, r.ms) for r in calls),
    )
