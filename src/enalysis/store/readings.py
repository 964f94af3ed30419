"""Writing readings: samples, intervals, latest, revisions, coverage and cursors in one transaction."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

from psycopg.errors import UniqueViolation

from enalysis.core.access import Scope
from enalysis.core.coverage import Run, joined
from enalysis.core.metrics import INTERVAL_METRICS, SAMPLE_METRICS, Metric, Quality
from enalysis.store.pool import Conn
from enalysis.store.staging import Stage

_SAMPLE_COLUMNS = tuple(m.value for m in SAMPLE_METRICS)
_INTERVAL_COLUMNS = tuple(m.value for m in INTERVAL_METRICS)
# From so many rows on other statements than those of a poll's handful are the quicker ones.
_MANY = 5_000


@dataclass(frozen=True, slots=True)
class SampleRow:
    """A sample of a stored device."""

    device: int
    at: datetime
    values: Mapping[Metric, float]
    quality: Quality = Quality.MEASURED
    extra: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class IntervalRow:
    """An interval of a stored device, Wh."""

    device: int
    start: datetime
    duration_s: int
    values: Mapping[Metric, float]
    quality: Quality = Quality.MEASURED
    extra: Mapping[str, object] | None = None


@dataclass(slots=True)
class Ingest:
    """What one transaction stores: readings, what became of each slot, and how far each stream has come."""

    samples: Sequence[SampleRow] = ()
    intervals: Sequence[IntervalRow] = ()
    coverage: list[tuple[int, int, Run]] = field(default_factory=list)
    cursors: list[tuple[int, datetime]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Ingested:
    """How many rows were new, how many changed, and how many values were restated."""

    samples_new: int
    intervals_new: int
    changed: int
    restated: int


async def ingest(scope: Scope, conn: Conn, what: Ingest, now: datetime) -> Ingested:
    """Store readings so that asking twice changes nothing and nothing known is ever blanked.

    An upsert fills nulls and changes values; each value replaced goes to revisions with when it was seen.
    Rows are collapsed by key and written in key order, table after table, so that duplicates cannot fail a
    batch nor writers deadlock.
    """
    samples, sampled = await _write_samples(scope, conn, what.samples)
    new, changed, restated, measured = await _write_intervals(scope, conn, what.intervals, now)
    devices = max(sampled, measured)
    if sampled and measured:
        devices = len({r.device for r in what.samples} | {r.device for r in what.intervals})
    many = max(devices, len(what.coverage), len(what.cursors)) >= _MANY
    await conn.execute(_ALONE if many else _BESIDE, (scope.organization,))
    if many:
        await conn.execute(_ROOM)
    await _write_coverage(scope, conn, what.coverage, many)
    if many:
        await conn.execute(_MERGE_JOINS)
    await _renew_latest(scope, conn, (sampled > 0, measured > 0), devices, many)
    await _move_cursors(scope, conn, what.cursors, many)
    if many:
        await conn.execute(_AS_BEFORE)
    return Ingested(samples, new, changed, restated)


async def keep_bulk_away(scope: Scope, conn: Conn) -> None:
    """Until the transaction ends, let nobody change a great many rows of the organization's coverage at once.

    For whoever changes several of them in an order of its own: with few, locked in order, it cannot deadlock.
    """
    await conn.execute(_BESIDE, (scope.organization,))


async def _write_intervals(
    scope: Scope, conn: Conn, rows: Sequence[IntervalRow], now: datetime
) -> tuple[int, int, int, int]:
    """Return how many rows were new, changed and restated, and of how many devices they are."""
    if not rows:
        return 0, 0, 0, 0
    staged = await _INTERVALS.fill(conn, rows)
    new, changed, restated = await _insert_intervals(scope, conn, staged.rows), 0, 0
    if new < staged.rows:
        await conn.execute(_LOCK_INTERVALS, (scope.organization,))
        restated = (await conn.execute(_REVISE, (now, scope.organization))).rowcount
        changed = (await conn.execute(_UPDATE_INTERVALS, (scope.organization,))).rowcount
    return new, changed, restated, staged.devices


async def _insert_intervals(scope: Scope, conn: Conn, staged: int) -> int:
    """Insert the staged intervals that are not stored yet; return how many those were."""
    if staged >= _MANY:
        # To ask for each row whether it is known doubles the work, and of so many at once hardly any ever is.
        try:
            async with conn.transaction():
                return (await conn.execute(_INSERT_UNKNOWN, (scope.organization,), prepare=False)).rowcount
        except UniqueViolation:
            pass
    return (await conn.execute(_INSERT_INTERVALS, (scope.organization,))).rowcount


async def _write_samples(scope: Scope, conn: Conn, rows: Sequence[SampleRow]) -> tuple[int, int]:
    """Return how many rows were new, and of how many devices they are."""
    if not rows:
        return 0, 0
    staged = await _SAMPLES.fill(conn, rows)
    done = await conn.execute(_INSERT_SAMPLES, (scope.organization,))
    return done.rowcount, staged.devices


async def _renew_latest(scope: Scope, conn: Conn, which: tuple[bool, bool], devices: int, many: bool) -> None:
    """Bring `latest` up to the newest staged sample and interval of each device."""
    if not devices:
        return
    org = {"org": scope.organization}
    if many and (await conn.execute(_UPDATE_OLDER[which], org, prepare=False)).rowcount == devices:
        return
    await conn.execute(_UPSERT_LATEST[which], org)


async def _write_coverage(scope: Scope, conn: Conn, found: Sequence[tuple[int, int, Run]], many: bool) -> None:
    if not found:
        return
    days: dict[tuple[int, date], tuple[int, Run]] = {}
    for stream, step, run in found:
        before = days.get((stream, run.day))
        days[stream, run.day] = (step, run if before is None else joined(before[1], run))
    keys = sorted(days)
    told = {
        "org": scope.organization,
        "streams": [stream for stream, _ in keys],
        "days": [day for _, day in keys],
        "steps": [days[k][0] for k in keys],
        "slots": [days[k][1].slots for k in keys],
        "firsts": [days[k][1].first for k in keys],
        "letters": [days[k][1].letters for k in keys],
    }
    if many and (await conn.execute(_COVER_KNOWN, told, prepare=False)).rowcount == len(keys):
        return
    await conn.execute(_COVER, told)


async def _move_cursors(scope: Scope, conn: Conn, cursors: Sequence[tuple[int, datetime]], many: bool) -> None:
    if not cursors:
        return
    furthest: dict[int, datetime] = {}
    for stream, at in cursors:
        furthest[stream] = max(at, furthest.get(stream, at))
    streams = sorted(furthest)
    await conn.execute(
        _MOVE_MANY if many else _MOVE,
        {"streams": streams, "ats": [furthest[s] for s in streams], "org": scope.organization},
    )


def _distinct(columns: Iterable[str]) -> str:
    return " or ".join(f"(s.{c} is not null and s.{c} is distinct from t.{c})" for c in columns)


_KEY = "t.organization_id = %s and t.device_id = s.device_id and t.start = s.start and t.duration_s = s.duration_s"
_I = ", ".join(_INTERVAL_COLUMNS)
_S = ", ".join(_SAMPLE_COLUMNS)
_INTERVALS = Stage("stage_intervals", {"start": "timestamptz", "duration_s": "int"}, INTERVAL_METRICS)
_SAMPLES = Stage("stage_samples", {"at": "timestamptz"}, SAMPLE_METRICS)
_INSERT_UNKNOWN = f"""
    insert into intervals (organization_id, device_id, start, duration_s, {_I}, quality, extra)
    select %s, device_id, start, duration_s, {_I}, quality, extra from stage_intervals
