"""Sending readings to a temporary table: one row a key, in the order of the keys, packed as COPY reads them."""

import json
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import Field, dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import chain, islice, repeat, zip_longest
from operator import add, attrgetter, lt
from typing import Any, ClassVar, Protocol

from enalysis.core.metrics import Metric, Quality
from enalysis.store.pool import Conn

_HEADER, _TRAILER, _NULL = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff", b"\xff\xff\xff\xff"
# Binary COPY counts microseconds from here.
_EPOCH, _TICK = datetime(2000, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
# So many rows are handed over at once: the server reads them while the next are packed.
_CHUNK = 2_000


class Row(Protocol):
    """A reading of a stored device: a dataclass with its time and, where it has one, its duration."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def device(self) -> int: ...  # noqa: D102 - as in readings.SampleRow
    @property
    def values(self) -> Mapping[Metric, float]: ...  # noqa: D102 - as in readings.SampleRow
    @property
    def quality(self) -> Quality: ...  # noqa: D102 - as in readings.SampleRow
    @property
    def extra(self) -> Mapping[str, object] | None: ...  # noqa: D102 - as in readings.SampleRow


_Key = tuple[int, datetime, *tuple[int, ...]]
_KeyOf = Callable[[Row], _Key]
# Whether rows are the newest of their devices, whether they lack `extra`, and what they tell.
_Kind = tuple[bool, bool, *tuple[Metric, ...]]


@dataclass(frozen=True, slots=True)
class Staged:
    """How many rows wait in the table, and of how many devices."""

    rows: int
    devices: int


class Stage:
    """A temporary table for readings of one kind, which the transaction's end empties.

    Its columns are those of the key, of the metrics, `quality`, `newest` and `extra`.
    """

    def __init__(self, table: str, key: Mapping[str, str], metrics: Sequence[Metric]) -> None:
        """Args: key: the type of each column of the key after the device; a row's fields are named the same."""
        self._table, self._key, self._metrics = table, tuple(key), tuple(metrics)
        columns = [f"{name} {kind}" for name, kind in {"device_id": "bigint", **key}.items()]
        columns += [f"{m} double precision" for m in metrics]
        self._create = (
            f"create temp table if not exists {table} ({', '.join(columns)}, quality smallint, newest boolean,"
            " extra jsonb) on commit delete rows"
        )

    async def fill(self, conn: Conn, rows: Sequence[Row]) -> Staged:
        """Put readings in place of what the table held; `newest` marks one row of each device.

        A later reading of a key fills and overrides an earlier one. Newest is the latest row of a device, of
        intervals with one start the shortest.
        """
        await conn.execute(self._create)
        await conn.execute(f"delete from {self._table}")
        key: _KeyOf = attrgetter("device", *self._key)
        kept, newest, devices = _collapsed(rows, key)
        async with conn.cursor() as cur, cur.copy(f"copy {self._table} from stdin (format binary)") as copy:
            for chunk in self._packed(kept, newest):
                await copy.write(chunk)
        return Staged(len(kept), devices)

    def _packed(self, rows: Sequence[Row], newest: Sequence[bool]) -> Iterator[bytes]:
        """Yield the rows as binary COPY: by psycopg, value by value, it takes twice as long."""
        yield _HEADER
        for n in range(0, len(rows), _CHUNK):
            yield self._packed_chunk(rows[n : n + _CHUNK], newest[n : n + _CHUNK])
        yield _TRAILER

    def _packed_chunk(self, rows: Sequence[Row], newest: Sequence[bool]) -> bytes:
        kinds: list[_Kind] = [(last, r.extra is None, *r.values) for r, last in zip(rows, newest, strict=True)]
        if kinds.count(kinds[0]) == len(kinds):
            return b"".join(self._packed_kind(kinds[0], rows))
        groups: dict[_Kind, list[Row]] = {}
        for kind, row in zip(kinds, rows, strict=True):
            groups.setdefault(kind, []).append(row)
        packed = {kind: self._packed_kind(kind, group) for kind, group in groups.items()}
        return b"".join(next(packed[kind]) for kind in kinds)

    def _packed_kind(self, kind: _Kind, rows: Sequence[Row]) -> Iterator[bytes]:
        """Return each row packed, column by column: nothing but the values is looked at row by row."""
        form = _form(len(self._key), self._metrics, kind)
        times = list(map(attrgetter(self._key[0]), rows))
        ticks = {at: (at - _EPOCH) // _TICK for at in set(times)}
        columns: list[Iterable[object]] = [[r.device for r in rows], map(ticks.__getitem__, times)]
        columns += [map(attrgetter(name), rows) for name in self._key[1:]]
        columns += [[r.values[m] for r in rows] for m in form.told]
        columns += [[r.quality for r in rows]]
        between = map(repeat, form.between)
        packed = map(form.pack, *chain.from_iterable(zip(between, columns, strict=False)), repeat(form.between[-1]))
        extras = (r.extra for r in rows if r.extra is not None)
        return packed if kind[1] else map(add, packed, map(_jsonb, extras))


@dataclass(frozen=True, slots=True)
class _Form:
    """How rows of one kind are packed.

    Attributes:
        told: the metrics that have a value. between: the bytes before, between and after the values that all
        rows share: lengths, what is null, and whether they are newest. pack: takes these and the values in turn.
    """

    told: tuple[Metric, ...]
    between: tuple[bytes, ...]
    pack: Callable[..., bytes]


@lru_cache(1000)
def _form(times: int, metrics: tuple[Metric, ...], kind: _Kind) -> _Form:
    newest, plain, *told = kind
    # Device and time, perhaps a duration, the metrics and the quality: struct's letter and the length of each.
    fields = [("q", 8), ("q", 8), ("i", 4)][: 1 + times]
    fields += [("d", 8) if m in told else ("", -1) for m in metrics]
    fields += [("h", 2)]
    letters, between, shared = "", [], struct.pack(">h", len(fields) + 2)
    for letter, length in fields:
        shared += struct.pack(">i", length)
        if letter:
            between.append(shared)
            letters += letter
            shared = b""
    between.append(struct.pack(">i?", 1, newest) + (_NULL if plain else b""))
    layout = "".join(f"{len(part)}s{letter}" for part, letter in zip_longest(between, letters, fillvalue=""))
    return _Form(tuple(m for m in metrics if m in told), tuple(between), struct.Struct(f">{layout}").pack)


def _jsonb(extra: Mapping[str, object]) -> bytes:
    body = b"\x01" + json.dumps(dict(extra)).encode()
    return struct.pack(">i", len(body)) + body


def _collapsed(rows: Sequence[Row], key: _KeyOf) -> tuple[Sequence[Row], Sequence[bool], int]:
    """Return one row of each key in their order, which of them is the newest of its device, how many devices."""
    rows = sorted(rows, key=attrgetter("device"))
    devices = [row.device for row in rows]
    if all(map(lt, devices, islice(devices, 1, None))):
        # A slot of a fleet: without a key for each row, half a million objects stay away from the collector.
        return rows, [True] * len(rows), len(rows)
    merged: dict[_Key, Row] = {}
    for row in sorted(rows, key=key):
        at = key(row)
        merged[at] = _joined(merged[at], row) if at in merged else row
    newest: dict[int, _Key] = {}
    for at in merged:
        if at[0] not in newest or at[1] > newest[at[0]][1]:
            newest[at[0]] = at
    return list(merged.values()), [newest[at[0]] is at for at in merged], len(newest)


def _joined(a: Row, b: Row) -> Row:
    return replace(a, values={**a.values, **b.values}, quality=a.quality | b.quality, extra=b.extra or a.extra)
