"""`enalysis run` as a process of its own: how soon it is ready, and how much memory it takes while it collects."""

import asyncio
import contextlib
import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from enalysis.actions import accounts, connections
from enalysis.config import Settings, load_settings
from enalysis.core.access import Scope
from enalysis.queries.connections import connections as list_connections
from enalysis.runtime import open_runtime
from tests.bench.figure import Figure

ROOT = Path(__file__).resolve().parents[2]
STARTS = 3
COLLECT_S = 30.0
_LOOK_S = 0.25
_PATIENCE_S = 60.0
_END_S = 30.0


def ready_figures(tell: Callable[[str], None]) -> Iterator[Figure]:
    """Yield `ready_s` and `ready_warm_s`: from starting `enalysis run` until `/ready` says ok, s, medians.

    First in an empty folder, where keys, PostgreSQL and the schema have yet to be made; then once more in the
    same folder. Nothing does the same in a plainer way, so there is no reference.
    """
    fresh: list[float] = []
    warm: list[float] = []
    for n in range(1, STARTS + 1):
        with _home() as environ:
            for took in (fresh, warm):
                with _run(environ) as (_, ready_s):
                    took.append(ready_s)
            tell(f"start {n} of {STARTS}: ready after {fresh[-1]:.2f} s, the second time after {warm[-1]:.2f} s")
    yield Figure("ready_s", median(fresh), None, "s", STARTS)
    yield Figure("ready_warm_s", median(warm), None, "s", STARTS)


def memory_figures(tell: Callable[[str], None]) -> Iterator[Figure]:
    """Yield `peak_memory_mb`: the most that `enalysis run` and its children took while they collected, MB.

    The sum of the proportional set sizes (PSS) of all processes, PostgreSQL's included, so that memory they
    share counts once; looked at four times a second for half a minute, n times in all. They collect from the
    simulated vendors of the demo, which run in a process of their own and are not counted.
    """
    with _sandbox() as sandbox, _home(SANDBOX_URL=sandbox["url"]) as environ, _run(environ) as (process, _):
        scope = asyncio.run(_connect(environ, sandbox))
        looks = []
        end = time.monotonic() + COLLECT_S
        while time.monotonic() < end:
            looks.append(_memory_mb(process.pid))
            time.sleep(_LOOK_S)
        stored = asyncio.run(_stored(environ, scope))
        tell(f"{stored} readings collected, {looks[0]:.0f} MB at first, {max(looks):.0f} MB at most")
        if not stored:
            raise RuntimeError("nothing was collected, so its memory says nothing")
    yield Figure("peak_memory_mb", max(looks), None, "MB", len(looks))


@contextmanager
def _home(**settings: str) -> Iterator[dict[str, str]]:
    """Lend the environment of an installation in an empty folder, on a free port of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "POSTGRES_BIN_DIR") if name in os.environ}
    with tempfile.TemporaryDirectory(prefix="enalysis-bench-") as folder:
        yield (
            inherited
            | settings
            | {
                "PYTHONPATH": str(ROOT / "src"),
                "ENALYSIS_HOME": str(Path(folder) / "home"),
                "HOST": "127.0.0.1",
                "PORT": str(port),
                "PUBLIC_URL": f"http://localhost:{port}",
                "LOG_LEVEL": "warning",
            }
        )


@contextmanager
def _run(environ: Mapping[str, str]) -> Iterator[tuple[subprocess.Popen[bytes], float]]:
    """Run `enalysis run`; lend the process and how long it took to be ready, s; end it. It says why on stderr."""
    folder = Path(environ["ENALYSIS_HOME"]).parent
    with (folder / "said").open("w+b") as said:
        begun = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "enalysis", "run"], env=dict(environ), cwd=folder, stdout=said, stderr=said
        )
        try:
            while not _ready(int(environ["PORT"])):
                if process.poll() is not None or time.monotonic() > begun + _PATIENCE_S:
                    said.seek(0)
                    raise RuntimeError(f"enalysis run is not ready: {said.read().decode(errors='replace')[-2000:]}")
                time.sleep(0.01)
            yield process, time.monotonic() - begun
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _ready(port: int) -> bool:
    """Whether `/ready` answers ok; a process that does not listen yet is not ready."""
    asking = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        asking.request("GET", "/ready", headers={"Host": f"localhost:{port}"})
        answer = asking.getresponse()
        return answer.status == http.HTTPStatus.OK and answer.read() == b"ok"
    except (OSError, http.client.HTTPException):
        return False
    finally:
        asking.close()


@contextmanager
def _sandbox() -> Iterator[dict[str, Any]]:
    """Run the simulated vendors as a child that ends with us; lend what it says of itself."""
    child = subprocess.Popen(
        [sys.executable, "-m", "enalysis", "sandbox", "--port=0", "--json", "--with-parent"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    assert child.stdin
    assert child.stdout
    try:
        told: dict[str, Any] = json.loads(child.stdout.readline())
        yield told
    finally:
        child.stdin.close()
        child.stdout.close()
        try:
            child.wait(_END_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


async def _connect(environ: Mapping[str, str], sandbox: Mapping[str, Any]) -> Scope:
    """Set up an organization in the installation that runs, connect every simulated account, and return its scope."""
    async with open_runtime(_settings(environ)) as runtime:
        token = await accounts.set_up(
            runtime.db,
            runtime.keyring,
            secret=await accounts.begin_setup(runtime.db) or "",
            organization="Bench",
            name="Bench",
            email="bench@enalysis.example",
            password=secrets.token_urlsafe(12),
            now=runtime.clock(),
        )
        person = await accounts.who(runtime.db, token, runtime.clock())
        assert person
        for account in sandbox["accounts"]:
            await connections.add(
                person.scope,
                runtime.db,
                runtime.vendors,
                vendor=account["vendor"],
                name=account["label"],
                plan=account["plan"],
                fields=account["credentials"],
                now=runtime.clock(),
            )
    return person.scope


async def _stored(environ: Mapping[str, str], scope: Scope) -> int:
    """Return how many readings the organization has."""
    async with open_runtime(_settings(environ)) as runtime:
        rows = await list_connections(scope, runtime.db, runtime.vendors.specs, runtime.clock())
    return sum(row.samples + row.intervals for row in rows)


def _settings(environ: Mapping[str, str]) -> Settings:
    return load_settings(environ, Path(environ["ENALYSIS_HOME"]).parent)


def _memory_mb(pid: int) -> float:
    """Return the sum of the proportional set sizes of a process and its descendants, MB."""
    root = psutil.Process(pid)
    total = 0
    for process in (root, *root.children(recursive=True)):
        # One that ends while it is looked at takes nothing any more.
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            total += process.memory_full_info().pss
    return total / 1e6
