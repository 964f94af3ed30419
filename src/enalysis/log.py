"""Writes the log: one handler at the root, whose formatter removes every secret from the finished line."""

import base64
import contextlib
import json
import logging
import math
import re
import sys
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterator
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Final, TextIO
from urllib.parse import quote, quote_plus

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

MASK: Final = "***"
"""What stands in a line where a secret stood."""

SHORTEST_SECRET: Final = 6
"""Shorter values are not looked for: they would blot out ordinary words."""

_REMEMBERED: Final = 20_000
_LONGEST_TEXT: Final = 16_384

# At INFO and below these tell every request or job, with its address or arguments.
_QUIET_LIBRARIES: Final = (
    "aiohttp",
    "asyncio",
    "hpack",
    "httpcore",
    "httpcore2",
    "httpx",
    "httpx2",
    "procrastinate",
    "urllib3",
)
_STANDARD_FIELDS: Final = {
    *vars(logging.makeLogRecord({})),
    "asctime",
    "color_message",
    "message",
    "taskName",
}

# The name and what stands between name and value: `x=1`, `x: 1`, `"x": "1"`, `(b'x', b'1')`, also with the
# quotes escaped as inside another string.
_NAME: Final = (
    r"(?:api[_-]?key|secret|token(?:[_-]?id)?|passw(?:or)?d|passphrase|pwd|credentials?|assertion"
    r"|session(?:[_-]?id)?|code[_-]verifier|(?:device|user|auth)[_-]code"
    r"|(?<![a-z0-9])sign(?:ature)?|(?<![a-z0-9])key)"
)
_QUOTED_IS: Final = r"\\*[\"']\s{0,4}[=:,]\s{0,4}"
_IS: Final = rf"(?:\s{{0,4}}[=:]\s{{0,4}}|{_QUOTED_IS})"
# A quoted value ends at the quote that began it, a bare one where an address or a sentence goes on.
_OPENING: Final = r"(?:b?(?P<quote>\\*[\"']))?"
_QUOTED: Final = r"(?:(?!(?P=quote))(?:\\.|.))*"
_BARE: Final = r"(?:(?:bearer|basic|digest)\s+)?[^\s&\"'<>,;)\]}]+"
_FLAGS: Final = re.IGNORECASE | re.DOTALL
_PATTERNS: Final = tuple(
    (re.compile(pattern, _FLAGS), rf"\g<1>{MASK}")
    for pattern in (
        rf"((?:authorization|cookie){_IS}{_OPENING})(?(quote){_QUOTED}|[^\r\n]+)",
        rf"({_NAME}{_IS}{_OPENING})(?(quote){_QUOTED}|{_BARE})",
        # Both are ordinary words too, so a sentence with a colon is left alone.
        rf"((?<![\w-])(?:code|state)(?:=|{_QUOTED_IS}){_OPENING})(?(quote){_QUOTED}|{_BARE})",
        r"(\bbearer\s+)[\w.~+/=-]+",
        r"(://)[^\s/\"'<>]+(?=@)",
        r"()\beyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]*)?",
    )
)
# Control characters, line separators and marks that turn the direction of writing: what could forge a line.
_UNPRINTABLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class KnownSecrets:
    """The secrets to look for in a text, kept as hashes: what was registered cannot be read out again.

    Args: remembered: how many values to keep; the one not seen for longest is forgotten first.
    """

    def __init__(self, remembered: int = _REMEMBERED) -> None:
        self._remembered = remembered
        self._values: OrderedDict[int, list[tuple[str, int, int]]] = OrderedDict()
        # First characters -> length -> hashes, so that a line costs the same however many secrets are known.
        self._index: dict[str, dict[int, Counter[int]]] = {}
        # Reentrant: a signal handler or a finalizer may log while a line is being masked.
        self._lock = threading.RLock()

    def add(self, value: str) -> None:
        """Look for this value from now on, also as it stands in addresses, JSON, reprs and base64."""
        with self._lock:
            for part in {value, *value.splitlines()}:
                if len(part) < SHORTEST_SECRET:
                    continue
                if hash(part) in self._values:
                    self._values.move_to_end(hash(part))
                    continue
                forms = [(form[:SHORTEST_SECRET], len(form), hash(form)) for form in _forms(part)]
                self._values[hash(part)] = forms
                for head, length, digest in forms:
                    self._index.setdefault(head, {}).setdefault(length, Counter())[digest] += 1
            while len(self._values) > self._remembered:
                self._forget(self._values.popitem(last=False)[1])

    def mask(self, text: str) -> str:
        """Return the text with every known secret replaced by the mask."""
        kept: list[str] = []
        at = start = 0
        with self._lock:
            last = len(text) - SHORTEST_SECRET if self._index else -1
            while at <= last:
                lengths = self._index.get(text[at : at + SHORTEST_SECRET])
                length = _longest_match(lengths, text, at) if lengths else 0
                if length:
                    kept += (text[start:at], MASK)
                    start = at + length
                at += length or 1
        kept.append(text[start:])
        return "".join(kept)

    def _forget(self, forms: list[tuple[str, int, int]]) -> None:
        for head, length, digest in forms:
            hashes = self._index[head][length]
            hashes[digest] -= 1
            if not hashes[digest]:
                del hashes[digest]
            if not hashes:
                del self._index[head][length]
            if not self._index[head]:
                del self._index[head]


