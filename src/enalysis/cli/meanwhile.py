"""`enalysis connection meanwhile`: simulated sites while a connection waits for its vendor."""

from typing import Annotated

import typer

from enalysis.actions import meanwhile as actions
from enalysis.cli import output
from enalysis.cli.connection import find
from enalysis.cli.session import Organization, run, session
from enalysis.web.formats import count


def meanwhile(
    which: Annotated[str, typer.Argument(metavar="CONNECTION", help="Its name or id, or how either begins.")],
    *,
    ended: Annotated[bool, typer.Option("--end", help="Delete the simulated sites instead.")] = False,
    organization: Organization = None,
    as_json: output.AsJSON = False,
) -> None:
    """Show simulated sites while a connection waits for its vendor's approval; real data ends it by itself."""
    run(_end(which, organization, as_json=as_json) if ended else _begin(which, organization, as_json=as_json))


async def _begin(which: str, organization: str | None, *, as_json: bool) -> None:
    async with session(organization) as opened:
        meant, runtime = await find(opened, which), opened.runtime
        twin = await actions.begin(opened.scope, opened.db, runtime.vendors, meant.id, runtime.clock())
    if as_json:
        output.document({"sandbox": True, "id": twin, "twin_of": meant.id})
    else:
        output.say(
            f"{meant.name} waits on; simulated sites come meanwhile, marked everywhere and counted in no total.\n"
            "Next: `enalysis run` fills them; `--end` deletes them."
        )


async def _end(which: str, organization: str | None, *, as_json: bool) -> None:
    async with session(organization) as opened:
        meant, runtime = await find(opened, which), opened.runtime
        gone = await actions.end(opened.scope, opened.db, runtime.vendors, meant.id, runtime.clock())
    if as_json:
        output.document({"sandbox": True, "sites": gone})
    else:
        output.say(f"{count(gone, 'simulated site')} deleted, with everything in them.")
