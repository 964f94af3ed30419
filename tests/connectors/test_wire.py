"""Proves the steps from bytes to a value: unpacking, depth, decoding in pieces, waits and dates."""

import gzip
import json
import zlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enalysis.connectors.wire import Unfit, decode, deeper_than, fill, is_json, parse_date, parse_retry_after

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)

leaves = st.none() | st.booleans() | st.integers(-9, 9) | st.text(alphabet='[]{}"\\,:a\n', max_size=8)
trees = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(alphabet='[{"\\', max_size=3), inner),
    max_leaves=30,
)


def depth_of(tree: object) -> int:
    """Return how deep lists and objects nest."""
    if isinstance(tree, dict):
        tree = list(tree.values())
    return 1 + max(map(depth_of, tree), default=0) if isinstance(tree, list) else 0


@given(tree=trees, pad=st.integers(65_525, 65_545))
def test_depth_is_counted_as_a_parser_counts_it(tree: object, pad: int) -> None:
    # The padding moves the tree over the seam between two slices, inside of a string and outside.
    for text in (json.dumps(tree), json.dumps(["x" * pad, tree]), " " * pad + json.dumps(tree)):
        depth = depth_of(json.loads(text))
        assert not deeper_than(text.encode(), depth)
        assert depth == 0 or deeper_than(text.encode(), depth - 1)


@pytest.mark.parametrize("seam", range(65_530, 65_540))
def test_a_string_that_lies_over_a_seam_hides_its_brackets(seam: int) -> None:
    text = b'["' + b"x" * seam + b'\\\\\\"[[[[[[[[[[", []]'
    assert depth_of(json.loads(text)) == 2
    assert not deeper_than(text, 2)
    assert deeper_than(text, 1)


async def chunks(body: bytes, size: int) -> AsyncIterator[bytes]:
    """Yield a body in chunks."""
    for at in range(0, len(body), size):
        yield body[at : at + size]


@pytest.mark.parametrize("size", [1, 7, 4096, 10**9])
@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("identity", b"hello" * 1000),
        ("gzip", gzip.compress(b"hello" * 1000, mtime=0)),
        ("gzip", gzip.compress(b"hello" * 400, mtime=0) + gzip.compress(b"hello" * 600, mtime=0)),
        ("deflate", zlib.compress(b"hello" * 1000)),
        ("deflate", zlib.compress(b"hello" * 1000, wbits=-15)),
    ],
)
async def test_a_body_is_unpacked_however_it_is_cut(encoding: str, packed: bytes, size: int) -> None:
    body = bytearray()
    await fill(body, chunks(packed, size), encoding, 10_000, 5_000)
    assert bytes(body) == b"hello" * 1000


@pytest.mark.parametrize("encoding", ["", "gzip", "deflate"])
async def test_a_body_stops_at_its_limit_and_keeps_what_came(encoding: str) -> None:
    plain = b"0123456789" * 100_000
    packed = {"": plain, "gzip": gzip.compress(plain), "deflate": zlib.compress(plain)}[encoding]
    body = bytearray()
    with pytest.raises(Unfit, match="700,001"):
        await fill(body, chunks(packed, 4096), encoding, 10**9, 700_001)
    assert bytes(body) == plain[:700_001]
    with pytest.raises(Unfit, match="longer than 100 bytes"):
        await fill(bytearray(), chunks(packed, 64), encoding, 100, 10**9)


class Point(msgspec.Struct, rename="camel"):
    """One value."""

    at_time: str
    value: float | None = None
    parts: list[list[int]] = []


class Body(msgspec.Struct, rename="camel", kw_only=True):
    """A large answer with something of every kind."""

    unit: str = "W"
    the_points: list[Point]
    named: dict[str, list[Point]] | None = None
    raw: msgspec.Raw = msgspec.Raw(b"null")
    anything: Any = None


class Tagged(msgspec.Struct, tag="points"):
    """A body that tells its own kind."""

    points: list[Point]


POINTS: list[dict[str, Any]] = [
    {"atTime": f'{number} "}},{{" [', "value": number / 4, "parts": [[1, 2], [number]]} for number in range(5000)
]
PLAIN: list[dict[str, Any]] = [{"atTime": str(number), "value": None} for number in range(9_000)]


@pytest.mark.parametrize(
    ("into", "said"),
    [
        (list[Point], POINTS),
        (list[Point], PLAIN),
        (list[list[int]], [[number, 1] for number in range(90_000)]),
        (list[int], list(range(90_000))),
        (list[list[Point]], [POINTS, PLAIN, []]),
        (Body, {"thePoints": POINTS, "unit": "kW", "unknown": PLAIN}),
        (Body, {"named": {"a": PLAIN, "b": []}, "thePoints": [], "anything": POINTS, "raw": 1}),
        (dict[str, list[Point]], {"a": PLAIN, "b": POINTS[:2]}),
        (list[Point] | None, PLAIN),
        (object, PLAIN),
        (Any, {"a": PLAIN}),
        (str, "x" * 300_000),
        (Tagged, {"type": "points", "points": PLAIN}),
    ],
)
@pytest.mark.parametrize("space", [None, 1])
async def test_a_large_body_decoded_in_pieces_is_what_it_is_at_once(
    into: type[Any], said: object, space: int | None
) -> None:
    text = json.dumps(said, indent=space).encode() + b" \n"
    assert len(text) > 300_000
    assert same(await decode(bytearray(text), into, 64)) == same(msgspec.json.decode(text, type=into))


