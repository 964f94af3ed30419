"""`enalysis connection`: connect a vendor account, test it, watch what it does, disconnect it."""

import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import typer

from enalysis.actions import connections as actions
from enalysis.cli import credential, output
from enalysis.cli.quota import CHOSEN
from enalysis.cli.session import Organization, Session, pick, run, session
from enalysis.cli.vendor_app import app_for
from enalysis.connectors.base import Check
from enalysis.connectors.registry import CONNECTORS
from enalysis.core.errors import LoginNeeded, VendorError
from enalysis.queries.connections import connections
from enalysis.queries.shapes import ConnectionRow
from enalysis.runtime import Runtime
from enalysis.store.connections import Connection, find_connection, list_connections
from enalysis.web.formats import age, until
from enalysis.web.forms import check_words

LIST = "`enalysis connection list` shows them"
Which = Annotated[
    str | None,
    typer.Argument(metavar="CONNECTION", help="A saved connection: its name or id, or how either begins."),
]
Name = Annotated[str, typer.Option("--name", help="What to call it; the vendor's name if left out.")]
Saved = Annotated[str, typer.Argument(metavar="CONNECTION", help="Its name or id, or how either begins.")]
_VENDORS = ", ".join(
    f"{key} {w.key} ({', '.join(f.name for f in w.fields)})"
    for key, e in sorted(CONNECTORS.items())
    for w in e.spec.ways
    if w.fields
)

connection = typer.Typer(help="Connect vendor accounts, test them and watch them.", no_args_is_help=True)


@connection.command(help=f"Test a credential, seal it and save it. Vendors and their fields: {_VENDORS}.")
def add(
    vendor: credential.Vendor,
    *,
    name: Name = "",
    way: credential.WayKey = None,
    app: credential.AppKey = None,
    plan: credential.PlanKey = None,
    given: credential.Given = None,
    files: credential.Files = None,
    organization: Organization = None,
    as_json: output.AsJSON = False,
) -> None:
    """Test a credential inside its quota, say what it sees, seal and save it."""
    entered = credential.enter(vendor, way, plan, given, files)
    run(_add(entered, name, app, organization, as_json=as_json))


@connection.command("test")
def try_out(
    which: Which = None,
    *,
    vendor: Annotated[
        str | None, typer.Option("--vendor", metavar="VENDOR", help="Test a credential that is not saved.")
    ] = None,
    way: credential.WayKey = None,
    app: credential.AppKey = None,
    plan: credential.PlanKey = None,
    given: credential.Given = None,
    files: credential.Files = None,
    organization: Organization = None,
    as_json: output.AsJSON = False,
) -> None:
    """Ask the vendor whether a saved credential works, or one that is not saved; nothing is stored."""
    if vendor is None:
        if way or app or plan or given or files:
            raise typer.BadParameter("a saved connection brings its own credential and plan", param_hint="--vendor")
        run(_test_saved(which, organization, as_json=as_json))
        return
    if which is not None:
        raise typer.BadParameter("name a saved connection or a vendor, not both", param_hint="--vendor")
    entered = credential.enter(vendor, way, plan, given, files)
    run(_test_unsaved(entered, app, organization, as_json=as_json))


@connection.command("list")
def show(*, organization: Organization = None, as_json: output.AsJSON = False) -> None:
    """Show every connection: what it does, what it costs, how far its history has come, what it waits for."""
    run(_list(organization, as_json=as_json))


@connection.command()
def remove(
    which: Saved,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    organization: Organization = None,
    as_json: output.AsJSON = False,
) -> None:
    """Delete a connection with its credential and the readings it collected; its sites stay."""
    run(_remove(which, organization, yes=yes, as_json=as_json))


async def find(opened: Session, which: str | None) -> Connection:
    """Return the saved connection that is meant; None is the only one. Raises NotFound or Refused."""
    async with opened.db.org(opened.scope) as conn:
        known = await list_connections(opened.scope, conn)
        meant = pick("connection", [(each.id, each.name) for each in known], which, LIST)
        return await find_connection(opened.scope, conn, meant)


def answer(vendor: str, found: Check | None) -> dict[str, object]:
    """Return the answer to a test as every door gives it: W, Wh, null where the vendor gives nothing."""
    return {
        "success": found is not None,
        "vendor": vendor,
        "current_power_w": None if found is None else found.current_power_w,
        "energy_today_wh": None if found is None else found.energy_today_wh,
        "status": None if found is None else found.status,
        "last_update": None if found is None else found.last_update,
    }


async def _add(
    entered: credential.Entered, name: str, app: str | None, organization: str | None, *, as_json: bool
) -> None:
    async with session(organization) as opened:
        runtime = opened.runtime
        with output.busy(f"Testing the credential at {entered.spec.label}, and saving it"):
            made, found = await actions.add(
                opened.scope,
                opened.db,
                runtime.vendors,
                vendor=entered.spec.key,
                name=name,
                way=entered.way.key,
                plan=entered.plan,
                fields=entered.fields,
                app=await app_for(opened, entered.spec, entered.way, app),
                now=runtime.clock(),
            )
        async with opened.db.org(opened.scope) as conn:
            saved = await find_connection(opened.scope, conn, made)
    if as_json:
        output.document(
            {
                "sandbox": runtime.sandbox,
                "id": saved.id,
                "vendor": saved.vendor,
                "name": saved.name,
                "plan": saved.plan,
                "test": answer(entered.spec.key, found),
            }
        )
        return
    output.say(f"{entered.spec.label}: {_found(found, runtime)}.")
    plan = entered.way.plan(entered.plan).label
    output.say(
        f"Saved as {saved.name!r} ({str(saved.id)[:8]}), with the quota of plan {plan}.\n"
        "Next: `enalysis run` collects from it all the time, `enalysis collect` once."
    )


