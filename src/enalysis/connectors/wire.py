"""A vendor's answer on its way from bytes to a value, with a limit on every step of it."""

import asyncio
import re
import types
import zlib
from collections.abc import AsyncIterable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from itertools import accumulate
from typing import Any, TypeVar, Union, cast, get_args, get_origin

import msgspec

T = TypeVar("T")

SHORTEST_WAIT_S = 1.0
LONGEST_WAIT_S = 86400.0
# A larger body is decoded in a thread, in pieces of this size, since one long decode holds the interpreter
# from every other thread too (18 MB: 150 ms).
_PIECE = 256 * 1024
_SLICE = 64 * 1024
_ESCAPE = re.compile(rb"\\.", re.DOTALL)
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
# Openers become "(", closers ")", quotes stay, the rest goes.
_SHAPE = bytes.maketrans(b"[{]}", b"(())")
_NO_SHAPE = bytes(set(range(256)) - set(b'[]{}"'))
_STEPS = {ord("("): 1, ord(")"): -1}
_SECONDS = re.compile(r"[0-9]{1,9}")
_FIRST = re.compile(rb"\s*\[\s*([{\[])")
_SEAMS = {b"{": re.compile(rb"\}\s*,\s*\{"), b"[": re.compile(rb"\]\s*,\s*\[")}
_WHERE = re.compile(r"`(\$[\w.\[\]-]{0,80})`$")


class Unfit(Exception):
    """An answer that cannot be believed; the text completes "the answer is ..." and holds nothing of it."""


