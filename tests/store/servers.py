"""What the tests of the embedded PostgreSQL share: queries, child processes that start a server, kills."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, LiteralString

import psutil
import psycopg

import enalysis
from enalysis.store.postgres_binaries import find_binaries
from enalysis.store.postgres_folder import PostgresFolder

SOURCES = Path(enalysis.__path__[0]).parent
PATIENCE_S = 30.0

START_AND_WAIT = """
import json, sys
from pathlib import Path
from enalysis.store.embedded import EmbeddedServer

binaries = Path(sys.argv[2]) if len(sys.argv) > 2 else None
server = EmbeddedServer(Path(sys.argv[1]), binaries_folder=binaries)
server.start()
made = server.ensure_database("journal")
print(json.dumps({"pid": server.pid, "here": server.started_here, "made": made}), flush=True)
sys.stdin.readline()
server.stop(only_if_started_here=True)
"""


def ask(conninfo: str, query: LiteralString, *values: object) -> Any:  # noqa: ANN401 - whatever the column holds
    with psycopg.connect(conninfo, autocommit=True) as connection:
        row = connection.execute(query, values).fetchone()
    return row[0] if row else None


def tell(conninfo: str, statement: LiteralString) -> None:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(statement)


def until(happened: Callable[[], object], *, patience_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + patience_s
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.002)


def child(*arguments: str | Path) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(SOURCES), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.Popen(
        [sys.executable, "-c", START_AND_WAIT, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def report(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, "the process ended without a report"
    told: dict[str, Any] = json.loads(line)
    return told


def is_zombie(pid: int) -> bool:
    return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def kill(pid: int | None) -> int:
    """Kill the process and wait for its death; who its parent is decides whether a zombie stays."""
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    until(lambda: not psutil.pid_exists(pid) or is_zombie(pid))
    return pid


def stranded(folder: Path) -> None:
    """End whatever a failed test left on the folder."""
    place = PostgresFolder(folder)
    for pid in place.orphans():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree((place.path / "socket-folder").read_text().strip())


def counting_binaries(place: Path) -> Path:
    """The real programs behind a door that writes down each initdb."""
    real = find_binaries().bin_dir
    bin_dir = place / "counting" / "bin"
    bin_dir.mkdir(parents=True)
    (bin_dir / "postgres").write_text(f'#!/bin/sh\nexec {real}/postgres "$@"\n')
    (bin_dir / "initdb").write_text(f'#!/bin/sh\necho run >> {place}/initdb-runs\nexec {real}/initdb "$@"\n')
    for program in bin_dir.iterdir():
        program.chmod(0o755)
    return bin_dir