"""
_INSERT_INTERVALS = f"{_INSERT_UNKNOWN} on conflict (organization_id, device_id, start, duration_s) do nothing"
_LOCK_INTERVALS = f"""
    select from intervals t join stage_intervals s on {_KEY}
    order by t.device_id, t.start, t.duration_s for update of t
"""
_RESTATED = " or ".join(f"s.{c} <> t.{c}" for c in _INTERVAL_COLUMNS)
_REVISE = f"""
    insert into revisions (organization_id, device_id, start, duration_s, metric, old, new, seen_at)
    select t.organization_id, t.device_id, t.start, t.duration_s, v.metric, v.old, v.new, %s
    from stage_intervals s join intervals t on {_KEY}
    cross join lateral (values {", ".join(f"('{c}', t.{c}, s.{c})" for c in _INTERVAL_COLUMNS)})
        v (metric, old, new)
    where ({_RESTATED}) and v.old <> v.new
    on conflict do nothing
"""
_UPDATE_INTERVALS = f"""
    update intervals t set
        {", ".join(f"{c} = coalesce(s.{c}, t.{c})" for c in _INTERVAL_COLUMNS)},
        quality = t.quality | s.quality | case when {_RESTATED} then {int(Quality.RESTATED)} else 0 end,
        extra = coalesce(s.extra, t.extra)
    from stage_intervals s where {_KEY} and ({_distinct(_INTERVAL_COLUMNS)})
