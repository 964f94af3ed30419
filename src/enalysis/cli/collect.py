"""`enalysis collect`: fetch what is due now, in this process, inside every quota."""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated, Final

import typer
from rich.progress import Progress, TaskID

from enalysis.actions import poll
from enalysis.actions.collect import Tally
from enalysis.cli import output
from enalysis.cli.connection import LIST
from enalysis.cli.session import Organization, Session, pick, run, session
from enalysis.core.errors import EnalysisError, QuotaSpent, VendorError
from enalysis.store import bootstrap, streams
from enalysis.store.connections import Connection, list_connections
from enalysis.store.streams import StreamRow
from enalysis.web.formats import count

# So many streams are asked between two steps of the progress bar.
_STEP: Final = 10
# Accounts that are asked at the same time; each has its own vendor, quota and credential.
_AT_ONCE: Final = 4
# --wait waits for a quota of a minute to turn, not for one of a day or a month.
_LONGEST_WAIT: Final = timedelta(minutes=5)
# An account that was refused or whose API is gone is only asked for its list of sites, as by the planner.
_ONLY_ITS_SITES: Final = ("reauth_required", "vendor_api_retired")
# What may end one connection's turn and leaves the others theirs.
_ENDS_A_TURN: Final[tuple[type[Exception], ...]] = (EnalysisError, *bootstrap.AWAY)


@dataclass(slots=True, kw_only=True)
class Outcome(Tally):
    """How a connection fared; `wanted` are the streams that were due, `open` those nobody could ask yet."""

    connection: Connection
    wanted: set[int] = field(default_factory=set)
    open: set[int] = field(default_factory=set)


def collect(
    *,
    connection: Annotated[
        str | None,
        typer.Option("--connection", metavar="NAME", help="Only this one: its name or id, or how either begins."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Ask every stream, due or not.")] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for quotas of a minute to turn, until nothing due is left.")
    ] = False,
    organization: Organization = None,
    as_json: output.AsJSON = False,
) -> None:
    """Fetch what is due now, in this process and inside every quota; `enalysis run` does so all the time.

    One connection that fails never stops the others, and single failures leave the exit code at 0.
    """
    run(_collect(connection, organization, everything=everything, wait=wait, as_json=as_json))


async def _collect(
    connection: str | None, organization: str | None, *, everything: bool, wait: bool, as_json: bool
) -> None:
    async with session(organization) as opened:
        async with opened.db.org(opened.scope) as conn:
            found = await list_connections(opened.scope, conn)
        if connection is not None:
            meant = pick("connection", [(each.id, each.name) for each in found], connection, LIST)
            found = [each for each in found if each.id == meant]
        outcomes = [Outcome(connection=each) for each in found]
        with output.progress() as bars:
            turns = asyncio.Semaphore(_AT_ONCE)

            async def one(outcome: Outcome) -> None:
                async with turns:
                    rounds = _Rounds(opened, outcome, bars, everything=everything, wait=wait)
                    await rounds.run()

            async with asyncio.TaskGroup() as group:
                for outcome in outcomes:
                    group.create_task(one(outcome))
    if as_json:
        output.document(_document(outcomes))
    else:
        _show(outcomes)