class _Inflater:
    """Undoes gzip and deflate in pieces of bounded size."""

    def __init__(self, encoding: str) -> None:
        self._gzip = encoding == "gzip"
        self._engine: Any = None
        self.done = False

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield what the chunk unpacks to. Raises Unfit."""
        while chunk:
            if self._engine is None or self.done:
                self._begin(chunk[0])
            engine = self._engine
            try:
                piece = engine.decompress(chunk, _PIECE)
                while piece:
                    yield piece
                    piece = b"" if engine.eof else engine.decompress(engine.unconsumed_tail, _PIECE)
            except zlib.error:
                raise Unfit("damaged in its compression") from None
            self.done, chunk = engine.eof, engine.unused_data

    def _begin(self, first: int) -> None:
        """Begin a stream: gzip may have several, deflate comes with a header (RFC 1950) or without."""
        if self.done and not self._gzip:
            raise Unfit("longer than its compression says")
        headed = first & 0x0F == zlib.DEFLATED and first >> 4 < 8  # noqa: PLR2004 - 32 KiB, the largest window
        self._engine = zlib.decompressobj(31 if self._gzip else 15 if headed else -15)


async def fill(
    body: bytearray, chunks: AsyncIterable[bytes], encoding: str, max_wire_bytes: int, max_decoded_bytes: int
) -> None:
    """Read an answer into `body`, unpacked. Raises Unfit; `body` then holds what came until there."""
    encoding = encoding.strip().lower()
    if encoding not in {"", "identity", "gzip", "x-gzip", "deflate"}:
        raise Unfit("packed in a way that was not asked for")
    inflater = _Inflater(encoding.removeprefix("x-")) if encoding not in {"", "identity"} else None
    wire = 0
    async for chunk in chunks:
        wire += len(chunk)
        for piece in (chunk,) if inflater is None else inflater.feed(chunk):
            room = max_decoded_bytes - len(body)
            body += piece[:room]
            if len(piece) > room:
                raise Unfit(f"longer than {max_decoded_bytes:,} bytes when unpacked")
            if len(piece) == _PIECE:
                # A few kilobytes can unpack to megabytes: let others have their turn in between.
                await asyncio.sleep(0)
        if wire > max_wire_bytes:
            raise Unfit(f"longer than {max_wire_bytes:,} bytes")
    if inflater is not None and wire and not inflater.done:
        raise Unfit("cut short")


def is_json(content_type: str) -> bool:
    """True if the media type is JSON, a dialect of it such as application/problem+json included."""
    essence = content_type.partition(";")[0].strip().lower()
    return essence == "application/json" or (essence.startswith("application/") and essence.endswith("+json"))


async def decode(body: bytearray, into: type[T], max_depth: int) -> T:
    """Return what a JSON body says, strictly of type `into`. Raises Unfit."""
    if len(body) <= _PIECE:
        return _decode(body, into, max_depth)
    return await asyncio.to_thread(_decode, body, into, max_depth)


def _decode(body: bytearray, into: type[T], max_depth: int) -> T:
    if not body or body.isspace():
        raise Unfit("empty")
    if deeper_than(body, max_depth):
        raise Unfit(f"nested deeper than {max_depth} levels")
    # PostgreSQL's jsonb and text cannot hold it, and no vendor means it.
    if b"\\u0000" in body and _NUL.search(body):
        raise Unfit("carrying a NUL character")
    try:
        return cast("T", _decode_pieces(body, into))
    except (ValueError, RecursionError) as error:
        # Of the decoder's words only the path is ours: field names of `into` and indexes.
        where = _WHERE.search(str(error))
        shape = isinstance(error, msgspec.ValidationError)
    if shape:
        raise Unfit("not of the documented shape" + (f" at {where[1]}" if where else ""))
    raise Unfit("not proper JSON")


def deeper_than(body: bytes | bytearray, limit: int) -> bool:
    """True if the lists and objects of a JSON text nest more than `limit` levels deep.

    Strings are left out. What it says of a text that is not JSON means nothing.
    """
    depth, inside, escaped = 0, False, False
    for at in range(0, len(body), _SLICE):
        part = body[at + 1 if escaped else at : at + _SLICE]
        if b"\\" in part:
            part = _ESCAPE.sub(b"", part)
        escaped = part.endswith(b"\\")
        strings = part.translate(_SHAPE, _NO_SHAPE).split(b'"')
        outside = b"".join(strings[1 if inside else 0 :: 2])
        inside ^= len(strings) % 2 == 0
        opened = outside.count(b"(")
        if depth + opened > limit and max(accumulate(map(_STEPS.__getitem__, outside), initial=depth)) > limit:
            return True
        depth += 2 * opened - len(outside)
    return False


@lru_cache(maxsize=512)
def _decoder(into: Any) -> msgspec.json.Decoder[Any]:  # noqa: ANN401 - a type, which typing cannot name
    return msgspec.json.Decoder(into, strict=True)


@lru_cache(maxsize=512)
def _raw_twin(into: type[msgspec.Struct]) -> type[msgspec.Struct] | None:
    """Return a struct with the same fields, none of them decoded; None where there is more to it."""
    config = into.__struct_config__
    if config.tag is not None or config.array_like or config.forbid_unknown_fields:
        return None
    fields = msgspec.structs.fields(into)
    return msgspec.defstruct(
        "RawTwin",
        [(f.name, msgspec.Raw, None) for f in fields],
        rename={f.name: f.encode_name for f in fields},
    )


def _decode_pieces(raw: Any, into: Any) -> Any:  # noqa: ANN401 - any type from any bytes-like
    """Decode a large text part by part, so that other threads get their turn in between."""
    if len(raw) <= _PIECE:
        return _decoder(into).decode(raw)
    if into in (Any, object):
        into = list[Any] if bytes(memoryview(raw)[:64]).lstrip().startswith(b"[") else dict[str, Any]
    origin, inner = get_origin(into), get_args(into)
    if origin in (Union, types.UnionType):
        inner = tuple(member for member in inner if member is not types.NoneType)
        return _decode_pieces(raw, inner[0]) if len(inner) == 1 else _decoder(into).decode(raw)
    if origin is list:
        return _decode_list(raw, inner[0])
    if origin is dict and inner[0] is str:
        entries = _decoder(dict[str, msgspec.Raw]).decode(raw)
        return {key: _decode_pieces(part, inner[1]) for key, part in entries.items()}
    if isinstance(into, type) and issubclass(into, msgspec.Struct):
        return _decode_struct(raw, into)
    return _decoder(into).decode(raw)


def _decode_list(raw: Any, item: Any) -> list[Any]:  # noqa: ANN401 - any type from any bytes-like
    """Decode a list in runs of items, cut where one seems to end and the next to begin.

    If each run is a list, so is the whole, and it is theirs in a row: a cut inside a string or an inner list
    leaves a run that is no JSON, and then the items are told apart by the decoder, at twice the price.
    """
    text = memoryview(raw)
    match = _FIRST.match(text)
    seam = _SEAMS.get(match[1]) if match else None
    found: list[Any] = []
    if match and seam:
        run = _decoder(list[item])
        start, end = match.start(1), bytes(text[-64:]).rfind(b"]") + max(0, len(text) - 64)
        try:
            while start < end:
                cut = seam.search(text, start + _PIECE, end)
                found += run.decode(b"[%b]" % bytes(text[start : cut.start() + 1 if cut else end]))
                start = cut.end() - 1 if cut else end
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            found = []
        else:
            if not bytes(text[end + 1 :]).strip():
                return found
    parts = _decoder(list[msgspec.Raw]).decode(raw)
    small = _decoder(item).decode
    return [small(part) if len(part) <= _PIECE else _decode_pieces(part, item) for part in parts]


def _decode_struct(raw: Any, into: type[msgspec.Struct]) -> msgspec.Struct:  # noqa: ANN401 - any bytes-like
    twin = _raw_twin(into)
    if twin is None:
        return cast("msgspec.Struct", _decoder(into).decode(raw))
    shallow = _decoder(twin).decode(raw)
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(into):
        part = getattr(shallow, field.name)
        if part is not None:
            values[field.name] = _decode_pieces(part, field.type)
        elif field.required:
            raise msgspec.ValidationError("a required field is missing - at `$`")
    return into(**values)


def parse_date(text: str | None) -> datetime | None:
    """Return the time of an HTTP date, aware UTC, or None for anything else, such as one without a zone."""
    if text is None or len(text) > 64:  # noqa: PLR2004 - twice the longest form
        return None
    try:
        at = parsedate_to_datetime(text)
        return at.astimezone(UTC) if at.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


def parse_retry_after(text: str | None, vendor_now: datetime) -> float | None:
    """Return the wait a Retry-After header asks for, 1 s to 24 h, or None where it is absent or rubbish.

    Args: vendor_now: what the vendor's own clock says, which is the one its dates are meant by.
    """
    if text is None:
        return None
    text = text.strip()
    if _SECONDS.fullmatch(text):
        wait_s = float(text)
    else:
        until = parse_date(text)
        if until is None:
            return None
        wait_s = (until - vendor_now).total_seconds()
    return min(max(wait_s, SHORTEST_WAIT_S), LONGEST_WAIT_S)
