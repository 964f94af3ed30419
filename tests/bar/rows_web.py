"""Measures what probes are told: K1, with the real command as a process of its own and its database away."""

import asyncio
import base64
import os
import re
import secrets
import signal
import socket
import sys
import time
from collections import Counter
from pathlib import Path
from urllib.parse import quote, urlencode

import httpx2
import psycopg
from psycopg.conninfo import conninfo_to_dict

from tests.bar.row import Row
from tests.databases import Base

ROOT = Path(__file__).resolve().parents[2]
CLOSED = ("/docs", "/redoc", "/openapi.json", "/metrics", "/api/v1/openapi.json")
LONGEST_BODY = 8
# What a stranger could use: versions, hosts, counts, and the words of exceptions.
TELLING = re.compile(r"\d|enalysis|uvicorn|psycopg|host|error|version", re.IGNORECASE)
_START_S = 30.0
_STEP_S = 0.25


async def k1(base: Base, down_s: float = 60.0) -> Row:
    """K1: with the database away `/live` answers 200 and `/ready` 503, a word each, and nothing restarts."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    web = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "enalysis", "web"),
        env=_environment(base, port),
        cwd=ROOT,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with httpx2.AsyncClient(base_url=f"http://localhost:{port}", trust_env=False, timeout=10) as client:
            up_s = await _until(client, 200, _START_S)
            before = await _watch(client, 3.0)
            _allow(base, connections=False)
            begun = time.monotonic()
            noticed_s = await _until(client, 503, _START_S)
            during = await _watch(client, max(1.0, down_s - (time.monotonic() - begun)))
            _allow(base, connections=True)
            back_s = await _until(client, 200, _START_S)
            open_doors = [path for path in CLOSED if (await client.get(path)).status_code == 200]
        restarts = 0 if web.returncode is None else 1
    finally:
        if web.returncode is None:
            web.send_signal(signal.SIGTERM)
            await web.wait()
    wrong = _wrong(before, {"/live": "200 ok", "/ready": "200 ok"})
    wrong += _wrong(during, {"/live": "200 ok", "/ready": "503 no"})
    slow = int(min(up_s, noticed_s, back_s) < 0)
    return Row(
        req="K1",
        n=sum(before.values()) + sum(during.values()) + len(CLOSED),
        bad=wrong + restarts + len(open_doors) + slow,
        floor=100,
        facts={
            "down_s": down_s,
            "restarts": restarts,
            "open": len(open_doors),
            "noticed_s": noticed_s,
            "back_s": back_s,
            "ready_down": during["/ready 503 no"],
        },
    )


async def _watch(client: httpx2.AsyncClient, for_s: float) -> Counter[str]:
    """Ask both probes again and again, apart; count each answer as path, status and body."""
    told: Counter[str] = Counter()
    end = time.monotonic() + for_s

    async def ask(path: str) -> None:
        while time.monotonic() < end:
            answer = await client.get(path)
            fit = len(answer.content) <= LONGEST_BODY and not TELLING.search(answer.text)
            told[f"{path} {answer.status_code} {answer.text if fit else 'TOO MUCH'}"] += 1
            await asyncio.sleep(_STEP_S)

    await asyncio.gather(ask("/live"), ask("/ready"))
    return told


async def _until(client: httpx2.AsyncClient, status: int, patience_s: float) -> float:
    """Return after how many seconds `/ready` answers a status; -1 if it does not."""
    begun = time.monotonic()
    while time.monotonic() - begun < patience_s:
        try:
            if (await client.get("/ready")).status_code == status:
                return time.monotonic() - begun
        except httpx2.TransportError:
            # Not listening yet.
            pass
        await asyncio.sleep(_STEP_S)
    return -1.0


def _wrong(told: Counter[str], right: dict[str, str]) -> int:
    """Count the answers that are not the right one, and a probe that never gave it."""
    good = {f"{path} {answer}" for path, answer in right.items()}
    return sum(count for answer, count in told.items() if answer not in good) + len(good - set(told))


def _allow(base: Base, *, connections: bool) -> None:
    """Let the database take connections, or refuse new ones and end those there are."""
    with psycopg.connect(base.cluster.server.admin_conninfo, autocommit=True) as admin:
        admin.execute(f"alter database {base.name} with allow_connections {str(connections).lower()}")
        if not connections:
            admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (base.name,))


def _environment(base: Base, port: int) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    return inherited | {
        "PYTHONPATH": str(ROOT / "src"),
        "ENCRYPTION_KEY": base64.b64encode(secrets.token_bytes(32)).decode(),
        "PORT": str(port),
        "PUBLIC_URL": f"http://localhost:{port}",
        "DATABASE_URL": _as_url(base.app),
        "DATABASE_ENGINE_URL": _as_url(base.engine),
        "DATABASE_JOBS_URL": _as_url(base.jobs),
    }


def _as_url(conninfo: str) -> str:
    """Write a connection string over a Unix socket as the setting wants it."""
    parts = conninfo_to_dict(conninfo)
    login = f"{quote(str(parts['user']))}:{quote(str(parts['password']))}"
    query = urlencode({"host": parts["host"], "port": parts["port"]})
    return f"postgresql://{login}@/{parts['dbname']}?{query}"
