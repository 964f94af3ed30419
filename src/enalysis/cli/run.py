"""`enalysis run`: everything in one process, PostgreSQL included."""

import asyncio
import contextlib
import os
from pathlib import Path

import typer

from enalysis import log
from enalysis.actions import accounts
from enalysis.cli.serving import serve
from enalysis.config import Settings, load_settings, write_env
from enalysis.core.errors import Refused
from enalysis.runtime import Runtime, open_runtime


def run() -> None:
    """Serve the pages and collect, with an embedded PostgreSQL unless DATABASE_URL is set.

    Where nothing is set up yet, fresh keys are written to .env first.
    """
    if not any(os.environ.get(name) for name in ("ENCRYPTION_KEY", "ENCRYPTION_KEY_FILE")):
        with contextlib.suppress(Refused):
            typer.echo(f"Wrote fresh keys to {write_env(Path.cwd())}; keep a copy apart from the database.", err=True)
    settings = load_settings()
    log.configure(settings.log_level, settings.log_format)
    asyncio.run(_run(settings, web=True, work=True))


def web() -> None:
    """Serve the pages and the API only; `enalysis worker` collects."""
    settings = load_settings()
    log.configure(settings.log_level, settings.log_format)
    asyncio.run(_run(settings, web=True, work=False))


def worker() -> None:
    """Plan and collect only; as many of these as you like over one PostgreSQL."""
    settings = load_settings()
    log.configure(settings.log_level, settings.log_format)
    asyncio.run(_run(settings, web=False, work=True))


async def _run(settings: Settings, *, web: bool, work: bool) -> None:
    async with open_runtime(settings) as runtime:
        await serve(runtime, web=web, work=work, announce=say_where)


async def say_where(runtime: Runtime) -> None:
    """Say the address on the console, and on a first start the one-time secret that setup asks for."""
    typer.echo(f"Enalysis: {runtime.settings.public_url}", err=True)
    for notice in runtime.settings.notices:
        typer.echo(notice, err=True)
    secret = await accounts.begin_setup(runtime.db)
    if secret is not None:
        typer.echo(f"First run: open {runtime.settings.public_url}/setup and enter this secret: {secret}", err=True)
