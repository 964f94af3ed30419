"""`enalysis demo`: simulated vendors, a seeded organization, collection live, in one command."""

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import httpx2
import typer
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from enalysis import log
from enalysis.actions import accounts, connections
from enalysis.cli.demo_owner import Owner
from enalysis.cli.serving import catch_signals, http
from enalysis.config import Settings, load_settings, write_env
from enalysis.core.access import Scope
from enalysis.core.errors import EnalysisError
from enalysis.jobs import run_worker
from enalysis.queries.connections import connections as list_connections
from enalysis.queries.fleet import fleet
from enalysis.queries.progress import Progress, progress
from enalysis.queries.shapes import ConnectionRow
from enalysis.runtime import Runtime, open_runtime
from enalysis.sandbox import Child
from enalysis.store.connections import find_connection

_EMAIL = "demo@enalysis.example"
_GIVE_UP_S = 170.0
_LOOK_S = 1.0
_OLD_ENOUGH = timedelta(seconds=35)
# These accounts of the sandbox work at first; then key or consent is withdrawn, to show what that looks like.
_REVOKED = "lapsed"
# Tokens of this one live so short that one is renewed while somebody watches.
_EXPIRING = "expiring"
_EXPECTED = {_REVOKED: "reauth_required", "pending": "waiting_for_vendor"}


@dataclass(slots=True)
class _Demo:
    """What the demo knows of its own run."""

    runtime: Runtime
    sandbox: Mapping[str, Any]
    scope: Scope
    console: Console
    began: float
    expected: dict[UUID, str] = field(default_factory=dict)
    sandbox_keys: dict[UUID, str] = field(default_factory=dict)
    sites: dict[UUID, int] = field(default_factory=dict)
    revoked: set[UUID] = field(default_factory=set)
    renewed: set[UUID] = field(default_factory=set)
    nudged: set[UUID] = field(default_factory=set)
    first_reading_s: float | None = None
    errors: list[str] = field(default_factory=list)


def demo(
    *,
    leave: Annotated[
        bool, typer.Option("--exit", help="End once every stream was asked and history is in or waits.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON document on standard output; the rest on standard error.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Which make-believe weather and households.")] = 1,
    port: Annotated[int, typer.Option(help="TCP port of the pages; the next free one is taken.")] = 3000,
) -> None:
    """Try Enalysis: simulated vendors, sites in many zones, and connections broken on purpose.

    Everything lives in a temporary folder that is removed at the end.
    """
    home = Path(tempfile.mkdtemp(prefix="enalysis-demo-"))
    try:
        code = asyncio.run(_demo(home, seed, _free_port(port), leave=leave, as_json=as_json))
    finally:
        shutil.rmtree(home, ignore_errors=True)
    raise typer.Exit(code)


async def _demo(home: Path, seed: int, port: int, *, leave: bool, as_json: bool) -> int:
    began = time.monotonic()
    console = Console(stderr=True)
    async with _sandbox(seed) as sandbox:
        settings = _settings(home, port, sandbox["url"])
        log.configure("warning" if console.is_terminal else settings.log_level, settings.log_format)
        async with open_runtime(settings) as runtime, http(runtime):
            password = secrets.token_urlsafe(12)
            scope = await _seed_organization(runtime, password)
            demo = _Demo(runtime, sandbox, scope, console, began)
            _welcome(demo, password)
            stop = asyncio.Event()
            with catch_signals(stop):
                working = asyncio.create_task(run_worker(runtime))
                try:
                    await _connect_all(demo)
                    await _watch(demo, stop, leave=leave)
                    if not leave:
                        console.print("Collecting goes on. Ctrl-C ends the demo and removes its data.")
                        await stop.wait()
                finally:
                    working.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await working
            summary = await _summary(demo)
            if as_json:
                print(json.dumps(summary))  # noqa: T201 - the document this option asks for
            right = all(c["state"] == c["expected_state"] for c in summary["connections"])
            return 0 if right and not demo.errors else 1


@asynccontextmanager
async def _sandbox(seed: int) -> AsyncIterator[Mapping[str, Any]]:
    """Run the simulated vendors as a child process that ends with us, however we end."""
    child = await Child.start(seed)
    try:
        yield child.told
    finally:
        await child.end()


