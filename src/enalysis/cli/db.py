"""`enalysis db`: the version of the database's schema, and bringing it up to date."""

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import typer

from enalysis import log
from enalysis.cli import output
from enalysis.cli.session import run
from enalysis.config import Settings, load_settings
from enalysis.core.errors import ConfigError
from enalysis.runtime import make_own_logins, open_runtime, own_addresses
from enalysis.store import bootstrap, migrate
from enalysis.store.embedded import EmbeddedServer

db = typer.Typer(help="Look at the database's schema, and bring it up to date.", no_args_is_help=True)


@db.command("migrate")
def bring_up(*, as_json: output.AsJSON = False) -> None:
    """Bring the schema to the version this release needs.

    A database of your own is migrated with DATABASE_OWNER_URL, which nothing else needs; the embedded one is
    also migrated whenever it is opened.
    """
    settings = _settings()
    with output.busy("Bringing the schema up to date"):
        before, after = _migrate_own(settings) if settings.database_url else _migrate_embedded(settings)
    if as_json:
        output.document({"before": before, "after": after, "database": place(settings)})
    elif before == after:
        output.say(f"The schema is at version {after}, which is the newest. Nothing was changed.")
    else:
        output.say(f"The schema went from version {before or 'none'} to {after}.")


@db.command()
def status(*, as_json: output.AsJSON = False) -> None:
    """Show where the database is, the version of its schema, and the version this release needs."""
    settings = _settings()
    needed = migrate.newest()
    with output.busy("Asking the database"):
        reach = settings.database_owner_url or settings.database_url
        found = migrate.current(reach) if reach else _embedded_version(settings)
    if as_json:
        output.document({"database": place(settings), "version": found, "needed": needed, "current": found == needed})
        return
    output.say(f"Database: {place(settings)}\nSchema: {found or 'none yet'}; this release needs {needed}.")
    if found != needed:
        output.say("Next: `enalysis db migrate`.")


def place(settings: Settings) -> str:
    """Say where the database is: host, port and name, or the folder of the embedded one; never a login."""
    if settings.database_url is None:
        return f"embedded in {_folder(settings)}"
    parts = urlsplit(settings.database_url)
    # A socket's folder stands after the question mark, where a host name cannot.
    hosts = parts.netloc.rpartition("@")[2] or parse_qs(parts.query).get("host", ["this machine"])[0]
    return f"{hosts}{parts.path}"


def _settings() -> Settings:
    settings = load_settings()
    output.configure_log(settings)
    for value in settings.secret_values():
        log.register_secret(value)
    return settings


def _migrate_own(settings: Settings) -> tuple[str | None, str]:
    if settings.database_owner_url is None:
        msg = "the owner's login migrates a database of your own: set DATABASE_OWNER_URL, and try again"
        raise ConfigError(msg)
    make_own_logins(own_addresses(settings))
    before = migrate.current(settings.database_owner_url)
    return before, migrate.upgrade(settings.database_owner_url)


def _migrate_embedded(settings: Settings) -> tuple[str | None, str]:
    before = _embedded_version(settings)

    async def bring_up_all() -> None:
        # Opening the embedded database makes its logins and migrates it.
        async with open_runtime(settings):
            pass

    run(bring_up_all())
    return before, migrate.newest()


def _folder(settings: Settings) -> Path:
    return settings.enalysis_home / "postgres"


def _embedded_version(settings: Settings) -> str | None:
    """Return the embedded database's version without changing it; None where there is no database yet."""
    if not _folder(settings).is_dir():
        return None
    with EmbeddedServer(_folder(settings), binaries_folder=settings.postgres_bin_dir) as server:
        try:
            # Of two names in a connection string the later one counts.
            return migrate.current(f"{server.admin_conninfo} dbname={bootstrap.DATABASE}")
        except bootstrap.AWAY:
            # The server runs, so what is missing is the database in it.
            return None