def _longest_match(lengths: dict[int, Counter[int]], text: str, at: int) -> int:
    for length in sorted(lengths, reverse=True):
        if hash(text[at : at + length]) in lengths[length]:
            return length
    return 0


def _forms(value: str) -> set[str]:
    raw = value.encode("utf-8", "surrogatepass")
    forms = {
        value,
        quote(raw, safe=""),
        quote(raw),
        quote_plus(raw),
        json.dumps(value)[1:-1],
        repr(value)[1:-1],
    }
    # Inside a longer base64 text the value begins at one of three offsets; its first and last letters are
    # shared with its neighbours and left out.
    for offset, shared in enumerate((0, 2, 3)):
        coded = base64.b64encode(bytes(offset) + raw).decode().rstrip("=")
        certain = coded[shared : -1 if (offset + len(raw)) % 3 else None]
        forms |= {certain, certain.translate(str.maketrans("+/", "-_"))}
    return {form for form in forms if len(form) >= SHORTEST_SECRET}


_known = KnownSecrets()


def register_secret(value: str) -> None:
    """Keep this value out of every log line from now on; values under six characters are ignored."""
    _known.add(value)


def scrub(text: str) -> str:
    """Return the text without registered secrets and without what looks like a credential.

    `code=` and `state=` count as credentials, since an OAuth callback carries both: say `fault=` or
    `verdict=` where something else is meant.
    """
    text = _known.mask(text)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


class _Line(logging.Formatter):
    """Composes one line, traceback and all, and scrubs it when it is finished."""

    def __init__(self, *, as_json: bool) -> None:
        super().__init__()
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as text, or as one JSON object, with times in UTC."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        head = {"time": at.replace("+00:00", "Z"), "level": record.levelname, "logger": record.name}
        message = _short(record.getMessage())
        extras = dict(_extras(record))
        trouble = _short("\n".join(_trouble(self, record)))
        if self._as_json:
            own = {**head, "message": message, **({"exception": trouble} if trouble else {})}
            # Named first to stand first, and last to win over an extra of the same name.
            fields = {**own, **extras, **own}
            return _known.mask(json.dumps(fields))
        told = [*head.values(), _one_line(message)]
        told += [f"{name}={_one_word(str(value))}" for name, value in extras.items()]
        # Every further line is marked, so that a line break in an error's text cannot pass for a new entry.
        marked = [f"  | {_one_line(line)}" for line in trouble.splitlines()]
        return _known.mask("\n".join([" ".join(told), *marked]))


