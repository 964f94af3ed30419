"""What a command says: its result on standard output, sentences and progress on standard error."""

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Annotated, Final, TextIO, cast

import msgspec
import typer
from rich import box
from rich.console import Console
from rich.file_proxy import FileProxy
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from enalysis import log
from enalysis.actions.consent import ConsentFailed
from enalysis.config import Settings
from enalysis.core.errors import (
    ConfigError,
    EnalysisError,
    Locked,
    LoginNeeded,
    NotFound,
    QuotaSpent,
    Refused,
    Unavailable,
    VendorError,
    as_sentence,
)
from enalysis.store import bootstrap
from enalysis.store.secrets import SealBroken
from enalysis.web.errors import RECONNECT

FAILED: Final = 1
MISUSED: Final = 2
INTERRUPTED: Final = 130

EXPECTED: Final[tuple[type[Exception], ...]] = (
    EnalysisError,
    *bootstrap.LAUNCH_FAILED,
    *bootstrap.AWAY,
)
"""What may go wrong without a fault of the program: each is told in a sentence, never as a traceback."""

AsJSON = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output, in W, Wh and UTC.")]

# Where nobody looks on, lines may be longer than a screen is wide: a file cuts nothing off.
_WIDE: Final = 240
_KINDS: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (ConfigError, "settings"),
    (NotFound, "not_found"),
    (ConsentFailed, "consent_failed"),
    (Refused, "refused"),
    (SealBroken, "sealed"),
)

people = Console(stderr=True, markup=False, highlight=False, emoji=False)
"""Where people read; nothing that a vendor or a person wrote is taken for markup."""


def configure_log(settings: Settings) -> None:
    """Send the log to standard error, above a progress bar where one is drawn."""
    # It stands in for the file it writes to, whose type it does not declare.
    stream = cast("TextIO", FileProxy(people, sys.stderr)) if people.is_terminal else None
    log.configure(settings.log_level, settings.log_format, stream)


def document(value: object) -> None:
    """Print a value as the one JSON document of this command: times in ISO 8601 UTC, None as null."""
    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def say(text: str) -> None:
    """Tell people something, in whole sentences."""
    people.print(visible(text), soft_wrap=True)


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[str] = (),
    whole: Sequence[str] = (),
) -> None:
    """Draw a table; columns named in `right` hold numbers; neither they nor those in `whole` are broken."""
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        drawn.add_column(
            name,
            justify="right" if name in right else "left",
            overflow="fold",
            no_wrap=name in right or name in whole,
        )
    for row in rows:
        drawn.add_row(*(visible(cell) for cell in row))
    results = Console(markup=False, highlight=False, emoji=False)
    if not results.is_terminal and "COLUMNS" not in os.environ:
        results.width = _WIDE
    results.print(drawn)


def visible(text: str) -> str:
    """Return the text without what moves the cursor or turns the direction of writing; lines stay lines."""
    return "".join(sign if sign.isprintable() or sign == "\n" else "\N{REPLACEMENT CHARACTER}" for sign in text)


@contextlib.contextmanager
def busy(text: str) -> Iterator[None]:
    """Show that something goes on for a while, where somebody looks on."""
    with people.status(text) if people.is_terminal else contextlib.nullcontext():
        yield


def progress() -> Progress:
    """Return a progress bar for work that is counted; it draws only where somebody looks on."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=people,
        transient=True,
        disable=not people.is_terminal,
    )


def fail(error: BaseException, *, as_json: bool) -> int:
    """Tell an expected failure in one sentence, or as a JSON document, and return the exit code."""
    if as_json:
        document(problem_of(error))
    else:
        say(f"Error: {sentence_of(error)}")
    return FAILED


def misuse(text: str, hint: str, *, as_json: bool) -> int:
    """Tell that a command was called wrongly, and return the exit code."""
    if as_json:
        document({"error": text, "kind": "usage"})
    else:
        say(f"Error: {text}" + (f"\n{hint}" if hint else ""))
    return MISUSED


def problem_of(error: BaseException) -> dict[str, object]:
    """Return a failure as JSON tells it: the sentence, its kind, and what a program can go by."""
    found: dict[str, object] = {"error": sentence_of(error), "kind": kind_of(error)}
    if isinstance(error, VendorError):
        found |= {"vendor": error.vendor, "operation": error.operation}
    if isinstance(error, LoginNeeded):
        # The same words as in the API, for programs that wait for them.
        found |= {"error": RECONNECT, "detail": sentence_of(error)}
    if isinstance(error, ConsentFailed):
        found["why"] = error.why.value
    if isinstance(error, QuotaSpent | Locked):
        found["retry_at"] = error.until
    if isinstance(error, Unavailable):
        found["retry_after_s"] = error.retry_after_s
    return found


def kind_of(error: BaseException) -> str:
    """Return one word for what went wrong."""
    if isinstance(error, VendorError):
        return error.state
    if isinstance(error, EnalysisError):
        return next((kind for known, kind in _KINDS if isinstance(error, known)), "failed")
    return "system" if isinstance(error, OSError) else "database"


def sentence_of(error: BaseException) -> str:
    """Return what happened and what to do, beginning with a capital and ending with a full stop."""
    if isinstance(error, VendorError):
        text = error.message
    elif isinstance(error, EnalysisError):
        text = str(error)
    elif isinstance(error, OSError):
        about = f" ({error.filename})" if isinstance(error.filename, str) else ""
        text = f"{error.strerror or log.scrub(str(error))}{about}"
    elif isinstance(error, bootstrap.AWAY):
        text = f"the database does not answer as it should: {_said(error)}. Start it, or correct DATABASE_URL"
    else:
        text = str(error)
    return as_sentence(text)


def _said(error: BaseException) -> str:
    """Return the first line of foreign words: what a driver says might repeat how a connection was made."""
    return log.scrub(str(error)).strip().partition("\n")[0].rstrip(".")


def iso(at: datetime | None) -> str:
    """Write an instant for people who compare it with a log: "2026-06-02 09:07 UTC"; None is a dash."""
    return "–" if at is None else f"{at:%Y-%m-%d %H:%M} UTC"