def _settings(home: Path, port: int, sandbox_url: str) -> Settings:
    """Return settings of the demo's own: fresh keys, a folder of its own, nothing of the environment's database."""
    write_env(home)
    environ = {
        "ENALYSIS_HOME": str(home),
        "SANDBOX_URL": sandbox_url,
        "PORT": str(port),
        "PUBLIC_URL": f"http://localhost:{port}",
        "LOG_LEVEL": os.environ.get("LOG_LEVEL", "warning"),
    }
    if os.environ.get("POSTGRES_BIN_DIR"):
        environ["POSTGRES_BIN_DIR"] = os.environ["POSTGRES_BIN_DIR"]
    return load_settings(environ, home)


def _free_port(wanted: int) -> int:
    for port in range(wanted, wanted + 50):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
    msg = f"no free TCP port between {wanted} and {wanted + 50}; name one with --port"
    raise EnalysisError(msg)


async def _seed_organization(runtime: Runtime, password: str) -> Scope:
    secret = await accounts.begin_setup(runtime.db)
    token = await accounts.set_up(
        runtime.db,
        runtime.keyring,
        secret=secret or "",
        organization="Sunny Side Energy",
        name="Demo Owner",
        email=_EMAIL,
        password=password,
        now=runtime.clock(),
    )
    person = await accounts.who(runtime.db, token, runtime.clock())
    await accounts.sign_out(runtime.db, token)
    if person is None:
        msg = "the demo's own account did not come up"
        raise EnalysisError(msg)
    return person.scope


def _welcome(demo: _Demo, password: str) -> None:
    demo.console.print(f"[bold]Enalysis demo[/bold]  {demo.runtime.settings.public_url}")
    demo.console.print(f"Sign in with {_EMAIL} and the password {password}", highlight=False)
    demo.console.print("Simulated vendors and what they allow:")
    for figure in demo.sandbox["figures"]:
        known = "documented" if figure["documented"] else "chosen by us"
        demo.console.print(f"  {figure['vendor']}: {figure['what']} {figure['value']} ({known})", highlight=False)


async def _connect_all(demo: _Demo) -> None:
    owner = Owner(demo.runtime, demo.scope)
    for account in demo.sandbox["accounts"]:
        try:
            made = await owner.connect(account)
        except EnalysisError as error:
            demo.errors.append(f"{account['label']}: {error}")
            continue
        demo.sandbox_keys[made] = account["key"]
        demo.sites[made] = account["sites"]
        demo.expected[made] = _EXPECTED.get(account["key"], "healthy")


async def _watch(demo: _Demo, stop: asyncio.Event, *, leave: bool) -> None:
    """Show collection live until it has settled, the demo is stopped, or it took too long."""
    live = Live(console=demo.console, auto_refresh=False, transient=False)
    context: Any = live if demo.console.is_terminal else contextlib.nullcontext()
    with context:
        while not stop.is_set():
            rows = await list_connections(demo.scope, demo.runtime.db, demo.runtime.vendors.specs, demo.runtime.clock())
            steps = {p.connection: p for p in await progress(demo.scope, demo.runtime.db, demo.runtime.clock())}
            if demo.first_reading_s is None and any(r.intervals for r in rows):
                demo.first_reading_s = round(time.monotonic() - demo.began, 2)
            await _break_one(demo, rows)
            await _see_renewals(demo, rows, steps)
            if demo.console.is_terminal:
                live.update(_picture(rows, steps), refresh=True)
            if all(_settled(demo, r, steps[r.id]) for r in rows):
                break
            if leave and time.monotonic() - demo.began > _GIVE_UP_S:
                slow = ", ".join(r.name for r in rows if not _settled(demo, r, steps[r.id]))
                demo.errors.append(f"not settled after {_GIVE_UP_S:.0f} s: {slow}")
                break
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _LOOK_S)
    if not demo.console.is_terminal:
        demo.console.print(_picture(rows, steps))


async def _break_one(demo: _Demo, rows: tuple[ConnectionRow, ...]) -> None:
    """Withdraw a key or a consent at the simulated vendors once its connection has readings."""
    for row in rows:
        if demo.sandbox_keys.get(row.id) != _REVOKED or not row.intervals or row.id in demo.revoked:
            continue
        account = {"vendor": row.vendor, "account": _REVOKED}
        async with demo.runtime.db.org(demo.scope) as conn:
            consented = (await find_connection(demo.scope, conn, row.id)).app_id is not None
        what, told = ("grants", {"do": "revoke"}) if consented else ("faults", {"kind": "wrong_key"})
        async with httpx2.AsyncClient(trust_env=False) as client:
            answer = await client.post(
                f"{demo.sandbox['url']}/_sandbox/{what}",
                headers={"x-sandbox-token": demo.sandbox["control_token"]},
                json={**told, **account},
            )
            answer.raise_for_status()
        demo.revoked.add(row.id)
        await connections.poll_now(demo.scope, demo.runtime.db, row.id, demo.runtime.clock())


