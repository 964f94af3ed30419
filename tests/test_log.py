"""No secret reaches the log, no vendor's text forges a line of it, and what is left can be read."""

import asyncio
import base64
import gc
import io
import json
import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from urllib.parse import quote

import pytest

from enalysis import log
from enalysis.log import KnownSecrets, configure, register_secret, scrub

SECRET = 'S3cret/with+"signs"&more'

Lines = Callable[[], str]


@pytest.fixture(autouse=True)
def _kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Begin without known secrets, and put back what `configure` changes for the whole process."""
    monkeypatch.setattr(log, "_known", KnownSecrets())
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    hooks = sys.excepthook, sys.unraisablehook, threading.excepthook
    yield
    logging.captureWarnings(capture=False)
    root.handlers[:], root.level = handlers, level
    sys.excepthook, sys.unraisablehook, threading.excepthook = hooks
    for name in log._QUIET_LIBRARIES:
        logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.fixture(params=["text", "json"])
def lines(request: pytest.FixtureRequest) -> Lines:
    """Log to memory in one of the layouts."""
    stream = io.StringIO()
    configure("debug", request.param, stream)
    return stream.getvalue


@pytest.fixture
def text() -> Lines:
    stream = io.StringIO()
    configure("info", "text", stream)
    return stream.getvalue


@pytest.fixture
def objects() -> Callable[[], list[dict[str, object]]]:
    stream = io.StringIO()
    configure("info", "json", stream)
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_registered_secret_is_removed_in_every_spelling(lines: Lines) -> None:
    register_secret(SECRET)
    logger = logging.getLogger("enalysis.jobs")
    basic = base64.b64encode(f"installer:{SECRET}".encode()).decode()
    logger.info("plain %s, in an address %s or %s", SECRET, quote(SECRET, safe=""), quote(SECRET))
    logger.info("as JSON %s, as repr %r, in bytes %r", json.dumps(SECRET), [SECRET], SECRET.encode())
    logger.info("in a header %s", basic)
    logger.info("inside aword%sgoeson", SECRET)
    told = lines()
    assert told.count("***") >= 8
    for part in ("S3cret", "signs", "more", quote(SECRET), basic[14:-4]):
        assert part not in told


@pytest.mark.parametrize("length", range(6, 16))
@pytest.mark.parametrize("before", ["", "u", "us"])
def test_a_secret_is_found_inside_longer_base64(length: int, before: str) -> None:
    secret = "Zq7-Yx3_Wv9.Ut1Rs5"[:length]
    register_secret(secret)
    coded = base64.urlsafe_b64encode(f"{before}{secret}:tail".encode()).decode()
    masked = scrub(coded)
    assert "***" in masked
    # At most the letters that the secret shares with its neighbours are left of it.
    assert len(masked) - 3 <= len(coded) - (length * 8 // 6 - 2)


@pytest.mark.parametrize(
    ("leak", "left"),
    [
        ("GET /x?api_key=CANARY&site=1", "GET /x?api_key=***&site=1"),
        ("GET /x?site=1&key=CANARY", "GET /x?site=1&key=***"),
        ("access_token=CANARY refresh_token=CANARY", "access_token=*** refresh_token=***"),
        ('{"client_secret": "CAN\\"ARY x", "n": 1}', '{"client_secret": "***", "n": 1}'),
        ("{'password': 'CANARY', 'n': 1}", "{'password': '***', 'n': 1}"),
        ('{\\"token\\": \\"CANARY\\", \\"n\\": 1}', '{\\"token\\": \\"***\\", \\"n\\": 1}'),
        ("password: CANARY", "password: ***"),
        ("Authorization: Bearer CANARY", "Authorization: ***"),
        ("sent Bearer CANARYCANARY to it", "sent Bearer *** to it"),
        ("X-API-Key: CANARY", "X-API-Key: ***"),
        ("[(b'X-API-Key', b'CANARY'), (b'Accept', b'*/*')]", "[(b'X-API-Key', b'***'), (b'Accept', b'*/*')]"),
        ("Cookie: enalysis_session=CANARY; theme=CANARY", "Cookie: ***"),
        (
            "GET /api/oauth/x/callback?code=CANARY&state=CANARY",
            "GET /api/oauth/x/callback?code=***&state=***",
        ),
        ("{'code': 'CANARY'}", "{'code': '***'}"),
        ("postgresql://app:CANARY@db.example:5432/x", "postgresql://***@db.example:5432/x"),
        ("got eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.CANARY back", "got *** back"),
        ("code_verifier=CANARY", "code_verifier=***"),
    ],
)
def test_what_looks_like_a_credential_is_removed_unregistered(leak: str, left: str) -> None:
    assert scrub(leak) == left


@pytest.mark.parametrize(
    "plain",
    [
        "The vendor answered with status code 507: try again later.",
        "stored 96 intervals of 3 devices in 0.42 s; 12 of 1000 calls taken",
        "password authentication failed for user",
        'duplicate key value violates unique constraint "users_email"',
        "status_code=401 monkey=1 tokens=3 design=a keys=4 token_type=bearer",
        "Access token expired. Please refresh your connection.",
        "https://developer.example.com/docs?page=2#errors",
    ],
)
def test_ordinary_sentences_stay_as_they_are(plain: str) -> None:
    assert scrub(plain) == plain


def test_short_values_are_left_alone() -> None:
    register_secret("siteA")
    assert scrub("siteA is online") == "siteA is online"


def test_the_longest_of_several_secrets_wins() -> None:
    register_secret("abcdef")
    register_secret("abcdefgh")
    assert scrub("x abcdefgh y abcdef z") == "x *** y *** z"


def test_each_line_of_a_key_file_is_a_secret() -> None:
    register_secret("-----BEGIN KEY-----\nMIIBVQIBADANBg\nkqhkiG9w0BAQEF\n")
    assert "kqhkiG9w" not in scrub("what of kqhkiG9w0BAQEF then")


def test_secrets_are_kept_as_hashes_and_the_oldest_is_forgotten() -> None:
    known = KnownSecrets(remembered=2)
    for value in ("first-secret", "second-secret", "first-secret", "third-secret"):
        known.add(value)
    assert known.mask("first-secret second-secret third-secret") == "*** second-secret ***"
    assert "first-secret" not in repr(vars(known))
    for value in ("fourth-secret", "fifth-secret"):
        known.add(value)
    assert known.mask("first-secret third-secret") == "first-secret third-secret"
    assert set(known._index) == {form[:6] for value in ("fourth-secret", "fifth-secret") for form in log._forms(value)}


def test_an_exception_is_scrubbed_with_its_causes_and_notes(lines: Lines) -> None:
    register_secret(SECRET)
    try:
        try:
            raise KeyError(SECRET)
        except KeyError as cause:
            error = ValueError(f"https://vendor.example/x?api_key={quote(SECRET)}")
            error.add_note(f"the key was {SECRET}")
            raise error from cause
    except ValueError:
        logging.getLogger("enalysis").exception("the poll of %s failed", {"api_key": SECRET})
    told = lines()
    assert "S3cret" not in told
    assert "KeyError" in told
    assert "api_key=***" in told
    assert "the key was ***" in told


@pytest.mark.parametrize(
    "name", ["httpx2", "httpcore2.http11", "aiohttp.client", "urllib3", "asyncio", "procrastinate.worker"]
)
def test_libraries_that_tell_every_request_speak_from_warning_up(lines: Lines, name: str) -> None:
    logging.getLogger(name).info("GET https://vendor.example/")
    logging.getLogger(name).warning("it went wrong")
    assert "GET" not in lines()
    assert "it went wrong" in lines()


def test_what_libraries_installed_is_taken_away() -> None:
    stolen, stream = io.StringIO(), io.StringIO()
    library = logging.getLogger("enalysis_test_library.access")
    library.addHandler(logging.StreamHandler(stolen))
    library.propagate = False
    configure("info", "text", stream)
    library.error("?code=CANARY")
    assert stolen.getvalue() == ""
    assert "?code=***" in stream.getvalue()
    assert len(logging.getLogger().handlers) == 1


def test_a_vendors_line_breaks_forge_no_line(text: Lines) -> None:
    evil = "Roof\r\n2026-01-01T00:00:00.000Z INFO enalysis all is well\x1b[2K\u2028next\u202e"
    logger = logging.getLogger("enalysis")
    logger.info("site %s", evil, extra={"site": evil})
    try:
        raise ValueError(evil)
    except ValueError:
        logger.exception("bad payload")
    told = text().splitlines()
    assert len(told) == 2 + 6
    assert [line[:4] for line in told if not line.startswith("20")] == ["  | "] * 6
    assert all(line.isprintable() for line in told)
    assert "Roof\\r\\n2026" in told[0]


def test_a_vendors_text_forges_no_field(text: Lines) -> None:
    logging.getLogger("enalysis").info("seen", extra={"site": "Roof connection=other", "connection": "mine"})
    assert text().endswith('seen site="Roof connection=other" connection=mine\n')


def test_text_lines_tell_time_level_logger_and_fields(text: Lines) -> None:
    record = logging.makeLogRecord(
        {
            "name": "enalysis.jobs",
            "levelname": "WARNING",
            "levelno": 30,
            "msg": "slow",
            "created": 1_795_341_845.5,
        }
    )
    record.stream, record.taken = "interval", 3
    logging.getLogger().handle(record)
    assert text() == "2026-11-22T10:04:05.500Z WARNING enalysis.jobs slow stream=interval taken=3\n"


def test_json_lines_keep_types_and_their_own_names(objects: Callable[[], list[dict[str, object]]]) -> None:
    register_secret(SECRET)
    plain = {"taken": 3, "share": 0.5, "ok": True, "none": None}
    odd = {"lost": float("nan"), "level": "forged", "api_key": 123456, "site": {"token": "CANARY"}}
    logging.getLogger("enalysis").info('he said "%s"\n', SECRET, extra={**plain, **odd})
    (told,) = objects()
    assert list(told)[:4] == ["time", "level", "logger", "message"]
    assert told["message"] == 'he said "***"\n'
    assert {name: told[name] for name in plain} == plain
    assert {name: told[name] for name in odd} == {
        "lost": "nan",
        "level": "INFO",
        "api_key": "***",
        "site": "{'token': '***'}",
    }


@pytest.mark.parametrize("layout", ["text", "json"])
def test_a_line_that_cannot_be_written_is_told_without_its_arguments(layout: str) -> None:
    register_secret(SECRET)
    stream = io.StringIO()
    configure("info", layout, stream)
    logging.getLogger("enalysis").info("count %d", SECRET)
    told = stream.getvalue()
    assert "A log line was lost to a TypeError: count %d" in told
    assert "S3cret" not in told
    assert "Traceback" not in told


@pytest.mark.parametrize("length", [30_000, 1_000_000])
def test_a_giant_text_keeps_its_beginning_and_its_end(text: Lines, length: int) -> None:
    logging.getLogger("enalysis").info("begin %s end", "x" * length)
    told = text()
    assert len(told) < 20_000
    assert " begin xxx" in told
    assert "xxx … left out … xxx" in told
    assert told.endswith("xxx end\n")


@pytest.mark.parametrize("filler", [0, 997])
@pytest.mark.parametrize("shift", range(0, 30, 4))
def test_a_giant_text_is_not_cut_through_a_secret(text: Lines, shift: int, filler: int) -> None:
    register_secret(SECRET)
    giant = "x" * shift + f"{'x' * filler}{SECRET}" * (100_000 // (filler + len(SECRET)))
    logging.getLogger("enalysis").info("%s", giant)
    assert "left out" in text() or not filler
    for part in ("S3c", "ret", "sig", "igns"):
        assert part not in text()


def test_a_name_with_a_secret_in_it_is_masked_too(lines: Lines) -> None:
    register_secret("canary4711")
    logging.getLogger("enalysis.of.canary4711").info("hello", extra={"canary4711": 1})
    assert "hello" in lines()
    assert "canary4711" not in lines()


def test_errors_nobody_caught_go_the_same_way(lines: Lines) -> None:
    register_secret(SECRET)
    error = RuntimeError(f"token={SECRET}")
    sys.excepthook(RuntimeError, error, None)
    threading.Thread(target=_raise, args=(error,), name="poller").start()
    for thread in threading.enumerate():
        if thread.name == "poller":
            thread.join()
    told = lines()
    assert told.count("RuntimeError: token=***") == 2
    assert "An error nobody caught ended the thread poller." in told
    assert "S3cret" not in told


def _raise(error: Exception) -> None:
    raise error


def test_an_interrupt_is_no_error(lines: Lines) -> None:
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert "Interrupted." in lines()
    assert "Traceback" not in lines()


def test_a_finalizers_error_goes_the_same_way(lines: Lines) -> None:
    class Leaky:
        def __del__(self) -> None:
            raise ValueError("api_key=CANARY")

    Leaky()
    gc.collect()
    assert "api_key=***" in lines()
    assert "CANARY" not in lines()


def test_a_task_whose_error_nobody_fetched_goes_the_same_way(lines: Lines) -> None:
    async def forget() -> None:
        task = asyncio.get_running_loop().create_task(_fail())
        await asyncio.sleep(0)
        del task
        gc.collect()

    async def _fail() -> None:
        raise ValueError("api_key=CANARY")

    asyncio.run(forget())
    assert "never retrieved" in lines()
    assert "CANARY" not in lines()


def test_warnings_go_the_same_way(lines: Lines) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("api_key=CANARY", UserWarning, stacklevel=1)
        logging.captureWarnings(capture=False)
    assert "api_key=***" in lines()


@pytest.mark.parametrize(
    "hostile",
    ["a-" * 50_000, "token " * 50_000, "eyJ" * 50_000, "://a" * 50_000, "token='" * 20_000, "\\" * 100_000],
)
def test_no_text_takes_long_to_scrub(hostile: str) -> None:
    register_secret(SECRET)
    done = threading.Event()

    def work() -> None:
        scrub(hostile)
        done.set()

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    assert done.wait(timeout=10)
