"""The embedded PostgreSQL killed, orphaned, adopted, started by many at once, interrupted half-made."""

import contextlib
import fcntl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from enalysis.store.embedded import EmbeddedServer
from enalysis.store.postgres_binaries import EmbeddedError
from tests.store.servers import (
    PATIENCE_S,
    ask,
    child,
    counting_binaries,
    is_zombie,
    kill,
    report,
    stranded,
    tell,
    until,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a cluster, stopped in order: making one for each test would take most of the time."""
    path = tmp_path_factory.mktemp("made") / "pg"
    with EmbeddedServer(path):
        pass
    return path


@pytest.fixture
def folder(made: Path) -> Iterator[Path]:
    """The made folder with nothing running on it, whatever the test before left."""
    yield made
    stranded(made)


@pytest.fixture
def empty_folder(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "empty" / "pg"
    yield path
    stranded(path)


class Writer(threading.Thread):
    """Commits rows until the server goes away; `acknowledged` holds those the server confirmed."""

    def __init__(self, conninfo: str) -> None:
        super().__init__()
        self.conninfo = conninfo
        self.acknowledged: set[int] = set()
        self.start()

    def run(self) -> None:
        with contextlib.suppress(psycopg.OperationalError), psycopg.connect(self.conninfo) as connection:
            connection.autocommit = True
            while True:
                row = connection.execute("insert into journal default values returning id").fetchone()
                assert row is not None
                self.acknowledged.add(row[0])


def stranger_in(place: Path) -> subprocess.Popen[bytes]:
    """A process that has nothing to do with PostgreSQL, such as an administrator's shell."""
    return subprocess.Popen([sys.executable, "-c", "input()"], cwd=place, stdin=subprocess.PIPE)


class TestKilledServer:
    def test_three_kills_lose_nothing_acknowledged(self, folder: Path) -> None:
        with EmbeddedServer(folder) as server:
            conninfo = server.admin_conninfo
            tell(conninfo, "create table journal (id bigserial primary key)")
            acknowledged = self.kill_under_load(server)
            acknowledged |= self.kill_under_load(server, whole_family=True)
            acknowledged |= self.kill_under_load(server, busy_backend=True)
            assert acknowledged <= set(ask(conninfo, "select array_agg(id) from journal"))

    def kill_under_load(
        self, server: EmbeddedServer, *, whole_family: bool = False, busy_backend: bool = False
    ) -> set[int]:
        conninfo = server.admin_conninfo
        writer = Writer(conninfo)
        until(lambda: len(writer.acknowledged) >= 100)
        with contextlib.ExitStack() as stack:
            if busy_backend:
                # A backend in the midst of a computation does not notice that its postmaster is gone.
                busy = stack.enter_context(contextlib.closing(psycopg.connect(conninfo)))
                busy.pgconn.send_query(b"select count(*) from generate_series(1, 3000000000)")
            family = psutil.Process(server.pid).children() if whole_family else []
            dead = kill(server.pid)
            for process in family:
                process.kill()
            assert is_zombie(dead)
            began = time.monotonic()
            assert server.ensure_running() is True
            assert time.monotonic() - began < 15
        assert server.ensure_running() is False
        assert server.started_here
        assert not psutil.pid_exists(dead), "the dead child was not reaped"
        assert server.admin_conninfo == conninfo
        assert ask(conninfo, "select 1") == 1
        writer.join(PATIENCE_S)
        assert not writer.is_alive()
        return writer.acknowledged

    def test_one_that_cannot_reap_the_zombie_revives_too(self, folder: Path) -> None:
        parent, adopter = EmbeddedServer(folder), EmbeddedServer(folder)
        parent.start()
        adopter.start()
        assert (parent.started_here, adopter.started_here) == (True, False)
        dead = kill(parent.pid)
        assert is_zombie(dead)
        assert adopter.pid is None, "a zombie passes for a server"
        assert adopter.ensure_running() is True
        assert is_zombie(dead)
        assert ask(adopter.admin_conninfo, "select 1") == 1
        assert parent.ensure_running() is False
        assert (parent.started_here, adopter.started_here) == (False, True)
        assert parent.stop(only_if_started_here=True) is False
        assert parent.pid == adopter.pid
        assert adopter.stop(only_if_started_here=True) is True

    def test_a_stranger_with_the_old_number_is_not_taken_for_the_server(self, folder: Path) -> None:
        with (
            EmbeddedServer(folder) as server,
            stranger_in(folder / "cluster") as stranger,
        ):
            written = (folder / "cluster" / "postmaster.pid").read_text().splitlines()
            kill(server.pid)
            assert server.ensure_running()
            kill(server.pid)
            written[0] = str(stranger.pid)
            (folder / "cluster" / "postmaster.pid").write_text("\n".join(written) + "\n")
            assert server.pid is None
            assert server.ensure_running()
            assert ask(server.admin_conninfo, "select 1") == 1
            # Somebody helps in the usual way, and forgets the lock of the socket.
            kill(server.pid)
            (folder / "cluster" / "postmaster.pid").unlink()
            (folder / "socket" / ".s.PGSQL.5432.lock").write_text("\n".join(written) + "\n")
            until(server.ensure_running)
            assert ask(server.admin_conninfo, "select 1") == 1
            assert stranger.poll() is None, "the stranger was ended"
            stranger.kill()

    def test_a_server_out_of_sight_is_respected(self, folder: Path) -> None:
        with EmbeddedServer(folder) as server:
            server.stop()
            with (folder / "in-use").open("rb") as elsewhere:
                fcntl.flock(elsewhere, fcntl.LOCK_EX)
                with pytest.raises(EmbeddedError, match="another container"):
                    server.start()
            server.start()
            with (folder / "in-use").open("rb") as elsewhere, pytest.raises(BlockingIOError):
                fcntl.flock(elsewhere, fcntl.LOCK_EX | fcntl.LOCK_NB)


class TestSeveralProcesses:
    def test_a_killed_parents_server_is_adopted(self, folder: Path) -> None:
        with child(folder) as parent:
            told = report(parent)
            parent.kill()
        assert psutil.Process(told["pid"]).is_running()
        adopter = EmbeddedServer(folder)
        adopter.start()
        assert (adopter.pid, adopter.started_here) == (told["pid"], False)
        tell(adopter.admin_conninfo, "create table kept as select 7 as id")
        assert adopter.ensure_running() is False
        assert adopter.stop(only_if_started_here=True) is False
        with adopter:
            assert adopter.pid == told["pid"]
        assert ask(adopter.admin_conninfo, "select id from kept") == 7, "an adopter's exit stopped the server"
        kill(told["pid"])
        assert adopter.pid is None
        adopter.start()
        assert adopter.started_here
        assert ask(adopter.admin_conninfo, "select id from kept") == 7
        assert adopter.stop() is True
        with child(folder) as parent:
            told = report(parent)
            parent.kill()
        adopter.start()
        assert (adopter.pid, adopter.started_here) == (told["pid"], False)
        assert adopter.stop() is True, "an adopter cannot stop the server"
        assert adopter.pid is None

    def test_six_start_at_once_on_an_empty_folder(self, empty_folder: Path, tmp_path: Path) -> None:
        counting = counting_binaries(tmp_path)
        starters = [child(empty_folder, counting) for _ in range(6)]
        try:
            told = [report(process) for process in starters]
            assert len({each["pid"] for each in told}) == 1
            assert sum(each["here"] for each in told) == 1
            assert sum(each["made"] for each in told) == 1
            assert (tmp_path / "initdb-runs").read_text() == "run\n"
        finally:
            for process in starters:
                process.communicate("\n")
        assert [process.returncode for process in starters] == [0] * 6
        assert EmbeddedServer(empty_folder).pid is None

    def test_first_starts_killed_half_way_spoil_nothing(self, empty_folder: Path) -> None:
        lives_on = self.kill_half_way(empty_folder)
        for process in self.kill_half_way(empty_folder):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        assert not (empty_folder / "cluster").exists()
        with EmbeddedServer(empty_folder) as server:
            assert ask(server.admin_conninfo, "select current_setting('data_checksums')") == "on"
            psutil.wait_procs(lives_on, timeout=PATIENCE_S)
            server.stop()
            server.start()
            assert ask(server.admin_conninfo, "select 1") == 1
        assert list(empty_folder.glob("initdb-*")) == []

    def kill_half_way(self, folder: Path) -> list[psutil.Process]:
        """Kill a starting process while initdb is at work; returns what it left running."""
        earlier = set(folder.glob("initdb-*"))
        with child(folder) as starter:
            until(lambda: {path.parents[2] for path in folder.glob("initdb-*/cluster/base/1")} - earlier)
            family = psutil.Process(starter.pid).children(recursive=True)
            starter.kill()
        assert family
        return family

    def test_a_start_that_others_hold_up_ends_with_a_sentence(self, folder: Path) -> None:
        with (folder / "lock").open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            with pytest.raises(EmbeddedError, match="Another process has been starting or stopping"):
                EmbeddedServer(folder, timeout_s=0.1).start()