async def _see_renewals(demo: _Demo, rows: tuple[ConnectionRow, ...], steps: Mapping[UUID, Progress]) -> None:
    """Note which sign-ins were renewed, and fetch through the short-lived one once its token is old enough."""
    for row in rows:
        async with demo.runtime.db.org(demo.scope) as conn:
            held = await find_connection(demo.scope, conn, row.id)
        if held.refreshed_at is not None and held.refreshed_at > held.created_at:
            demo.renewed.add(row.id)
        due = demo.sandbox_keys.get(row.id) == _EXPIRING and row.id not in demo.nudged | demo.renewed
        if due and _polled(steps[row.id]) and demo.runtime.clock() - held.created_at > _OLD_ENOUGH:
            demo.nudged.add(row.id)
            await connections.poll_now(demo.scope, demo.runtime.db, row.id, demo.runtime.clock())


def _settled(demo: _Demo, row: ConnectionRow, step: Progress) -> bool:
    if row.state != demo.expected[row.id]:
        return False
    if demo.expected[row.id] != "healthy":
        return True
    if demo.sandbox_keys.get(row.id) == _EXPIRING and row.id not in demo.renewed:
        return False
    return (
        row.sites == demo.sites[row.id]
        and _polled(step)
        and step.streams > row.sites
        and step.fetching_history == 0
        and row.intervals > 0
    )


def _polled(step: Progress) -> bool:
    return step.polled == step.streams


def _picture(rows: tuple[ConnectionRow, ...], steps: Mapping[UUID, Progress]) -> Group:
    """Return the table by connection and a progress bar for history."""
    table = Table(expand=True)
    for title in ("Connection", "State", "Sites", "Values", "Calls", "Quota", "Streams", "History", "Next"):
        table.add_column(title, overflow="fold")
    done = asked = 0.0
    for row in rows:
        step = steps[row.id]
        quota = " · ".join(f"{q.taken}/{q.limit} a {q.window}{' (chosen)' if q.chosen else ''}" for q in row.quota)
        history = row.backfill
        done, asked = done + history.days_done, asked + history.days_asked
        table.add_row(
            row.name,
            row.state.replace("_", " "),
            str(row.sites),
            str(row.intervals + row.samples),
            str(row.calls),
            quota,
            f"{step.polled}/{step.streams}",
            f"{history.days_done:.0f} of {history.days_asked:.0f} stream-days",
            _clock(history.next_at or row.next_at),
        )
    bar = ProgressBar(total=max(asked, 0.01), completed=done)
    sentences = [f"{r.name}: {r.sentence}" for r in rows if r.state not in ("healthy", "connecting")]
    return Group(table, bar, *sentences)


def _clock(at: datetime | None) -> str:
    return "" if at is None else f"{at:%H:%M:%S} UTC"


async def _summary(demo: _Demo) -> dict[str, Any]:
    now = demo.runtime.clock()
    rows = await list_connections(demo.scope, demo.runtime.db, demo.runtime.vendors.specs, now)
    page = await fleet(demo.scope, demo.runtime.db, now, per_page=1)
    return {
        "sites": page.totals.sites,
        "connections": [
            {
                "vendor": row.vendor,
                "name": row.name,
                "state": row.state,
                "expected_state": demo.expected.get(row.id, "healthy"),
                "sites": row.sites,
                "samples": row.samples,
                "intervals": row.intervals,
                "calls": row.calls,
                "sign_in_renewed": row.id in demo.renewed,
                "quota": [{**asdict(q), "turns_at": _iso(q.turns_at)} for q in row.quota],
                "backfill": {**asdict(row.backfill), "next_at": _iso(row.backfill.next_at)},
            }
            for row in rows
        ],
        "first_reading_s": demo.first_reading_s,
        "errors": demo.errors,
    }


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.strftime("%Y-%m-%dT%H:%M:%SZ")
