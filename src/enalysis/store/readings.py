"""Writing readings: samples, intervals, latest, revisions, coverage and cursors in one transaction."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from itertools import pairwise
from operator import attrgetter

from psycopg.errors import UniqueViolation

from enalysis.core.access import Scope
from enalysis.core.coverage import Run, joined
from enalysis.core.metrics import INTERVAL_METRICS, SAMPLE_METRICS, Metric, Quality
from enalysis.store.pool import Conn

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
    samples = await _write_samples(scope, conn, what.samples)
    new, changed, restated = await _write_intervals(scope, conn, what.intervals, now)
    await _renew_latest(scope, conn, what)
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
    count, staged = _staged(rows, attrgetter("device", "start", "duration_s"), INTERVAL_METRICS)
    types = ["int8", "timestamptz", "int4", *(["float8"] * len(_INTERVAL_COLUMNS)), "int2", "jsonb", "bool"]
    await _copy(conn, "stage_intervals", types, staged)
    new, changed, restated = await _insert_intervals(scope, conn, count), 0, 0
    if new < count:
        await conn.execute(_LOCK_INTERVALS, (scope.organization,))
        restated = (await conn.execute(_REVISE, (now, scope.organization))).rowcount
        changed = (await conn.execute(_UPDATE_INTERVALS, (scope.organization,))).rowcount
    return new, changed, restated


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


async def _write_samples(scope: Scope, conn: Conn, rows: Sequence[SampleRow]) -> int:
    if not rows:
        return 0
    await conn.execute(_STAGE_SAMPLES)
    await conn.execute("delete from stage_samples")
    _, staged = _staged(rows, attrgetter("device", "at"), SAMPLE_METRICS)
    types = ["int8", "timestamptz", *(["float8"] * len(_SAMPLE_COLUMNS)), "int2", "jsonb", "bool"]
    await _copy(conn, "stage_samples", types, staged)
    done = await conn.execute(_INSERT_SAMPLES, (scope.organization,))
    return done.rowcount


_Key = tuple[int, datetime, *tuple[int, ...]]


def _staged(
    rows: Iterable[SampleRow | IntervalRow],
    key: Callable[[SampleRow | IntervalRow], _Key],
    metrics: Sequence[Metric],
) -> tuple[int, Iterator[tuple[object, ...]]]:
    """Return how many keys there are and one database row for each, sorted by key.

    A later reading of a key fills and overrides an earlier one. The last column marks the newest row of each
    device: of intervals with one start the shortest.
    """
    rows = sorted(rows, key=key)
    keys = list(map(key, rows))
    if any(a == b for a, b in pairwise(keys)):
        merged: dict[_Key, SampleRow | IntervalRow] = {}
        for at, row in zip(keys, rows, strict=True):
            merged[at] = _joined(merged[at], row) if at in merged else row
        keys, rows = list(merged), list(merged.values())
    newest: dict[int, _Key] = {}
    for at in keys:
        if at[0] not in newest or at[1] > newest[at[0]][1]:
            newest[at[0]] = at
    return len(keys), (
        (
            *at,
            *map(row.values.get, metrics),
            int(row.quality),
            None if row.extra is None else dict(row.extra),
            newest[at[0]] is at,
        )
        for at, row in zip(keys, rows, strict=True)
    )


def _joined(a: SampleRow | IntervalRow, b: SampleRow | IntervalRow) -> SampleRow | IntervalRow:
    return replace(a, values={**a.values, **b.values}, quality=a.quality | b.quality, extra=b.extra or a.extra)


async def _renew_latest(scope: Scope, conn: Conn, what: Ingest) -> None:
    """Bring `latest` up to the newest staged sample and interval of each device."""
    which = bool(what.samples), bool(what.intervals)
    devices = {r.device for r in what.samples} | {r.device for r in what.intervals}
    if not devices:
        return
    org = {"org": scope.organization}
    many = len(devices) >= _MANY
    # Few rows are locked in the order of their devices. Of many, one join finds the rows sooner than a look-up
    # each, but locks them in an order of its own: so it waits until no other writer of the organization is here.
    await conn.execute(_ALONE if many else _BESIDE, org)
    if many:
        renewed = (await conn.execute(_UPDATE_LATEST[which], org, prepare=False)).rowcount
        if renewed == len(devices):
            return
    await conn.execute(_UPSERT_LATEST[which], org)


async def _copy(conn: Conn, table: str, types: list[str], rows: Iterable[tuple[object, ...]]) -> None:
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
        "with held as materialized ("
        "   select s.id, greatest(s.cursor, v.at) as at"
        "   from streams s join unnest(%(streams)b::bigint[], %(ats)b::timestamptz[]) v (id, at) on v.id = s.id"
        "   where s.organization_id = %(org)b order by s.id for update of s)"
        " update streams s set cursor = h.at from held h"
        " where s.organization_id = %(org)b and s.id = h.id and s.cursor is distinct from h.at",
        {"streams": streams, "ats": [furthest[s] for s in streams], "org": scope.organization},
    )


def _stage(name: str, keys: str, columns: tuple[str, ...]) -> str:
    body = ", ".join(f"{c} double precision" for c in columns)
    return (
        f"create temp table if not exists {name}"
        f" ({keys}, {body}, quality smallint, extra jsonb, newest boolean) on commit delete rows"
    )


def _distinct(columns: Iterable[str]) -> str:
    return " or ".join(f"(s.{c} is not null and s.{c} is distinct from t.{c})" for c in columns)


_KEY = "t.organization_id = %s and t.device_id = s.device_id and t.start = s.start and t.duration_s = s.duration_s"
_I = ", ".join(_INTERVAL_COLUMNS)
_S = ", ".join(_SAMPLE_COLUMNS)
_STAGE_INTERVALS = _stage("stage_intervals", "device_id bigint, start timestamptz, duration_s int", _INTERVAL_COLUMNS)
_STAGE_SAMPLES = _stage("stage_samples", "device_id bigint, at timestamptz", _SAMPLE_COLUMNS)
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


def _update_latest(newest: str) -> str:
    sets, tells = _taken("n")
    return f"""
    update latest l set {sets} from ({newest}) n
    where l.organization_id = %(org)s and l.device_id = n.device_id and ({tells})
