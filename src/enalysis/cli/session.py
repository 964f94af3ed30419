"""Opens what a command works on: the database, the vendors, and one organization of those that are there."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar
from uuid import UUID

import typer

from enalysis.cli import output
from enalysis.config import load_settings
from enalysis.core.access import Scope, platform
from enalysis.core.errors import NotFound, Refused
from enalysis.runtime import Runtime, open_runtime
from enalysis.store import accounts
from enalysis.store.pool import Database

T = TypeVar("T")
_MOST_NAMED = 12

Organization = Annotated[
    str | None,
    typer.Option("--organization", metavar="NAME", help="Which organization, where there are several."),
]


@dataclass(frozen=True, slots=True)
class Session:
    """An open runtime and the organization a command acts in; whoever runs commands may do all there."""

    runtime: Runtime
    scope: Scope
    organization: str

    @property
    def db(self) -> Database:
        """Return the database."""
        return self.runtime.db


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's work to its end; Ctrl-C unwinds it first and then raises KeyboardInterrupt."""
    return asyncio.run(work)


@asynccontextmanager
async def opened() -> AsyncIterator[Runtime]:
    """Open the runtime that the settings describe. Raises ConfigError or EmbeddedError."""
    settings = load_settings()
    output.configure_log(settings)
    async with AsyncExitStack() as stack:
        with output.busy("Opening the database"):
            runtime = await stack.enter_async_context(open_runtime(settings))
        yield runtime


@asynccontextmanager
async def session(organization: str | None) -> AsyncIterator[Session]:
    """Open the runtime and pick an organization: the only one, or the one named.

    Raises: NotFound: there is none yet, or none of that name. Refused: there are several and none was named.
    """
    async with opened() as runtime:
        found = await _organizations(runtime.db)
        if not found:
            msg = (
                "no organization is set up yet: run `enalysis run`, open"
                f" {runtime.settings.public_url} and set one up there"
            )
            raise NotFound(msg)
        which = pick("organization", found.items(), organization, "--organization")
        yield Session(runtime, platform(which), found[which])


def pick(what: str, known: Iterable[tuple[UUID, str]], wanted: str | None, where: str) -> UUID:
    """Return which of the known is meant: by its id, its name, or how either begins; None is the only one.

    Args: what: the noun. where: how to list or to name them.
    Raises: NotFound: none fits. Refused: several do.
    """
    names = dict(known)
    if wanted is None:
        fitting = list(names)
    else:
        text = wanted.strip().casefold()
        exact = [i for i, name in names.items() if text in (str(i), name.casefold())]
        fitting = exact or [i for i, name in names.items() if text and (_begins(str(i), text) or _begins(name, text))]
    if len(fitting) == 1:
        return fitting[0]
    listed = ", ".join(repr(name) for name in list(names.values())[:_MOST_NAMED])
    more = "" if len(names) <= _MOST_NAMED else f" and {len(names) - _MOST_NAMED} more"
    if fitting:
        chosen = ", ".join(f"{names[i]!r} ({str(i)[:8]})" for i in fitting[:_MOST_NAMED])
        msg = f"there are several {what}s this may mean: {chosen}; name one in full or by its id ({where})"
        raise Refused(msg)
    if not names:
        msg = f"there is no {what} yet ({where})"
        raise NotFound(msg)
    msg = f"no {what} begins with {(wanted or '')[:60]!r}; there are: {listed}{more} ({where})"
    raise NotFound(msg)


def _begins(text: str, wanted: str) -> bool:
    return text.casefold().startswith(wanted)


async def _organizations(db: Database) -> dict[UUID, str]:
    """Return every organization that has a member, oldest first.

    The app's login sees one organization at a time, so they are found through the people in them.
    """
    async with db.world() as conn:
        people = await accounts.list_users(conn)
    found: dict[UUID, str] = {}
    for user in people:
        async with db.user(user) as conn:
            memberships = await accounts.list_memberships(conn, user)
        for identifier, _ in memberships:
            if identifier not in found:
                scope = platform(identifier)
                async with db.org(scope) as conn:
                    found[identifier] = await accounts.organization_name(scope, conn)
    return found
