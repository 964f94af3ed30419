"""Writing readings: samples, intervals, latest, revisions, coverage and cursors in one transaction."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

from enalysis.core.access import Scope
from enalysis.core.coverage import Run, joined
from enalysis.core.metrics import INTERVAL_METRICS, SAMPLE_METRICS, Metric, Quality
from enalysis.store.pool import Conn

_SAMPLE_COLUMNS = tuple(m.value for m in SAMPLE_METRICS)
_INTERVAL_COLUMNS = tuple(m.value for m in INTERVAL_METRICS)


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
    samples = await _write_samples(scope, conn, what.samples)
    new, changed, restated = await _write_intervals(scope, conn, what.intervals, now)
    if what.samples or what.intervals:
        await conn.execute(_LATEST[bool(what.samples), bool(what.intervals)], {"org": scope.organization})
    await _write_coverage(scope, conn, what.coverage)
    await _move_cursors(scope, conn, what.cursors)
    return Ingested(samples, new, changed, restated)


async def _write_intervals(
    scope: Scope, conn: Conn, rows: Sequence[IntervalRow], now: datetime
) -> tuple[int, int, int]:
    if not rows:
        return 0, 0, 0
    await conn.execute(_STAGE_INTERVALS)
    await conn.execute("delete from stage_intervals")
    merged = _merged(((r.device, r.start, r.duration_s), r) for r in rows)
    types = ["int8", "timestamptz", "int4", *(["float8"] * len(_INTERVAL_COLUMNS)), "int2", "jsonb"]
    await _copy(conn, "stage_intervals", types, merged)
    done = await conn.execute(_INSERT_INTERVALS, (scope.organization,))
    new, changed, restated = done.rowcount, 0, 0
    if new < len(merged):
        await conn.execute(_LOCK_INTERVALS, (scope.organization,))
        restated = (await conn.execute(_REVISE, (now, scope.organization))).rowcount
        changed = (await conn.execute(_UPDATE_INTERVALS, (scope.organization,))).rowcount
    return new, changed, restated


async def _write_samples(scope: Scope, conn: Conn, rows: Sequence[SampleRow]) -> int:
    if not rows:
        return 0
    await conn.execute(_STAGE_SAMPLES)
    await conn.execute("delete from stage_samples")
    merged = _merged(((r.device, r.at), r) for r in rows)
    types = ["int8", "timestamptz", *(["float8"] * len(_SAMPLE_COLUMNS)), "int2", "jsonb"]
    await _copy(conn, "stage_samples", types, merged)
    done = await conn.execute(_INSERT_SAMPLES, (scope.organization,))
    return done.rowcount


def _merged(
    rows: Iterable[tuple[tuple[int, datetime, int] | tuple[int, datetime], SampleRow | IntervalRow]],
) -> list[tuple[object, ...]]:
    """Return one database row per key, sorted by key; a later reading fills and overrides an earlier one."""
    keys: dict[tuple[int, datetime, int] | tuple[int, datetime], list[SampleRow | IntervalRow]] = {}
    for key, row in rows:
        keys.setdefault(key, []).append(row)
    out: list[tuple[object, ...]] = []
    for key in sorted(keys):
        found = keys[key]
        metrics = SAMPLE_METRICS if isinstance(found[0], SampleRow) else INTERVAL_METRICS
        values = found[0].values if len(found) == 1 else {m: v for r in found for m, v in r.values.items()}
        quality, extra = 0, None
        for r in found:
            quality |= int(r.quality)
            extra = r.extra or extra
        out.append((*key, *map(values.get, metrics), quality, None if extra is None else dict(extra)))
    return out


async def _copy(conn: Conn, table: str, types: list[str], rows: list[tuple[object, ...]]) -> None:
    async with conn.cursor() as cur, cur.copy(f"copy {table} from stdin (format binary)") as copy:
        copy.set_types(types)
        for row in rows:
            await copy.write_row(row)


async def _write_coverage(scope: Scope, conn: Conn, found: Sequence[tuple[int, int, Run]]) -> None:
    if not found:
        return
    days: dict[tuple[int, date], tuple[int, Run]] = {}
    for stream, step, run in found:
        before = days.get((stream, run.day))
        days[stream, run.day] = (step, run if before is None else joined(before[1], run))
    keys = sorted(days)
    await conn.execute(
        _COVER,
        {
            "org": scope.organization,
            "streams": [stream for stream, _ in keys],
            "days": [day for _, day in keys],
            "steps": [days[k][0] for k in keys],
            "slots": [days[k][1].slots for k in keys],
            "firsts": [days[k][1].first for k in keys],
            "letters": [days[k][1].letters for k in keys],
        },
    )


async def _move_cursors(scope: Scope, conn: Conn, cursors: Sequence[tuple[int, datetime]]) -> None:
    if not cursors:
        return
    furthest: dict[int, datetime] = {}
    for stream, at in cursors:
        furthest[stream] = max(at, furthest.get(stream, at))
    streams = sorted(furthest)
    await conn.execute(
        "with v as (select * from unnest(%(streams)b::bigint[], %(ats)b::timestamptz[]) v (id, at)),"
        " held as materialized (select s.id from streams s join v on v.id = s.id"
        "   where s.organization_id = %(org)b order by s.id for update of s)"
        " update streams s set cursor = greatest(coalesce(s.cursor, v.at), v.at)"
        " from v join held h on h.id = v.id where s.organization_id = %(org)b and s.id = v.id",
        {"streams": streams, "ats": [furthest[s] for s in streams], "org": scope.organization},
    )


def _stage(name: str, keys: str, columns: tuple[str, ...]) -> str:
    body = ", ".join(f"{c} double precision" for c in columns)
    return (
        f"create temp table if not exists {name} ({keys}, {body}, quality smallint, extra jsonb) on commit delete rows"
    )


def _distinct(columns: Iterable[str]) -> str:
    return " or ".join(f"(s.{c} is not null and s.{c} is distinct from t.{c})" for c in columns)


_KEY = "t.organization_id = %s and t.device_id = s.device_id and t.start = s.start and t.duration_s = s.duration_s"
_I = ", ".join(_INTERVAL_COLUMNS)
_S = ", ".join(_SAMPLE_COLUMNS)
_STAGE_INTERVALS = _stage("stage_intervals", "device_id bigint, start timestamptz, duration_s int", _INTERVAL_COLUMNS)
_STAGE_SAMPLES = _stage("stage_samples", "device_id bigint, at timestamptz", _SAMPLE_COLUMNS)
_INSERT_INTERVALS = f"""
    insert into intervals (organization_id, device_id, start, duration_s, {_I}, quality, extra)
    select %s, device_id, start, duration_s, {_I}, quality, extra from stage_intervals
    on conflict (organization_id, device_id, start, duration_s) do nothing