"""


def _upsert_latest(newest: str) -> str:
    sets, tells = _taken("excluded")
    return f"""
    insert into latest as l (organization_id, {_LATEST_COLUMNS})
    select %(org)s, {_LATEST_COLUMNS} from ({newest}) n order by device_id
    on conflict (organization_id, device_id) do update set {sets} where {tells}
"""


_NEWEST = {(s, i): _newest(s, i) for s, i in ((True, True), (True, False), (False, True))}
_LATEST_LOCK = "(hashtextextended('enalysis.latest ' || %(org)s::text, 0))"
_ALONE = f"select pg_advisory_xact_lock{_LATEST_LOCK}"
_BESIDE = f"select pg_advisory_xact_lock_shared{_LATEST_LOCK}"
_UPDATE_LATEST = {which: _update_latest(newest) for which, newest in _NEWEST.items()}
_UPSERT_LATEST = {which: _upsert_latest(newest) for which, newest in _NEWEST.items()}
# A run over slots nobody answered before is laid over them; only where a better answer may stand is it merged
# letter by letter (core.coverage.merge is the same rule, and a property test holds the two together).
_COVER = """
    with v as (
        select * from unnest(%(streams)b::bigint[], %(days)b::date[], %(steps)b::int[], %(slots)b::int[],
                             %(firsts)b::int[], %(letters)b::text[])
            v (stream_id, day, step_s, slots, first, letters)
    ), held as materialized (
        select v.* from coverage c join v on c.stream_id = v.stream_id and c.day = v.day
        where c.organization_id = %(org)b order by c.stream_id, c.day for update of c
    ), updated as (
        update coverage c set dirty = true, slots = case
            when strpos(h.letters, '.') > 0 or ltrim(substr(c.slots, h.first + 1, length(h.letters)), '.r') <> ''
            then coverage_merge(c.slots, overlay(repeat('.', h.slots) placing h.letters from h.first + 1))
            else overlay(rpad(c.slots, h.slots, '.') placing h.letters from h.first + 1) end
        from held h where c.organization_id = %(org)b and c.stream_id = h.stream_id and c.day = h.day
    )
    insert into coverage as c (organization_id, stream_id, day, step_s, slots, dirty)
    select %(org)b, stream_id, day, step_s, overlay(repeat('.', slots) placing letters from first + 1), true
    from v where not exists (select from held h where h.stream_id = v.stream_id and h.day = v.day)
    on conflict (organization_id, stream_id, day) do update set
        slots = coverage_merge(c.slots, excluded.slots), dirty = true
"""
