"""Runs a PostgreSQL of our own beside the product: starts, adopts, revives and stops it."""

import os
import platform
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from enalysis.store.postgres_binaries import (
    Account,
    Binaries,
    EmbeddedError,
    choose_account,
    find_binaries,
    reachable_bin_dir,
)
from enalysis.store.postgres_folder import PORT, PostgresFolder

SUPERUSER = "postgres"

_INITDB_KNOWS_MORE_SINCE = 17
_PAUSE_S = 0.01
_LIBPQ_EXTRAS = {"PGSERVICEFILE", "PGSYSCONFDIR", "PGTZ", "PGDATESTYLE", "PGGEQO", "PGREQUIRESSL"}
_FIXED_SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "password_encryption": "scram-sha-256",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "logging_collector": "off",
    "log_destination": "stderr",
    "log_line_prefix": "%m [%p] ",
    "log_checkpoints": "off",
    # Neither statements nor rows: both may hold what no log may hold.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}


class EmbeddedServer:
    """One PostgreSQL on one folder of this machine, shared by every process that names the folder.

    All calls block, some for seconds: async callers use a thread. Threads may share one object.
    Connections go through a Unix socket in a private folder, and every login needs its password.

    The server outlives a killed parent, and the next start() adopts it. Among several processes the one
    that started the server stops it on leaving the `with` block; those that adopted it leave it running.

    Args: folder: made when missing; belongs to the launcher alone (see PostgresFolder).
        binaries_folder: a PostgreSQL installation to use instead of searching for one.
        run_as: the user PostgreSQL becomes when this process is root; None chooses (see choose_account).
        shared_buffers: in PostgreSQL's notation. timeout_s: how long a start may take, recovery included.
    """

    def __init__(
        self,
        folder: Path,
        *,
        binaries_folder: Path | None = None,
        run_as: str | None = None,
        shared_buffers: str = "128MB",
        max_connections: int = 60,
        timeout_s: float = 60.0,
    ) -> None:
        self._place = PostgresFolder(folder)
        self.folder = self._place.path
        self._binaries_folder = binaries_folder
        self._run_as = run_as
        self._settings = {"shared_buffers": shared_buffers, "max_connections": str(max_connections)}
        self._timeout_s = timeout_s
        self._mutex = threading.RLock()
        self._process: subprocess.Popen[bytes] | None = None
        self._socket_folder: str | None = None
        self._ready = False
        self._wanted = False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(only_if_started_here=True)

    @property
    def started_here(self) -> bool:
        """Whether the running server is a child of this object; False when adopted or not running."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """The living server's process number, whoever started it."""
        postmaster = self._place.postmaster()
        return postmaster.pid if postmaster and self._lives(postmaster.pid) else None

    @property
    def admin_conninfo(self) -> str:
        """Connection string of the superuser, for making databases and logins. It carries the password.

        Raises: EmbeddedError: the server was not started, or the password's file is missing.
        """
        password = self._place.password()
        if password is None:
            raise EmbeddedError(
                f"{self.folder / 'superuser-password'} is missing. Put it back from the backup, or set "
                f"a new password for the role {SUPERUSER} with `postgres --single` and write it there."
            )
        return self.conninfo(SUPERUSER, password, "postgres")

    def conninfo(self, user: str, password: str | None = None, dbname: str = "enalysis") -> str:
        """Connection string of a login, true across revivals. It carries the password: keep it out of logs.

        Raises: EmbeddedError: the server was not started.
        """
        if self._socket_folder is None:
            raise EmbeddedError(f"The PostgreSQL of {self.folder} was not started.")
        return make_conninfo(
            host=self._socket_folder,
            port=PORT,
            user=user,
            password=password,
            dbname=dbname,
            connect_timeout=10,
        )

    def start(self) -> None:
        """Start the server or adopt the one that runs; makes the cluster the first time.

        It also removes libpq's variables (PGHOST, PGSERVICE, PGTZ ...) from this process's environment:
        they speak of another server, and would steer every connection made to this one.

        Raises: EmbeddedError: no binaries, a folder of another major version, or the server does not come up.
        """
        with self._mutex:
            _drop_libpq_variables()
            self._bring_up()
            self._wanted = True

    def ensure_running(self) -> bool:
        """Bring the server back if it died since start(); True if this call started it.

        A supervisor calls it every second or so. Before start() and after stop() it does nothing.

        Raises: EmbeddedError: it does not come back; the next call tries again.
        """
        with self._mutex:
            return self._wanted and self._bring_up()

    def stop(self, *, only_if_started_here: bool = False, timeout_s: float = 30.0) -> bool:
        """Stop the server, ending open transactions; True if one was running and is stopped now.

        Args: only_if_started_here: leave a server alone that another process started.
            timeout_s: how long an orderly stop may take. Past it the server is stopped as by a crash,
            which costs the next start a recovery and loses nothing acknowledged.
        Raises: EmbeddedError: it does not end, or this user may not end it.
        """
        with self._mutex:
            self._wanted = self._ready = False
            if not self.folder.is_dir() or (only_if_started_here and not self.started_here):
                return False
            with self._place.locked(self._timeout_s):
                pid = self.pid
                if pid is None:
                    return False
                if not self._end(pid, signal.SIGINT, timeout_s) and not self._end(pid, signal.SIGQUIT, 10.0):
                    raise EmbeddedError(
                        f"The PostgreSQL of {self.folder} (process {pid}) does not end. {self._place.log_tail()}"
                    )
                return True

    def ensure_database(self, name: str = "enalysis") -> bool:
        """Make the database if it is missing; True if it was made now.

        Raises: EmbeddedError: the server refuses.
        """
        conninfo = self.admin_conninfo
        try:
            # The lock keeps processes that start together from making it twice.
            with (
                self._place.locked(self._timeout_s),
                psycopg.connect(conninfo, autocommit=True) as connection,
            ):
                if connection.execute("select 1 from pg_database where datname = %s", (name,)).fetchone():
                    return False
                connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
                return True
        except psycopg.Error as error:
            raise EmbeddedError(f"The database {name} could not be made: {error}") from error

    def _bring_up(self) -> bool:
        # Our own child is asked first and in any case: asking reaps it when it is dead.
        here = self.started_here
        if self._ready and (here or self.pid is not None):
            return False
        self._ready = False
        binaries = find_binaries(self._binaries_folder)
        self._place.refuse_other_major(binaries)
        deadline = time.monotonic() + self._timeout_s
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._place.locked(self._timeout_s):
                launched = not self._adopt(deadline)
                if launched:
                    self._launch(binaries, deadline)
        except OSError as error:
            raise EmbeddedError(f"PostgreSQL cannot run on {self.folder}: {error}.") from error
        try:
            psycopg.connect(self.admin_conninfo).close()
        except psycopg.OperationalError as error:
            raise EmbeddedError(
                f"The PostgreSQL of {self.folder} runs but turns its superuser away: {error}"
            ) from error
        self._ready = True
        return launched

    def _adopt(self, deadline: float) -> bool:
        pid = self.pid
        return pid is not None and self._await_ready(pid, deadline)

    def _await_ready(self, pid: int, deadline: float) -> bool:
        """True when the server takes connections, False when it ended instead."""
        while self._lives(pid):
            postmaster = self._place.postmaster()
            if postmaster and postmaster.pid == pid and postmaster.ready:
                self._socket_folder = postmaster.socket_folder
                return True
            if time.monotonic() > deadline:
                raise EmbeddedError(
                    f"The PostgreSQL of {self.folder} (process {pid}) is not ready after "
                    f"{self._timeout_s:.0f} s. It may still be recovering and was left running. "
                    f"{self._place.log_tail()}"
                )
            time.sleep(_PAUSE_S)
        return False

    def _launch(self, binaries: Binaries, deadline: float) -> None:
        account = choose_account(self.folder, self._place.cluster, self._run_as)
        bin_dir = reachable_bin_dir(binaries, account, self.folder)
        environment: dict[str, str] = {}
        if stale := self._place.postmaster():
            self._end_orphans()
            # The server refuses while any process has the number in postmaster.pid, be it a zombie that
            # only its parent can reap or, after a container's restart, a stranger. It overlooks the number
            # given here (pg_ctl gives its own so), and keeps its guard on the shared memory.
            environment["PG_GRANDPARENT_PID"] = str(stale.pid)
        claim = self._place.claim(timeout_s=1.0)
        try:
            if not self._place.cluster.exists():
                self._make_cluster(bin_dir, binaries.major, account)
            sockets = self._place.socket_folder(account)
            for leftover in sockets.glob(".s.PGSQL.*"):
                leftover.unlink()  # nobody listens: the claim was granted
            command = [str(bin_dir / "postgres"), "-D", str(self._place.cluster)]
            command += ["-c", f"unix_socket_directories={sockets}"]
            sync = {"recovery_init_sync_method": _sync_method()}
            for name, value in {**_FIXED_SETTINGS, **sync, **self._settings}.items():
                command += ["-c", f"{name}={value}"]
            log = self._place.open_log()
            try:
                self._process = account.spawn(command, log, environment, inherited=(claim,))
            finally:
                os.close(log)
        finally:
            os.close(claim)
        if not self._await_ready(self._process.pid, deadline):
            raise EmbeddedError(
                f"PostgreSQL ended with code {self._process.returncode} while starting on "
                f"{self.folder}. {self._place.log_tail()}"
            )

    def _make_cluster(self, bin_dir: Path, major: int, account: Account) -> None:
        if self._place.password() is None:
            self._place.set_password(secrets.token_urlsafe(32))
        for leftover in self.folder.glob("initdb-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        # Made under another name and renamed when whole: a first start killed half-way spoils nothing.
        workshop = Path(tempfile.mkdtemp(prefix="initdb-", dir=self.folder))
        unfinished = workshop / "cluster"
        options = [f"--pgdata={unfinished}", f"--username={SUPERUSER}", "--encoding=UTF8", "--data-checksums"]
        options += ["--auth=scram-sha-256", f"--pwfile={self.folder / 'superuser-password'}"]
        if major >= _INITDB_KNOWS_MORE_SINCE:
            # PostgreSQL's own C.UTF-8: no index changes its order with the system's libraries.
            options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
            options += [f"--sync-method={_sync_method()}"]
        else:
            options += ["--locale=C.UTF-8"]
        try:
            os.chown(workshop, account.uid, account.gid)
            failure = self._run_initdb([str(bin_dir / "initdb"), "--no-instructions", *options], account)
            if failure is not None:
                raise EmbeddedError(f"initdb could not make a cluster in {self.folder}: {failure}")
            unfinished.rename(self._place.cluster)
            self._place.sync()
        finally:
            shutil.rmtree(workshop, ignore_errors=True)

    def _run_initdb(self, command: list[str], account: Account) -> str | None:
        """None when it went well, else what it printed."""
        with tempfile.TemporaryFile() as output:
            process = account.spawn(command, output.fileno())
            try:
                code = process.wait(self._timeout_s)
            except subprocess.TimeoutExpired:
                return f"it took more than {self._timeout_s:.0f} s."
            finally:
                if process.returncode is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            output.seek(0)
            return None if code == 0 else output.read().decode(errors="replace").strip()[-1500:]

    def _end_orphans(self) -> None:
        # A busy backend notices late that its postmaster was killed, and until then bars the new server.
        for number in (signal.SIGQUIT, signal.SIGKILL):
            for pid in self._place.orphans():
                self._end(pid, number, 5.0)

    def _lives(self, pid: int) -> bool:
        if self._process is not None and self._process.pid == pid:
            return self._process.poll() is None
        return self._place.is_served_by(pid)

    def _end(self, pid: int, number: signal.Signals, patience_s: float) -> bool:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return True
        except PermissionError:
            raise EmbeddedError(f"This user may not end process {pid}, the PostgreSQL of {self.folder}.") from None
        deadline = time.monotonic() + patience_s
        while self._lives(pid):
            if time.monotonic() > deadline:
                return False
            time.sleep(_PAUSE_S)
        return True


def _sync_method() -> str:
    # Before a recovery the server flushes its thousand files: one by one, or by one call for the file system,
    # which took tenths instead of seconds beside another writer. Kernels before 5.8 hide a failed write then.
    kernel = re.match(r"(\d+)\.(\d+)", platform.release())
    recent = kernel is not None and (int(kernel[1]), int(kernel[2])) >= (5, 8)
    return "syncfs" if recent and platform.system() == "Linux" else "fsync"


def _drop_libpq_variables() -> None:
    known = {option.envvar.decode() for option in psycopg.pq.Conninfo.get_defaults() if option.envvar}
    for name in (known | _LIBPQ_EXTRAS) & os.environ.keys():
        del os.environ[name]