def _found(found: Check | None, runtime: Runtime) -> str:
    return "saved, and waiting for the vendor's approval" if found is None else in_words(found, runtime.clock())


async def _tested(opened: Session, entered: credential.Entered, app: str | None) -> Check:
    runtime = opened.runtime
    return await actions.test(
        opened.scope,
        opened.db,
        runtime.vendors,
        vendor=entered.spec.key,
        way=entered.way.key,
        app=await app_for(opened, entered.spec, entered.way, app),
        plan=entered.plan,
        fields=entered.fields,
        now=runtime.clock(),
    )


async def _test_saved(which: str | None, organization: str | None, *, as_json: bool) -> None:
    async with session(organization) as opened:
        runtime = opened.runtime
        saved = await find(opened, which)
        try:
            with output.busy(f"Testing {saved.name}"):
                found = await actions.test_saved(opened.scope, opened.db, runtime.vendors, saved.id, runtime.clock())
        except VendorError as error:
            _tell_refusal(saved.name, saved.vendor, error, f"reconnect {saved.id}", as_json=as_json)
            raise typer.Exit(output.FAILED) from None
        _tell_result(saved.name, saved.vendor, found, runtime.clock(), as_json=as_json)


async def _test_unsaved(
    entered: credential.Entered, app: str | None, organization: str | None, *, as_json: bool
) -> None:
    async with session(organization) as opened:
        try:
            with output.busy(f"Testing the credential at {entered.spec.label}"):
                found = await _tested(opened, entered, app)
        except VendorError as error:
            _tell_refusal(entered.spec.label, entered.spec.key, error, f"add {entered.spec.key}", as_json=as_json)
            raise typer.Exit(output.FAILED) from None
        _tell_result(entered.spec.label, entered.spec.key, found, opened.runtime.clock(), as_json=as_json)


def in_words(found: Check, now: datetime) -> str:
    """Say what a test found, with the vendor's own status."""
    told = check_words(found, age(found.last_update, now)).rstrip(".")
    return told if found.status is None else f"{told}; the vendor says {found.status}"


def _tell_result(name: str, vendor: str, found: Check, now: datetime, *, as_json: bool) -> None:
    if as_json:
        output.document(answer(vendor, found))
    else:
        output.say(f"{name} works: {in_words(found, now)}.")


def _tell_refusal(name: str, vendor: str, error: VendorError, mend: str, *, as_json: bool) -> None:
    if as_json:
        output.document(answer(vendor, None) | output.problem_of(error))
        return
    output.say(f"Error: {name}: {output.sentence_of(error)}")
    if isinstance(error, LoginNeeded):
        output.say(f"Next: correct the credential and give it with `enalysis connection {mend}`.")


async def _list(organization: str | None, *, as_json: bool) -> None:
    async with session(organization) as opened:
        runtime = opened.runtime
        now = runtime.clock()
        rows = await connections(opened.scope, opened.db, runtime.vendors.specs, now)
    if as_json:
        output.document({"sandbox": runtime.sandbox, "connections": rows})
        return
    if not rows:
        output.say("There is no connection yet. Next: `enalysis connection add VENDOR`.")
        return
    if runtime.sandbox:
        output.say("Sandbox: every vendor below is simulated.")
    _show(rows, now)


def _show(rows: Sequence[ConnectionRow], now: datetime) -> None:
    lines = [
        (
            f"{row.name}\n{str(row.id)[:8]}",
            f"{row.vendor_label}\n{row.plan_label}",
            f"{row.state.replace('_', ' ')}\n{row.sentence}",
            f"{row.sites:,}",
            f"{row.calls:,}",
            "\n".join(f"{q.taken:,} of {q.limit:,}{'*' if q.chosen else ''} a {q.window}" for q in row.quota),
            _history(row),
            age(row.last_ok_at, now),
            "–" if row.paused_at else until(row.next_at, now),
        )
        for row in rows
    ]
    numbers = ("Sites", "Calls")
    output.table(
        ("Connection", "Vendor", "State", *numbers, "Quota taken", "History", "Last ok", "Next call"),
        lines,
        right=numbers,
        whole=("Quota taken", "Last ok", "Next call"),
    )
    if any(each.chosen for row in rows for each in row.quota):
        output.say(CHOSEN)


def _history(row: ConnectionRow) -> str:
    asked, done = row.backfill.days_asked, row.backfill.days_done
    if not asked:
        return "–"
    share = f"{100 * done / asked:.0f} %"
    return share if row.backfill.next_at is None else f"{share}, goes on"


async def _remove(which: str, organization: str | None, *, yes: bool, as_json: bool) -> None:
    async with session(organization) as opened:
        meant = await find(opened, which)
        if not yes:
            confirm(f"This deletes the credential of {meant.name!r} and every reading that came through it.", "Remove")
        await actions.remove(opened.scope, opened.db, opened.runtime.vendors, meant.id, opened.runtime.clock())
    if as_json:
        output.document({"removed": meant.id, "name": meant.name})
    else:
        output.say(f"Removed {meant.name!r}: its credential and its readings are deleted. Its sites stay.")


def confirm(consequence: str, deed: str) -> None:
    """Ask once before something that cannot be undone. Raises BadParameter where nobody is here to be asked."""
    if not (sys.stdin.isatty() and output.people.is_terminal):
        raise typer.BadParameter("nobody is here to be asked: repeat it with --yes", param_hint="--yes")
    output.say(consequence)
    if output.people.input(f"{deed} it? Type yes: ").strip().lower() not in ("y", "yes"):
        output.say("Nothing was changed.")
        raise typer.Exit(output.FAILED)
