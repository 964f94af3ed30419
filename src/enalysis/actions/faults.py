"""What a vendor's failures mean for a connection: its state, its sentence, and how long to wait."""

import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from enalysis.actions.grants import read_refusal
from enalysis.actions.vendors import Client
from enalysis.connectors.base import Spec, Subject
from enalysis.core.access import Scope
from enalysis.core.errors import (
    AppFault,
    BadPayload,
    GrantDead,
    Locked,
    LoginNeeded,
    QuotaSpent,
    Retired,
    Unavailable,
    VendorError,
    WaitingForVendor,
)
from enalysis.core.quotas import QuotaWindow
from enalysis.store import apps, connections, streams
from enalysis.store.apps import App
from enalysis.store.connections import Connection
from enalysis.store.pool import Database
from enalysis.store.streams import StreamRow

_log = logging.getLogger(__name__)

# One slot: a vendor that is away is asked again at least this often, so that recovery is seen within a slot.
_LONGEST_AWAY_S = 900
# A refused login, an app pending approval: asked again at most four times a day.
_HUMAN_PAUSE = timedelta(hours=6)
_DAY = timedelta(days=1)
_UNDECIDED = timedelta(minutes=2)
# Clocks further apart than this are a fault worth a person's time: windows are asked for by our clock.
CLOCK_OFF_S = 300


@dataclass(slots=True)
class Report:
    """How the streams of one batch fared, and why the rest of it was left.

    go_on_at: when the rest goes on after all, where looking again told; None: as `stopped` says.
    """

    ok: int = 0
    failed: list[tuple[StreamRow, VendorError]] = field(default_factory=list)
    intervals: int = 0
    samples: int = 0
    quarantined: int = 0
    stopped: VendorError | None = None
    resume_at: datetime | None = None


STOPS = (QuotaSpent, LoginNeeded, Retired, Locked, AppFault, WaitingForVendor)
"""What stops a batch: it would be the same for every other stream of the connection."""


def is_long(error: QuotaSpent) -> bool:
    """Tell whether a spent quota lasts so long that a person should know: a day or a month, not a minute."""
    return error.window in (None, QuotaWindow.DAY.value, QuotaWindow.MONTH.value)


def resume_at(error: VendorError, now: datetime, failures: int = 0) -> datetime:
    """Return when to ask again after a failure, with jitter so that failures do not march in step."""
    if isinstance(error, QuotaSpent | Locked) and error.until is not None:
        return error.until
    if isinstance(error, Locked):
        # A day where the vendor tells none: a call or a login before its end might prolong it.
        return now + _DAY
    spread = random.uniform(0.8, 1.2)  # noqa: S311 - spreads load, keeps no secret
    if isinstance(error, Unavailable):
        wanted = min(_LONGEST_AWAY_S, 60 * 2 ** min(failures, 8)) * spread
        if error.retry_after_s:
            # Never sooner than was asked for, and not all in the same second.
            wanted = error.retry_after_s * (spread + 0.2)
        return now + timedelta(seconds=wanted)
    if isinstance(error, BadPayload):
        return now + timedelta(seconds=min(21600, _LONGEST_AWAY_S * (failures + 1)) * spread)
    if isinstance(error, QuotaSpent):
        return now + timedelta(minutes=15) * spread
    # Only ever later: at most once a day, at most four times a day.
    return now + (_DAY if isinstance(error, Retired) else _HUMAN_PAUSE) * (1 + (spread - 0.8) / 8)


async def settle(
    scope: Scope,
    db: Database,
    connection: Connection,
    spec: Spec,
    client: Client,
    report: Report,
    now: datetime,
) -> None:
    """Decide the connection's state from how its streams fared, and say it once when it changes."""
    refused = next((e for _, e in report.failed if isinstance(e, LoginNeeded)), None)
    app = await _app_of(scope, db, connection)
    dead: VendorError | None = await _retired(client, report, now)
    if dead is None and refused is not None and await _refused_again(scope, db, client, spec, report, refused, now):
        dead = read_refusal(spec, spec.way(connection.way), app, refused)
    clock_ahead_s = client.http.clock_ahead_s
    async with db.org(scope) as conn:
        if app is not None and report.ok:
            await apps.note_app_ok(scope, conn, app.id, now)
        rows = await streams.list_streams(scope, conn, connection.id)
        state, sentence = _verdict(spec, connection, rows, report, dead, clock_ahead_s)
        if clock_ahead_s is not None:
            await connections.set_clock(scope, conn, connection.id, clock_ahead_s)
        until = _end_of(report, now) if state in _ENDING else None
        if until is None and state == connection.state == Locked.state:
            until = connection.state_until
        ok = report.ok > 0
        changed = await connections.set_state(scope, conn, connection.id, state, sentence, now, ok=ok, until=until)
        if changed:
            text = sentence or f"{connection.name} works"
            await connections.add_event(scope, conn, connection.id, None, state, text, now)
            level = logging.INFO if state == "healthy" else logging.WARNING
            _log.log(level, "connection %s (%s) is %s: %s", connection.id, connection.vendor, state, text)
        if changed and connection.state in streams.STOPPED and state not in streams.STOPPED:
            await streams.set_due(scope, conn, connection.id, now)
        at = until or report.resume_at
        if changed and state in streams.STOPPED and at is not None:
            # The one thing that is asked while it lasts, and not only when it would be due anyway.
            plain = [s.name for s in spec.streams if s.subject is Subject.CONNECTION]
            await streams.set_due_by_name(scope, conn, connection.id, "", plain, at, "to see whether it came back")


