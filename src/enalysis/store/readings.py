"""Writing readings: samples, intervals, latest, revisions, coverage and cursors in one transaction."""

import json
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
    Rows are collapsed by key and written in key order, so duplicates cannot fail a batch nor writers deadlock.
    """
    samples = await _write_samples(scope, conn, what.samples)
    new, changed, restated = await _write_intervals(scope, conn, what.intervals, now)
    await _write_coverage(scope, conn, what.coverage)
    await _move_cursors(scope, conn, what.cursors)
    return Ingested(samples, new, changed, restated)


async def _write_intervals(
    scope: Scope, conn: Conn, rows: Sequence[IntervalRow], now: datetime
) -> tuple[int, int, int]:
    if not rows:
        return 0, 0, 0
    await conn.execute(_STAGE_INTERVALS)
    merged = _merged({(r.device, r.start, r.duration_s): [] for r in rows}, rows)
    types = ["int8", "timestamptz", "int4", *(["float8"] * len(_INTERVAL_COLUMNS)), "int2", "jsonb"]
    await _copy(conn, "stage_intervals", types, merged)
    done = await conn.execute(_INSERT_INTERVALS, (scope.organization,))
    new, changed, restated = done.rowcount, 0, 0
    if new < len(merged):
        await conn.execute(_LOCK_INTERVALS, (scope.organization,))
        restated = (await conn.execute(_REVISE, (now, scope.organization))).rowcount
        changed = (await conn.execute(_UPDATE_INTERVALS, (scope.organization,))).rowcount
    await conn.execute(_LATEST_INTERVALS, (scope.organization,))
    await conn.execute("truncate stage_intervals")
    return new, changed, restated


async def _write_samples(scope: Scope, conn: Conn, rows: Sequence[SampleRow]) -> int:
    if not rows:
        return 0
    await conn.execute(_STAGE_SAMPLES)
    merged = _merged({(r.device, r.at): [] for r in rows}, rows)
    types = ["int8", "timestamptz", *(["float8"] * len(_SAMPLE_COLUMNS)), "int2", "jsonb"]
    await _copy(conn, "stage_samples", types, merged)
    done = await conn.execute(_INSERT_SAMPLES, (scope.organization,))
    await conn.execute(_LATEST_SAMPLES, (scope.organization,))
    await conn.execute("truncate stage_samples")
    return done.rowcount


def _merged(
    keys: dict[tuple[object, ...], list[SampleRow | IntervalRow]], rows: Iterable[SampleRow | IntervalRow]
) -> list[tuple[object, ...]]:
    """Return one database row per key, sorted by key; a later reading of a key fills and overrides an earlier."""
    for row in rows:
        key: tuple[object, ...] = (
            (row.device, row.at) if isinstance(row, SampleRow) else (row.device, row.start, row.duration_s)
        )
        keys[key].append(row)
    out = []
    for key in sorted(keys):  # type: ignore[type-var]  # keys of one kind compare column by column
        found = keys[key]
        metrics = SAMPLE_METRICS if isinstance(found[0], SampleRow) else INTERVAL_METRICS
        values = found[0].values if len(found) == 1 else {m: v for r in found for m, v in r.values.items()}
        quality, extra = 0, None
        for r in found:
            quality |= int(r.quality)
            extra = r.extra or extra
        out.append((*key, *map(values.get, metrics), quality, None if extra is None else json.dumps(extra)))
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
        "update streams s set cursor = greatest(coalesce(s.cursor, v.at), v.at)"
        " from unnest(%b::bigint[], %b::timestamptz[]) v (id, at)"
        " where s.organization_id = %b and s.id = v.id",
        (streams, [furthest[s] for s in streams], scope.organization),
    )


def _stage(name: str, keys: str, columns: tuple[str, ...]) -> str:
    body = ", ".join(f"{c} double precision" for c in columns)
    return (
        f"create temp table if not exists {name} ({keys}, {body}, quality smallint, extra jsonb)"
        " on commit delete rows"
    )


def _distinct(columns: Iterable[str]) -> str:
    return " or ".join(f"(s.{c} is not null and s.{c} is distinct from t.{c})" for c in columns)


_KEY = "t.organization_id = %s and t.device_id = s.device_id and t.start = s.start and t.duration_s = s.duration_s"
_I = ", ".join(_INTERVAL_COLUMNS)
_S = ", ".join(_SAMPLE_COLUMNS)
_STAGE_INTERVALS = _stage(
    "stage_intervals", "device_id bigint, start timestamptz, duration_s int", _INTERVAL_COLUMNS
)
_STAGE_SAMPLES = _stage("stage_samples", "device_id bigint, at timestamptz", _SAMPLE_COLUMNS)
_INSERT_INTERVALS = f"""
    insert into intervals (organization_id, device_id, start, duration_s, {_I}, quality, extra)
    select %s, device_id, start, duration_s, {_I}, quality, extra from stage_intervals
    on conflict (organization_id, device_id, start, duration_s) do nothing