class _RootHandler(logging.StreamHandler[TextIO]):
    """Writes to a stream, and says no more than where when a line cannot be written."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        """Tell that a line was lost; logging's own report would print its arguments unscrubbed."""
        error = sys.exc_info()[0]
        reason = error.__name__ if error else "no error"
        # Only its template, which the code wrote; an object could fail again.
        template = record.msg if isinstance(record.msg, str) else "no text"
        told = logging.makeLogRecord(
            {
                "name": record.name,
                "levelname": record.levelname,
                "created": record.created,
                "msg": f"A log line was lost to a {reason}: {template}",
            }
        )
        with contextlib.suppress(OSError, ValueError):
            self.stream.write(self.format(told) + self.terminator)


def configure(level: str, layout: str, stream: TextIO | None = None) -> None:
    """Send every log line, warning and uncaught error of this process through one scrubbing handler.

    Handlers that libraries installed are removed, so call this after importing them and give uvicorn
    `log_config=None`.

    Args: level: debug, info, warning or error. layout: text, or json for one object a line.
        stream: where to write; None is standard error.
    """
    handler = _RootHandler(stream or sys.stderr)
    handler.setFormatter(_Line(as_json=layout == "json"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in list(root.manager.loggerDict):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    for name in _QUIET_LIBRARIES:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_uncaught
    sys.unraisablehook = _log_unraisable
    threading.excepthook = _log_thread_death


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    logger = logging.getLogger("enalysis")
    if issubclass(kind, KeyboardInterrupt):
        logger.info("Interrupted.")
    else:
        logger.critical("An error nobody caught ended the process.", exc_info=(kind, error, trace))


def _log_thread_death(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is None or isinstance(args.exc_value, SystemExit):
        return
    logging.getLogger("enalysis").critical(
        "An error nobody caught ended the thread %s.",
        args.thread.name if args.thread else "of unknown name",
        exc_info=(args.exc_type, args.exc_value, args.exc_traceback),
    )


def _log_unraisable(args: "UnraisableHookArgs") -> None:
    error = args.exc_value
    logging.getLogger("enalysis").error(
        "%s %s",
        args.err_msg or "An error was ignored in",
        type(args.object).__qualname__,
        exc_info=(type(error), error, error.__traceback__) if error else None,
    )


def _extras(record: logging.LogRecord) -> Iterator[tuple[str, str | float | bool | None]]:
    for name, value in vars(record).items():
        if name in _STANDARD_FIELDS:
            continue
        told = _short(f"{name}={value}")[len(name) + 1 :]
        # Numbers stay numbers in JSON, unless their name says that they are a secret.
        plain = value is None or isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
        yield name, value if plain and told == str(value) else told


def _trouble(formatter: logging.Formatter, record: logging.LogRecord) -> Iterator[str]:
    if record.exc_info and record.exc_info[0] is not None:
        yield formatter.formatException(record.exc_info)
    if record.stack_info:
        yield record.stack_info


def _short(text: str) -> str:
    """Return the text scrubbed, a giant one without its middle: the end of a traceback names the error."""
    half = _LONGEST_TEXT // 2
    if len(text) <= 4 * _LONGEST_TEXT:
        text = scrub(text)
    else:
        # Scrubbing takes a microsecond a letter, so most is dropped before. A secret may lie across that cut,
        # so what stands near it is dropped as well.
        text = scrub(text[: 2 * _LONGEST_TEXT])[:-half] + scrub(text[-2 * _LONGEST_TEXT :])[half:]
    return text if len(text) <= _LONGEST_TEXT else f"{text[:half]} … left out … {text[-half:]}"


def _one_line(text: str) -> str:
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def _one_word(text: str) -> str:
    # A value with a space in it could otherwise pass for two.
    return json.dumps(text) if re.search(r"[\s\"=]", text) else _one_line(text)