# States that end by themselves, at an hour that is kept with them.
_ENDING = (Locked.state, QuotaSpent.state)
NOT_IN_PLAN = "not_in_plan"


async def _app_of(scope: Scope, db: Database, connection: Connection) -> App | None:
    if connection.app_id is None:
        return None
    async with db.org(scope) as conn:
        return await apps.find_app(scope, conn, connection.app_id)


def _errors(report: Report) -> list[VendorError]:
    return [e for _, e in report.failed] or ([report.stopped] if report.stopped else [])


def _end_of(report: Report, now: datetime) -> datetime | None:
    """Return when what is wrong with the whole account ends."""
    return max((resume_at(e, now) for e in _errors(report) if isinstance(e, Locked | QuotaSpent)), default=None)


def _verdict(
    spec: Spec,
    connection: Connection,
    rows: Sequence[StreamRow],
    report: Report,
    dead: VendorError | None,
    clock_ahead_s: float | None,
) -> tuple[str, str | None]:
    if dead is not None:
        return dead.state, dead.message
    errors = _errors(report)
    for kind in (Locked, AppFault, WaitingForVendor, QuotaSpent):
        for error in errors:
            if isinstance(error, kind) and (not isinstance(error, QuotaSpent) or is_long(error)):
                return error.state, error.message
    serious = [e for e in errors if not isinstance(e, QuotaSpent | LoginNeeded | Retired)]
    if serious and not report.ok:
        return serious[0].state, serious[0].message
    broken = [r for r in rows if r.enabled and r.fault not in (None, NOT_IN_PLAN)]
    if broken:
        return "degraded", _half(spec, broken, len(rows))
    if clock_ahead_s is not None and abs(clock_ahead_s) > CLOCK_OFF_S:
        return "clock_off", _clock_sentence(spec, clock_ahead_s)
    if not report.ok:
        return connection.state, connection.fault
    return "healthy", _left_out(spec, [r for r in rows if r.enabled and r.fault == NOT_IN_PLAN])


def _left_out(spec: Spec, rows: Sequence[StreamRow]) -> str | None:
    """Say what the plan or the app's access does not include: known, no fault, and worth a word."""
    if not rows:
        return None
    labels = sorted({spec.stream(r.name).label for r in rows})
    return f"Collecting. Not in this plan or app at {spec.label}: {', '.join(labels)}."


def _half(spec: Spec, broken: Sequence[StreamRow], total: int) -> str:
    first = broken[0]
    label = spec.stream(first.name).label
    about = f" of site {first.subject}" if first.subject else ""
    return (
        f"{len(broken)} of {total} streams fail, first {label}{about}: {first.fault_text or first.fault}"
        " The others go on."
    )


def _clock_sentence(spec: Spec, ahead_s: float) -> str:
    side = "ahead of" if ahead_s > 0 else "behind"
    return (
        f"This computer's clock is {abs(ahead_s) / 60:.0f} min {side} {spec.label}'s. Set it (turn on network time):"
        " until then the newest values may be missing or late. Nothing is lost."
    )


async def _retired(client: Client, report: Report, now: datetime) -> Retired | None:
    """Return what says that the whole API is gone, not one endpoint of it: the plainest one and another say so."""
    told = {row.subject: error for row, error in report.failed if isinstance(error, Retired)}
    plain = told.pop("", None)
    if report.ok or not told:
        return None
    if plain is None:
        client.speak_for_people()
        try:
            await client.connector.discover(now)
        except Retired as error:
            plain = error
        except VendorError:
            # Not known as yet: the rest of the batch finds out.
            plain = None
    if plain is None:
        report.resume_at = now
    return plain


async def _refused_again(
    scope: Scope, db: Database, client: Client, spec: Spec, report: Report, refused: LoginNeeded, now: datetime
) -> bool:
    """Ask the plainest endpoint once more, renewing a refused token: only its refusal means the credential is dead.

    Where it answers, the refused streams are not in the vendor's plan and rest for a day. Where it cannot be
    asked now (no quota, vendor away), nothing is decided and they are asked again soon.
    """
    if isinstance(refused, GrantDead):
        return True
    client.speak_for_people()
    client.http.distrust()
    renewals = client.http.renewals
    try:
        await client.connector.discover(now)
    except LoginNeeded:
        return True
    except QuotaSpent as spent:
        fault, text, wait = None, None, spent.until or now + _UNDECIDED
        report.resume_at = wait
    except VendorError:
        fault, text, wait = None, None, now + _UNDECIDED
        report.resume_at = wait
    else:
        if client.http.renewals > renewals:
            # It was the token after all: with the new one the streams are asked again at once.
            report.resume_at = now
            await _decide(scope, db, report, now, None, None, now)
            return False
        fault, wait = NOT_IN_PLAN, now + _DAY
        # Streams of the batch whose turn had not come are not refused: they go on at once.
        report.resume_at = now
        text = f"{spec.label} refuses this kind of data to this credential; its plan may not include it."
    await _decide(scope, db, report, now, fault, text, wait)
    return False


async def _decide(
    scope: Scope, db: Database, report: Report, now: datetime, fault: str | None, text: str | None, wait: datetime
) -> None:
    """Write down what the refusals of a batch meant for their streams."""
    async with db.org(scope) as conn:
        for row, error in report.failed:
            if isinstance(error, LoginNeeded):
                await streams.set_polled(
                    scope, conn, row.id, now, ok=False, fault=fault, fault_text=text, wait_until=wait
                )
