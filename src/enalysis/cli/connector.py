"""`enalysis connector`: try a vendor's connector live, without saving anything but what it spent."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Final
from uuid import UUID

import typer

from enalysis.actions import connections as actions
from enalysis.actions.vendors import Login
from enalysis.cli import credential, output
from enalysis.cli.connection import answer, in_words
from enalysis.cli.session import opened, run
from enalysis.connectors.base import Batch, Connector, FoundDevice, FoundSite, Subject
from enalysis.core.access import platform
from enalysis.core.intervals import Window
from enalysis.core.readings import Interval, Sample
from enalysis.runtime import Runtime
from enalysis.store import quotas
from enalysis.web.formats import count

# These calls are made for nobody's organization; the vendor account's quota counts them all the same.
_NOBODY: Final = platform(UUID(int=0))
_MOST_ROWS: Final = 40
_TIMES: Final = ["%Y-%m-%dT%H:%M", "%Y-%m-%d"]

connector = typer.Typer(
    help="Try a vendor live: check a credential, list its sites, fetch a stream. Nothing is saved.",
    no_args_is_help=True,
)


@connector.command()
def check(
    vendor: credential.Vendor,
    *,
    way: credential.WayKey = None,
    plan: credential.PlanKey = None,
    given: credential.Given = None,
    files: credential.Files = None,
    as_json: output.AsJSON = False,
) -> None:
    """Prove a credential with as few calls as that takes."""
    run(_check(credential.enter(vendor, way, plan, given, files), as_json=as_json))


@connector.command()
def discover(
    vendor: credential.Vendor,
    *,
    way: credential.WayKey = None,
    plan: credential.PlanKey = None,
    given: credential.Given = None,
    files: credential.Files = None,
    as_json: output.AsJSON = False,
) -> None:
    """List every site that the credential may read."""
    run(_discover(credential.enter(vendor, way, plan, given, files), as_json=as_json))


@connector.command()
def fetch(
    vendor: credential.Vendor,
    stream: Annotated[str, typer.Argument(metavar="STREAM", help="The stream's name; a wrong one lists them.")],
    *,
    subject: Annotated[
        str,
        typer.Option("--subject", metavar="REF", help="The vendor's reference of a site; `discover` lists them."),
    ] = "",
    start: Annotated[
        datetime | None,
        typer.Option(
            "--start",
            formats=_TIMES,
            metavar="UTC",
            help="First instant; the connector's choice if left out.",
        ),
    ] = None,
    end: Annotated[
        datetime | None,
        typer.Option("--end", formats=_TIMES, metavar="UTC", help="End of the range; now if left out."),
    ] = None,
    way: credential.WayKey = None,
    plan: credential.PlanKey = None,
    given: credential.Given = None,
    files: credential.Files = None,
    as_json: output.AsJSON = False,
) -> None:
    """Fetch one stream as a poll would, and show what came of it: in W, Wh, % and UTC."""
    spec = credential.find_spec(vendor)
    known = {each.name: each for each in spec.streams}
    if stream not in known:
        raise typer.BadParameter(f"{spec.label} has the streams {', '.join(known)}", param_hint="STREAM")
    if not subject and known[stream].subject is Subject.SITE:
        raise typer.BadParameter("this stream is asked for one site at a time", param_hint="--subject")
    if end is not None and start is None:
        raise typer.BadParameter("an end needs a start", param_hint="--start")
    begin, until = (None if each is None else each.replace(tzinfo=UTC) for each in (start, end))
    if begin is not None and until is not None and until <= begin:
        raise typer.BadParameter("the end must come after the start", param_hint="--end")
    trial = credential.enter(vendor, way, plan, given, files)
    run(_fetch(trial, stream, subject, begin, until, as_json=as_json))


async def _check(trial: credential.Entered, *, as_json: bool) -> None:
    async with opened() as runtime:
        with output.busy(f"Asking {trial.spec.label}"):
            found = await actions.test(
                _NOBODY,
                runtime.db,
                runtime.vendors,
                vendor=trial.spec.key,
                way=trial.way.key,
                app=None,
                plan=trial.plan,
                fields=trial.fields,
                now=runtime.clock(),
            )
    if as_json:
        output.document(answer(trial.spec.key, found) | {"sandbox": runtime.sandbox, "sites": found.sites})
    else:
        output.say(f"{trial.spec.label}: {in_words(found, runtime.clock())}.")


async def _discover(trial: credential.Entered, *, as_json: bool) -> None:
    async with opened() as runtime, _client(runtime, trial) as client:
        found = await client.discover(runtime.clock())
    if as_json:
        output.document({"sandbox": runtime.sandbox, "vendor": trial.spec.key, "sites": found})
        return
    _show_sites(found)
    output.say(f"{count(len(found), 'site')} at {trial.spec.label}.")


async def _fetch(
    trial: credential.Entered, stream: str, subject: str, start: datetime | None, end: datetime | None, *, as_json: bool
) -> None:
    async with opened() as runtime:
        now = runtime.clock()
        if start is not None and start >= now:
            raise typer.BadParameter("the start must lie in the past", param_hint="--start")
        window = None if start is None else Window(start, min(end or now, now))
        async with _client(runtime, trial) as client:
            found = await client.fetch(stream, subject, window, now)
    if as_json:
        output.document(
            {
                "sandbox": runtime.sandbox,
                "vendor": trial.spec.key,
                "stream": stream,
                "subject": subject,
                "batch": found,
            }
        )
    else:
        _show_batch(found)


@asynccontextmanager
async def _client(runtime: Runtime, trial: credential.Entered) -> AsyncIterator[Connector]:
    """Open a client whose calls count against the account's quota like everybody's."""
    vendors, key = runtime.vendors, trial.spec.key
    account = vendors.account(key, trial.fields)
    async with runtime.db.world() as conn:
        if not await quotas.declared(conn, account):
            await quotas.declare(conn, account, trial.way.plan(trial.plan).quotas)
    with output.busy(f"Asking {trial.spec.label}"):
        async with vendors.draft(_NOBODY, Login(trial.spec, trial.way, account, trial.fields)) as client:
            yield client


def _show_batch(found: Batch) -> None:
    if found.sites is not None:
        _show_sites(found.sites)
    if found.devices is not None:
        _show_devices(found.devices)
    _show_readings(found.samples, found.intervals)
    for each in found.rejected[:_MOST_ROWS]:
        output.say(f"Rejected: {each.device} {each.metric} at {output.iso(each.at)}: {each.reason}")
    told = [count(len(found.samples), "sample"), count(len(found.intervals), "interval")]
    told.append(f"{len(found.rejected):,} rejected")
    if found.answered is not None:
        told.append(f"the answer speaks of {output.iso(found.answered.start)} to {output.iso(found.answered.end)}")
    output.say(f"{', '.join(told)}.")


def _show_sites(found: Sequence[FoundSite]) -> None:
    lines = [
        (
            each.ref,
            each.name,
            each.zone or "–",
            "–" if each.capacity_wp is None else f"{each.capacity_wp:,.0f}",
            "yes" if each.active else "no",
        )
        for each in found[:_MOST_ROWS]
    ]
    output.table(("Reference", "Site", "Zone", "Capacity, Wp", "Active"), lines, right=("Capacity, Wp",))
    _tell_rest(len(found))


def _show_devices(found: Sequence[FoundDevice]) -> None:
    lines = [
        (each.ref, each.kind.value, each.name, each.parent or "–", ", ".join(sorted(each.feeds)) or "–")
        for each in found[:_MOST_ROWS]
    ]
    output.table(("Reference", "Kind", "Device", "Part of", "Measures"), lines)
    _tell_rest(len(found))


def _show_readings(samples: Sequence[Sample], intervals: Sequence[Interval]) -> None:
    lines = [(output.iso(each.at), "now", each.device, _values(each)) for each in samples[-_MOST_ROWS:]]
    lines += [
        (output.iso(each.start), f"{each.duration_s:,} s", each.device, _values(each))
        for each in intervals[-_MOST_ROWS:]
    ]
    if lines:
        output.table(("From", "For", "Device", "Values"), lines)
        _tell_rest(max(len(samples), len(intervals)))


def _values(reading: Sample | Interval) -> str:
    return ", ".join(f"{metric.value} {value:,.10g}" for metric, value in reading.values.items())


def _tell_rest(number: int) -> None:
    if number > _MOST_ROWS:
        output.say(f"{_MOST_ROWS} of {number:,} are shown; --json shows all.")