"""
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
    where v.old is not null and v.new is not null and v.old <> v.new
    on conflict do nothing
"""
_RESTATED = " or ".join(f"(t.{c} is not null and s.{c} <> t.{c})" for c in _INTERVAL_COLUMNS)
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


def _newest(samples: bool, intervals: bool) -> str:
    """Return the statement that brings `latest` up to the newest staged sample and interval of each device.

    One statement for both, in order of devices: two of them would lock the same rows in two orders. A row
    that says nothing new is not written. Of intervals with one start the shortest is the newest.
    """
    energies = [c for c in _INTERVAL_COLUMNS if c != "soc_pct"]
    values, live = ", ".join(energies), ", ".join(_LIVE)
    newer_s = "(excluded.at is not null and (l.at is null or excluded.at > l.at))"
    same_s = "(excluded.at = l.at)"
    newer_i = (
        "(excluded.start is not null and (l.start is null"
        " or (excluded.start, -excluded.duration_s) > (l.start, -l.duration_s)))"
    )
    same_i = "(excluded.start = l.start and excluded.duration_s = l.duration_s)"
    sets = [_taken(c, newer_s, same_s) for c in ("at", *_LIVE)]
    sets += [_taken(c, newer_i, same_i) for c in ("start", "duration_s", *energies)]
    told = " or ".join(
        f"(excluded.{c} is not null and excluded.{c} is distinct from l.{c})" for c in (*_LIVE, *energies, "soc_pct")
    )
    return f"""
    with s as (
        select distinct on (device_id) device_id, at, {live}, soc_pct, quality
        from {"stage_samples" if samples else "latest where false"} order by device_id, at desc
    ), i as (
        select distinct on (device_id) device_id, start, duration_s, {values}, soc_pct, quality
        from {"stage_intervals" if intervals else "latest where false"}
        order by device_id, start desc, duration_s
    )
    insert into latest as l
        (organization_id, device_id, at, {live}, start, duration_s, {values}, soc_pct, quality)
    select %(org)s, device_id, s.at, {live}, i.start, i.duration_s, {values},
        case when s.at < i.start + make_interval(secs => i.duration_s)
            then coalesce(i.soc_pct, s.soc_pct) else coalesce(s.soc_pct, i.soc_pct) end,
        coalesce(s.quality, 0::smallint) | coalesce(i.quality, 0::smallint)
    from s full join i using (device_id) order by device_id
    on conflict (organization_id, device_id) do update set {", ".join(sets)},
        soc_pct = coalesce(excluded.soc_pct, l.soc_pct),
        quality = case when {newer_s} or {newer_i} then 0::smallint else l.quality end | excluded.quality
    where {newer_s} or {newer_i} or (({same_s} or {same_i}) and ({told}))
"""


def _taken(column: str, newer: str, same: str) -> str:
    new, old = f"excluded.{column}", f"l.{column}"
    return f"{column} = case when {newer} then {new} when {same} then coalesce({new}, {old}) else {old} end"


_LATEST = {(s, i): _newest(s, i) for s in (True, False) for i in (True, False)}
# A run over slots nobody answered before is laid over them; only where a better answer may stand is it merged
# letter by letter (core.coverage.merge is the same rule, and a property test holds the two together).
_COVER = """
    with v as (
        select * from unnest(%(streams)b::bigint[], %(days)b::date[], %(steps)b::int[], %(slots)b::int[],
                             %(firsts)b::int[], %(letters)b::text[])
            v (stream_id, day, step_s, slots, first, letters)
    ), held as materialized (
        select c.stream_id, c.day from coverage c join v on c.stream_id = v.stream_id and c.day = v.day
        where c.organization_id = %(org)b order by c.stream_id, c.day for update of c
    ), updated as (
        update coverage c set dirty = true, slots = case
            when v.letters ~ '[.]' or substr(c.slots, v.first + 1, length(v.letters)) ~ '[snqx]'
            then coverage_merge(c.slots, overlay(repeat('.', v.slots) placing v.letters from v.first + 1))
            else overlay(rpad(c.slots, v.slots, '.') placing v.letters from v.first + 1) end
        from v join held h on h.stream_id = v.stream_id and h.day = v.day
        where c.organization_id = %(org)b and c.stream_id = v.stream_id and c.day = v.day
        returning c.stream_id, c.day
    )
    insert into coverage as c (organization_id, stream_id, day, step_s, slots, dirty)
    select %(org)b, stream_id, day, step_s, overlay(repeat('.', slots) placing letters from first + 1), true
    from v where not exists (select from updated u where u.stream_id = v.stream_id and u.day = v.day)
    on conflict (organization_id, stream_id, day) do update set
        slots = coverage_merge(c.slots, excluded.slots), dirty = true
"""
