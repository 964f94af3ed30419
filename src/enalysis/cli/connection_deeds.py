"""`enalysis connection refresh`, `pause`, `resume`, `fetch`, `disconnect`: what is done with a saved connection."""

from typing import Annotated

import typer

from enalysis.actions import connections as actions
from enalysis.cli import output
from enalysis.cli.connection import Saved, confirm, find
from enalysis.cli.session import Organization, run, session


def refresh(which: Saved, *, organization: Organization = None, as_json: output.AsJSON = False) -> None:
    """Renew a connection's sign-in now and say when it ends."""
    run(_refresh(which, organization, as_json=as_json))


def pause(which: Saved, *, organization: Organization = None, as_json: output.AsJSON = False) -> None:
    """Ask the vendor nothing until it is resumed; the sign-in is kept alive."""
    run(_set_paused(which, organization, paused=True, as_json=as_json))


def resume(which: Saved, *, organization: Organization = None, as_json: output.AsJSON = False) -> None:
    """Go on collecting where it was paused."""
    run(_set_paused(which, organization, paused=False, as_json=as_json))


def fetch(which: Saved, *, organization: Organization = None, as_json: output.AsJSON = False) -> None:
    """Make everything of a connection due now, inside its quota; whoever collects fetches it."""
    run(_fetch(which, organization, as_json=as_json))


def disconnect(
    which: Saved,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    organization: Organization = None,
    as_json: output.AsJSON = False,
) -> None:
    """Wipe a connection's credential at once and have the vendor forget it; sites and readings stay."""
    run(_disconnect(which, organization, yes=yes, as_json=as_json))


async def _refresh(which: str, organization: str | None, *, as_json: bool) -> None:
    async with session(organization) as opened:
        meant = await find(opened, which)
        with output.busy(f"Renewing the sign-in of {meant.name}"):
            ends = await actions.refresh(
                opened.scope, opened.db, opened.runtime.vendors, meant.id, opened.runtime.clock()
            )
        now_held = await find(opened, str(meant.id))
    if as_json:
        lasts = {"expires_at": ends, "refresh_expires_at": now_held.refresh_expires_at}
        output.document({"connection": meant.id} | lasts)
    else:
        output.say(
            f"The sign-in of {meant.name!r} is renewed: its token lives until {output.iso(ends)}, and unless it is"
            f" renewed again it ends {output.iso(now_held.refresh_expires_at)}."
        )


async def _set_paused(which: str, organization: str | None, *, paused: bool, as_json: bool) -> None:
    async with session(organization) as opened:
        meant = await find(opened, which)
        act = actions.pause if paused else actions.resume
        await act(opened.scope, opened.db, meant.id, opened.runtime.clock())
    if as_json:
        output.document({"connection": meant.id, "paused": paused})
    else:
        output.say(f"{meant.name!r} is {'paused: nothing is asked of its vendor' if paused else 'resumed'}.")


async def _fetch(which: str, organization: str | None, *, as_json: bool) -> None:
    async with session(organization) as opened:
        meant = await find(opened, which)
        queued = await actions.poll_now(opened.scope, opened.db, meant.id, opened.runtime.clock())
    if as_json:
        output.document({"connection": meant.id, "queued": queued})
    else:
        output.say(
            f"{queued:,} fetches of {meant.name!r} are due now. `enalysis run` makes them as soon as the quota allows,"
            " `enalysis collect` at once."
        )


async def _disconnect(which: str, organization: str | None, *, yes: bool, as_json: bool) -> None:
    async with session(organization) as opened:
        meant = await find(opened, which)
        if not yes:
            confirm(f"This wipes the credential of {meant.name!r}. Sites and readings stay.", "Disconnect")
        told = await actions.disconnect(
            opened.scope, opened.db, opened.runtime.vendors, meant.id, opened.runtime.clock()
        )
    if as_json:
        output.document({"connection": meant.id, "revoked": told})
        return
    output.say(f"Disconnected {meant.name!r}: its credential is wiped here.")
    if not told:
        output.say("The vendor did not answer; it is told to forget the sign-in in the background.")