"""  # noqa: S608 - column names of our own enum
_LOCK_INTERVALS = f"""
    select from intervals t join stage_intervals s on {_KEY}
    order by t.device_id, t.start, t.duration_s for update of t
"""  # noqa: S608 - column names of our own enum
_REVISE = f"""
    insert into revisions (organization_id, device_id, start, duration_s, metric, old, new, seen_at)
    select t.organization_id, t.device_id, t.start, t.duration_s, v.metric, v.old, v.new, %s
    from stage_intervals s join intervals t on {_KEY}
    cross join lateral (values {", ".join(f"('{c}', t.{c}, s.{c})" for c in _INTERVAL_COLUMNS)})
        v (metric, old, new)
    where v.old is not null and v.new is not null and v.old <> v.new
    on conflict do nothing
"""  # noqa: S608 - column names of our own enum
_RESTATED = " or ".join(f"(t.{c} is not null and s.{c} <> t.{c})" for c in _INTERVAL_COLUMNS)
_UPDATE_INTERVALS = f"""
    update intervals t set
        {", ".join(f"{c} = coalesce(s.{c}, t.{c})" for c in _INTERVAL_COLUMNS)},
        quality = t.quality | s.quality | case when {_RESTATED} then {int(Quality.RESTATED)} else 0 end,
        extra = coalesce(s.extra, t.extra)
    from stage_intervals s where {_KEY} and ({_distinct(_INTERVAL_COLUMNS)})
"""  # noqa: S608 - column names of our own enum
_LATEST_INTERVALS = f"""
    insert into latest as l (organization_id, device_id, start, duration_s, {_I}, quality)
    select distinct on (device_id) %s, device_id, start, duration_s, {_I}, quality
    from stage_intervals order by device_id, start desc, duration_s
    on conflict (organization_id, device_id) do update set
        {", ".join(f"{c} = case when l.start = excluded.start then coalesce(excluded.{c}, l.{c}) else excluded.{c} end" for c in _INTERVAL_COLUMNS)},
        start = excluded.start, duration_s = excluded.duration_s, quality = excluded.quality
    where l.start is null or l.start <= excluded.start
"""  # noqa: E501, S608 - column names of our own enum
_INSERT_SAMPLES = f"""
    insert into samples as t (organization_id, device_id, at, {_S}, quality, extra)
    select %s, device_id, at, {_S}, quality, extra from stage_samples
    on conflict (organization_id, device_id, at) do update set
        {", ".join(f"{c} = coalesce(excluded.{c}, t.{c})" for c in _SAMPLE_COLUMNS)},
        quality = t.quality | excluded.quality, extra = coalesce(excluded.extra, t.extra)
    where {" or ".join(f"(excluded.{c} is not null and excluded.{c} is distinct from t.{c})" for c in _SAMPLE_COLUMNS)}
"""  # noqa: E501, S608 - column names of our own enum
_LATEST_SAMPLES = """
    insert into latest as l (organization_id, device_id, at, pv_w, grid_w, battery_w, load_w, soc_pct, quality)
    select distinct on (device_id) %s, device_id, at, pv_w, grid_w, battery_w, load_w, soc_pct, quality
    from stage_samples order by device_id, at desc
    on conflict (organization_id, device_id) do update set
        at = excluded.at, pv_w = excluded.pv_w, grid_w = excluded.grid_w, battery_w = excluded.battery_w,
        load_w = excluded.load_w, soc_pct = coalesce(excluded.soc_pct, l.soc_pct)
    where l.at is null or l.at <= excluded.at
"""
# A run over slots nobody answered before is laid over them; only where a better answer may stand is it merged
# letter by letter (core.coverage.merge is the same rule, and a property test holds the two together).
_COVER = """
    with v as (
        select * from unnest(%(streams)b::bigint[], %(days)b::date[], %(steps)b::int[], %(slots)b::int[],
                             %(firsts)b::int[], %(letters)b::text[])
            v (stream_id, day, step_s, slots, first, letters)
    ), updated as (
        update coverage c set dirty = true, slots = case
            when v.letters ~ '[.]' or substr(c.slots, v.first + 1, length(v.letters)) ~ '[snqx]'
            then coverage_merge(c.slots, overlay(repeat('.', v.slots) placing v.letters from v.first + 1))
            else overlay(c.slots placing v.letters from v.first + 1) end
        from v where c.organization_id = %(org)b and c.stream_id = v.stream_id and c.day = v.day
        returning c.stream_id, c.day
    )
    insert into coverage as c (organization_id, stream_id, day, step_s, slots, dirty)
    select %(org)b, stream_id, day, step_s, overlay(repeat('.', slots) placing letters from first + 1), true
    from v where not exists (select from updated u where u.stream_id = v.stream_id and u.day = v.day)
    on conflict (organization_id, stream_id, day) do update set
        slots = coverage_merge(c.slots, excluded.slots), dirty = true
"""