"""
_INSERT_SAMPLES = f"""
    insert into samples as t (organization_id, device_id, at, {_S}, quality, extra)
    select %s, device_id, at, {_S}, quality, extra from stage_samples
    on conflict (organization_id, device_id, at) do update set
        {", ".join(f"{c} = coalesce(excluded.{c}, t.{c})" for c in _SAMPLE_COLUMNS)},
        quality = t.quality | excluded.quality, extra = coalesce(excluded.extra, t.extra)
    where {" or ".join(f"(excluded.{c} is not null and excluded.{c} is distinct from t.{c})" for c in _SAMPLE_COLUMNS)}
"""
_LIVE = ("pv_w", "grid_w", "battery_w", "load_w")


_ENERGIES = tuple(c for c in _INTERVAL_COLUMNS if c != "soc_pct")
_LATEST_COLUMNS = ", ".join(("device_id", "at", *_LIVE, "start", "duration_s", *_ENERGIES, "soc_pct", "quality"))


def _newest(samples: bool, intervals: bool) -> str:
    """Return the query for the newest staged sample and interval of each device in one row.

    One row for both: two statements would lock the same rows of `latest` in two orders.
    """
    of_sample = f"device_id, at, {', '.join(_LIVE)}, soc_pct, quality"
    of_interval = f"device_id, start, duration_s, {', '.join(_ENERGIES)}, soc_pct, quality"
    if not (samples and intervals):
        absent = [f"null::float8 as {c}" for c in (_ENERGIES if samples else _LIVE)]
        absent += ["null::timestamptz as start", "null::int as duration_s"] if samples else ["null::timestamptz as at"]
        columns, stage = (of_sample, "stage_samples") if samples else (of_interval, "stage_intervals")
        return f"select {columns}, {', '.join(absent)} from {stage} where newest"
    return f"""
        select device_id, s.at, {", ".join(_LIVE)}, i.start, i.duration_s, {", ".join(_ENERGIES)},
            case when s.at < i.start + make_interval(secs => i.duration_s)
                then coalesce(i.soc_pct, s.soc_pct) else coalesce(s.soc_pct, i.soc_pct) end as soc_pct,
            coalesce(s.quality, 0::smallint) | coalesce(i.quality, 0::smallint) as quality
        from (select {of_sample} from stage_samples where newest) s
        full join (select {of_interval} from stage_intervals where newest) i using (device_id)
    """


def _taken(n: str) -> tuple[str, str]:
    """Return what an update of `latest` sets from the row `n`, and the condition that `n` tells anything new."""
    newer_s = f"({n}.at is not null and (l.at is null or {n}.at > l.at))"
    newer_i = (
        f"({n}.start is not null and (l.start is null or {n}.start > l.start"
        f" or {n}.start = l.start and {n}.duration_s < l.duration_s))"
    )
    same_s = f"({n}.at = l.at)"
    same_i = f"({n}.start = l.start and {n}.duration_s = l.duration_s)"
    sets = [
        f"{c} = case when {newer} then {n}.{c} when {same} then coalesce({n}.{c}, l.{c}) else l.{c} end"
        for columns, newer, same in (
            (("at", *_LIVE), newer_s, same_s),
            (("start", "duration_s", *_ENERGIES), newer_i, same_i),
        )
        for c in columns
    ]
    sets.append(f"soc_pct = coalesce({n}.soc_pct, l.soc_pct)")
    sets.append(f"quality = case when {newer_s} or {newer_i} then 0::smallint else l.quality end | {n}.quality")
    told = " or ".join(
        f"({n}.{c} is not null and {n}.{c} is distinct from l.{c})" for c in (*_LIVE, *_ENERGIES, "soc_pct")
    )
    return ", ".join(sets), f"{newer_s} or {newer_i} or (({same_s} or {same_i}) and ({told}))"


def _update_older(samples: bool, intervals: bool) -> str:
    """Return what renews the rows of `latest` that are older than all that is staged of their device.

    Nearly all are when a great many come at once, and these need nothing of what stands there but its time.
    """
    older, columns = [], []
    if samples:
        older.append("(l.at is null or n.at > l.at)")
        columns += ["at", *_LIVE]
    if intervals:
        older.append("(l.start is null or n.start > l.start or n.start = l.start and n.duration_s < l.duration_s)")
        columns += ["start", "duration_s", *_ENERGIES]
    whole = [f"n.{c} is not null" for c in ("at", "start") if samples and intervals]
    return f"""
    update latest l set {", ".join(f"{c} = n.{c}" for c in columns)},
        soc_pct = coalesce(n.soc_pct, l.soc_pct), quality = n.quality
    from ({_newest(samples, intervals)}) n
    where l.organization_id = %(org)s and l.device_id = n.device_id and {" and ".join(older + whole)}