class _Rounds:
    """Asks what is due of one connection, then what that brought to light, until nothing due is left."""

    def __init__(self, opened: Session, outcome: Outcome, bars: Progress, *, everything: bool, wait: bool) -> None:
        self._opened, self._outcome, self._bars = opened, outcome, bars
        self._everything, self._wait = everything, wait
        self._began = opened.runtime.clock()

    async def run(self) -> None:
        """Ask; whatever fails is written down in the outcome, and nothing is raised but a stop."""
        outcome = self._outcome
        if outcome.connection.paused_at is not None:
            outcome.why = "Paused: nothing is collected until it is resumed."
            return
        bar = self._bars.add_task(output.visible(outcome.connection.name), total=None)
        try:
            await self._rounds(bar)
        except _ENDS_A_TURN as error:
            outcome.failures.append(output.sentence_of(error))
        # What is left is counted at the end, also after a failure in the middle.
        with contextlib.suppress(*_ENDS_A_TURN):
            await self._pending(bar)

    async def _rounds(self, bar: TaskID) -> None:
        before: set[int] = set()
        while pending := await self._pending(bar):
            if self._outcome.open == before:
                # Asked, and not a word about any of them: asking once more would not end.
                return
            before = set(self._outcome.open)
            stopped = await self._ask(pending, bar)
            if stopped is not None:
                if not await self._waited(stopped):
                    return
                before = set()

    async def _pending(self, bar: TaskID) -> list[StreamRow]:
        """Return the streams that are due, or were when we began, and have not been asked since."""
        runtime, scope, outcome = self._opened.runtime, self._opened.scope, self._outcome
        async with runtime.db.org(scope) as conn:
            rows = await streams.list_streams(scope, conn, outcome.connection.id)
        now = runtime.clock()
        rows = [r for r in rows if r.enabled and self._is_ours(r)]
        first = not outcome.wanted
        outcome.wanted |= {r.id for r in rows if r.next_at <= now or (first and self._everything)}
        pending = [r for r in rows if r.id in outcome.wanted and not self._asked(r)]
        outcome.open = {r.id for r in pending}
        if not outcome.wanted:
            due = min((r.next_at for r in rows), default=None)
            outcome.why = f"Nothing is due before {output.iso(due)}." if due else "It has no streams yet."
        done = len(outcome.wanted) - len(pending)
        self._bars.update(bar, total=len(outcome.wanted), completed=done)
        # What was never asked comes first and in the order of discovery: the rest hangs on it.
        return sorted(pending, key=lambda r: (r.polled_at is not None, r.polled_at or now, r.id))

    async def _ask(self, pending: Sequence[StreamRow], bar: TaskID) -> VendorError | None:
        """Ask the streams in steps; return why the rest of them was left, if it was."""
        opened, outcome = self._opened, self._outcome
        for at in range(0, len(pending), _STEP):
            step = [row.id for row in pending[at : at + _STEP]]
            report = await poll.poll(opened.scope, opened.runtime.deps, outcome.connection.id, step)
            outcome.note(report)
            self._bars.advance(bar, len(step))
            if report.stopped is not None:
                return report.stopped
        return None

    async def _waited(self, stopped: VendorError) -> bool:
        """Wait with --wait until a short quota turns; False where nobody may or need wait."""
        if not self._wait or not isinstance(stopped, QuotaSpent) or stopped.until is None:
            return False
        left = stopped.until - self._opened.runtime.clock()
        if left > _LONGEST_WAIT:
            return False
        await asyncio.sleep(max(1.0, left.total_seconds()))
        return True

    def _asked(self, row: StreamRow) -> bool:
        return row.polled_at is not None and row.polled_at >= self._began

    def _is_ours(self, row: StreamRow) -> bool:
        return row.subject == "" or self._outcome.connection.state not in _ONLY_ITS_SITES


def _document(outcomes: Sequence[Outcome]) -> dict[str, object]:
    return {
        "results": [
            {
                "sourceId": each.connection.id,
                "vendor": each.connection.vendor,
                "status": each.status,
                "error": each.error,
            }
            for each in outcomes
        ],
        "remaining": sum(len(each.open) for each in outcomes),
    }


def _show(outcomes: Sequence[Outcome]) -> None:
    if not outcomes:
        output.say("There is no connection yet. Next: `enalysis connection add VENDOR`.")
        return
    numbers = ("Asked", "New values", "Left")
    lines = [
        (
            each.connection.name,
            each.status,
            f"{len(each.wanted) - len(each.open):,}",
            f"{each.samples + each.intervals:,}",
            f"{len(each.open):,}",
            each.error or (each.held.message if each.held is not None and each.open else ""),
        )
        for each in outcomes
    ]
    output.table(("Connection", "Result", *numbers, "What is"), lines, right=numbers)
    left = sum(len(each.open) for each in outcomes)
    if left:
        output.say(f"{count(left, 'stream')} will follow when a quota turns or the vendor answers again.")