def same(value: object) -> object:
    """Return the value as JSON says it: two Raw of one text are not equal."""
    return msgspec.json.encode(value)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (json.dumps({"thePoints": [*PLAIN, {"atTime": 1}]}), r"at \$\[[0-9]+\].atTime"),
        (json.dumps({"thePoints": PLAIN, "unit": 1}), "shape"),
        (json.dumps({"unit": "W" * 300_000}), r"shape at \$"),
        (json.dumps({"thePoints": PLAIN})[:-1], "proper JSON"),
        (json.dumps({"thePoints": PLAIN}).replace("}, {", "} {", 1), "proper JSON"),
        (json.dumps({"thePoints": PLAIN}) + "]", "proper JSON"),
        (json.dumps({"thePoints": PLAIN}).replace('"value": null', '"value": 1e999'), r"at \$"),
        (json.dumps({"thePoints": [*PLAIN, {"atTime": "\0"}]}), "NUL"),
        ('{"thePoints": ' + "[" * 300_000, "deeper"),
    ],
)
async def test_one_fault_in_a_large_body_is_found(text: str, where: str) -> None:
    with pytest.raises(Unfit, match=where):
        await decode(bytearray(text.encode()), Body, 64)


async def test_a_faulty_list_is_not_mended_by_its_pieces() -> None:
    half = json.dumps(PLAIN)
    for text in (half[:-1], half + "]", half[:-1] + ",]", half[:-2] + "]", f"{half} {half}", f"{half} x"):
        with pytest.raises(Unfit):
            await decode(bytearray(text.encode()), list[Point], 64)
    spaced = await decode(bytearray((half + " " * 100).encode()), list[Point], 64)
    assert len(spaced) == len(PLAIN)


@pytest.mark.parametrize(
    ("text", "harmless"),
    [(r'"a\u0000"', False), (r'"\\\u0000"', False), (r'"\\u0000"', True), (r'"\\\\u0000"', True)],
)
async def test_only_a_real_nul_is_refused(text: str, *, harmless: bool) -> None:
    if harmless:
        assert "u0000" in await decode(bytearray(text.encode()), str, 4)
    else:
        with pytest.raises(Unfit, match="NUL"):
            await decode(bytearray(text.encode()), str, 4)


async def test_an_unfit_answer_is_described_without_its_words() -> None:
    for text in (
        '{"canary": "canary"}',
        '{"thePoints": "canary"}',
        "canary",
        '{"thePoints": [{"canary": 1}]}',
    ):
        with pytest.raises(Unfit) as caught:
            await decode(bytearray(text.encode()), Body, 64)
        assert "canary" not in str(caught.value)
        assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("text", "wait_s"),
    [
        (None, None),
        ("120", 120),
        (" 7 ", 7),
        ("0", 1),
        ("86400", 86400),
        ("86401", 86400),
        ("999999999", 86400),
        ("Sun, 22 Nov 2026 10:02:00 GMT", 120),
        ("Sun, 22 Nov 2026 09:00:00 GMT", 1),
        ("Sun, 22 Nov 2099 10:00:00 GMT", 86400),
        ("Sun, 22 Nov 2026 11:02:00 +0100", 120),
        ("Sunday, 22-Nov-26 10:02:00 GMT", 120),
        ("-5", None),
        ("+5", None),
        ("1.5", None),
        ("1e3", None),
        ("٣", None),
        ("9" * 400, None),
        ("", None),
        ("soon", None),
        ("120, 60", None),
        ("Sun, 22 Nov 2026 10:02:00", None),
        ("Sun, 22 Nov 2026 10:02:00 -0000", None),
        ("Sun Nov 22 10:02:00 2026", None),
        ("2026-11-22T10:02:00Z", None),
        ("Sun, 99 Nov 2026 10:02:00 GMT", None),
        ("Sun, 22 Nov 99999 10:02:00 GMT", None),
        ("Fri, 31 Dec 9999 23:59:59 -2359", None),
        ("Sun, 22 Nov 2026 10:02:00 GMT" + " " * 100, 120),
        ("\x00", None),
    ],
)
def test_a_wait_is_read_as_seconds_or_date_and_rubbish_is_none(text: str | None, wait_s: float | None) -> None:
    assert parse_retry_after(text, NOW) == wait_s


@given(text=st.text(max_size=80))
def test_no_text_breaks_the_reading_of_waits_and_dates(text: str) -> None:
    wait_s = parse_retry_after(text, NOW)
    assert wait_s is None or 1 <= wait_s <= 86400
    at = parse_date(text)
    assert at is None or at.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    ("content_type", "json_"),
    [
        ("application/json", True),
        ("Application/JSON; charset=utf-8", True),
        ("application/problem+json", True),
        ("application/vnd.acme.v2+json ;v=1", True),
        ("text/html", False),
        ("text/json", False),
        ("image/svg+json", False),
        ("application/jsonp", False),
        ("", False),
    ],
)
def test_json_is_known_by_its_media_type(content_type: str, *, json_: bool) -> None:
    assert is_json(content_type) is json_