"""


def _upsert_latest(newest: str) -> str:
    sets, tells = _taken("excluded")
    return f"""
    insert into latest as l (organization_id, {_LATEST_COLUMNS})
    select %(org)s, {_LATEST_COLUMNS} from ({newest}) n order by device_id
    on conflict (organization_id, device_id) do update set {sets} where {tells}
"""


_NEWEST = {(s, i): _newest(s, i) for s, i in ((True, True), (True, False), (False, True))}
_LOCK = "(hashtextextended('enalysis.readings ' || %s::text, 0))"
# Few rows are locked in the order of their keys and only then changed. For many that is half as much work again:
# who writes them waits until no other writer of the organization is here, and changes them at once.
_ALONE = f"select pg_advisory_xact_lock{_LOCK}"
_BESIDE = f"select pg_advisory_xact_lock_shared{_LOCK}"
# For joins of many rows: by default they would be written to temporary files.
_ROOM = "set local work_mem = '64MB'"
# Where a table holds about as many rows as come, a merge join changes them in the order they lie in, which is
# also that of their keys. Coverage holds every day there was: there the planner has to choose.
_MERGE_JOINS = "set local enable_hashjoin = off; set local enable_nestloop = off"
_AS_BEFORE = "set local enable_hashjoin to default; set local enable_nestloop to default; set local work_mem to default"
_UPDATE_OLDER = {which: _update_older(*which) for which in _NEWEST}
_UPSERT_LATEST = {which: _upsert_latest(newest) for which, newest in _NEWEST.items()}


# A run over slots nobody answered before is laid over them; only where a better answer may stand is it merged
# letter by letter (core.coverage.merge is the same rule, and a property test holds the two together).
_LAY_OVER = """
    update coverage c set dirty = true, slots = case
        when strpos(h.letters, '.') > 0 or ltrim(substr(c.slots, h.first + 1, length(h.letters)), '.r') <> ''
            and (length(c.slots) <> h.slots or substr(c.slots, h.first + 1, length(h.letters)) <> h.letters)
        then coverage_merge(c.slots, overlay(repeat('.', h.slots) placing h.letters from h.first + 1))
        else overlay(rpad(c.slots, h.slots, '.') placing h.letters from h.first + 1) end
    from held h where c.organization_id = %(org)b and c.stream_id = h.stream_id and c.day = h.day
"""
_RUNS = """
    select * from unnest(%(streams)b::bigint[], %(days)b::date[], %(steps)b::int[], %(slots)b::int[],
                         %(firsts)b::int[], %(letters)b::text[])
        v (stream_id, day, step_s, slots, first, letters)
"""
_COVER_KNOWN = f"with held as ({_RUNS}) {_LAY_OVER}"
_COVER = f"""
    with v as ({_RUNS}), held as materialized (
        select v.* from coverage c join v on c.stream_id = v.stream_id and c.day = v.day
        where c.organization_id = %(org)b order by c.stream_id, c.day for update of c
    ), updated as ({_LAY_OVER})
    insert into coverage as c (organization_id, stream_id, day, step_s, slots, dirty)
    select %(org)b, stream_id, day, step_s, overlay(repeat('.', slots) placing letters from first + 1), true
    from v where not exists (select from held h where h.stream_id = v.stream_id and h.day = v.day)
    on conflict (organization_id, stream_id, day) do update set
        slots = coverage_merge(c.slots, excluded.slots), dirty = true
"""
_MOVE_MANY = """
    update streams s set cursor = v.at from unnest(%(streams)b::bigint[], %(ats)b::timestamptz[]) v (id, at)
    where s.organization_id = %(org)b and s.id = v.id and (s.cursor is null or s.cursor < v.at)
"""
_MOVE = """
    with held as materialized (
        select s.id, greatest(s.cursor, v.at) as at
        from streams s join unnest(%(streams)b::bigint[], %(ats)b::timestamptz[]) v (id, at) on v.id = s.id
        where s.organization_id = %(org)b order by s.id for update of s
    )
    update streams s set cursor = h.at from held h
    where s.organization_id = %(org)b and s.id = h.id and s.cursor is distinct from h.at
"""
