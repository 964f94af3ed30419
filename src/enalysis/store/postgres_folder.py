"""The folder of an embedded PostgreSQL: its files, its locks, and the processes that work on it."""

import fcntl
import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from enalysis.store.postgres_binaries import Account, Binaries, EmbeddedError

PORT = 5432
"""Only a part of the socket's file name: the server listens on no network address."""

LOG_LIMIT_BYTES = 10_000_000
# The kernel takes 107 bytes on Linux and 103 elsewhere.
_SOCKET_PATH_LIMIT_BYTES = 100
_PAUSE_S = 0.01


@dataclass(frozen=True, slots=True)
class Postmaster:
    """What postmaster.pid says of the server that wrote it, alive or not."""

    pid: int
    socket_folder: str
    ready: bool


class PostgresFolder:
    """The files below one folder, which belongs to the launcher alone.

    `cluster` the database · `superuser-password` · `server.log` (and `.1`) · `socket`, or `socket-folder`
    naming a shorter place · `lock`, held while somebody starts or stops · `in-use`, held by the server's
    own processes · `binaries-*`, a copy for the service user.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.cluster = self.path / "cluster"
        self._log_start = 0

    def refuse_other_major(self, binaries: Binaries) -> None:
        """Raise EmbeddedError unless the binaries can open the cluster or there is none; changes nothing."""
        try:
            made_by = (self.cluster / "PG_VERSION").read_text("ascii").strip()
        except (FileNotFoundError, NotADirectoryError):
            if self.cluster.exists():
                raise EmbeddedError(f"{self.cluster} is not a PostgreSQL cluster. Move it away.") from None
            return
        except (OSError, UnicodeDecodeError):
            raise EmbeddedError(f"{self.cluster / 'PG_VERSION'} cannot be read by this user.") from None
        if made_by != str(binaries.major):
            raise EmbeddedError(
                f"The database in {self.path} was made by PostgreSQL {made_by}, but the binaries in use are "
                f"PostgreSQL {binaries.version} ({binaries.source}). Nothing was changed. Either name the "
                f"folder of a PostgreSQL {made_by} in POSTGRES_BIN_DIR, or dump the database by the programs "
                f"of PostgreSQL {made_by} (pg_dumpall), restore it into an empty data folder, and start on "
                "that one."
            )

    @contextmanager
    def locked(self, timeout_s: float) -> Iterator[None]:
        """Keep every other process from starting or stopping the server; ends with the process at the latest.

        Raises: EmbeddedError: another process holds on to it longer than that.
        """
        descriptor = self._open("lock", os.O_RDWR)
        try:
            if not _took(descriptor, timeout_s):
                raise EmbeddedError(
                    f"Another process has been starting or stopping the PostgreSQL of {self.path} for more "
                    f"than {timeout_s:.0f} s. End it, then try again."
                )
            yield
        finally:
            os.close(descriptor)

    def claim(self, timeout_s: float) -> int:
        """A descriptor for the server to inherit: while one of its processes lives, no other server starts.

        PostgreSQL's own guards know only the processes of their container; this one spans containers
        that share the folder.

        Raises: EmbeddedError: a server works on the folder.
        """
        descriptor = self._open("in-use", os.O_RDWR)
        if _took(descriptor, timeout_s):
            return descriptor
        os.close(descriptor)
        raise EmbeddedError(
            f"A PostgreSQL that this process cannot see works on {self.path}, perhaps in another container. "
            "Stop it, or give DATABASE_URL to all but one."
        )

    def password(self) -> str | None:
        """The superuser's password, None before the first start."""
        return self._read("superuser-password")

    def set_password(self, password: str) -> None:
        """Keep the superuser's password, readable by the owner of the folder alone."""
        self._write("superuser-password", password)

    def sync(self) -> None:
        """Make the names in the folder outlast a power cut."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def postmaster(self) -> Postmaster | None:
        """What the last server wrote of itself; None when it ended in order, or is a single-user session."""
        try:
            lines = (self.cluster / "postmaster.pid").read_text("utf-8", "surrogateescape").splitlines()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise EmbeddedError(f"This user cannot see who serves {self.path}: {error}.") from error
        # A single-user session writes its number negative; the server itself refuses to start beside one.
        if not lines or not lines[0].isdecimal():
            return None
        lines += [""] * 8
        return Postmaster(pid=int(lines[0]), socket_folder=lines[4], ready=lines[7].strip() == "ready")

    def is_served_by(self, pid: int) -> bool:
        """Whether that process is alive, no zombie, and a PostgreSQL of this folder.

        The number in postmaster.pid may have gone to another process since, even to another PostgreSQL.
        """
        try:
            return self._is_served(psutil.Process(pid))
        except psutil.AccessDenied:
            return True
        except psutil.NoSuchProcess:
            return False

    def orphans(self) -> list[int]:
        """The processes of this folder's PostgreSQL, to be asked for when their postmaster is dead."""
        found = []
        for process in psutil.process_iter():
            try:
                # A single-user session is an administrator at work, not a leftover.
                if self._is_served(process) and "--single" not in process.cmdline():
                    found.append(process.pid)
            except psutil.Error:
                continue
        return found

    def _is_served(self, process: psutil.Process) -> bool:
        # A zombie keeps its name, but has no working folder any more.
        return process.name() == "postgres" and process.cwd() == str(self.cluster)

    def open_log(self) -> int:
        """A descriptor to append to the log; a large log is put aside first, and an older one dropped."""
        path = self.path / "server.log"
        if path.exists() and path.stat().st_size > LOG_LIMIT_BYTES:
            path.replace(path.with_name("server.log.1"))
        descriptor = self._open(path.name, os.O_WRONLY | os.O_APPEND)
        self._log_start = os.fstat(descriptor).st_size
        return descriptor

    def log_tail(self) -> str:
        """A sentence with the end of what the server logged since open_log()."""
        try:
            with (self.path / "server.log").open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(min(self._log_start, size), size - 1500))
                said = file.read().decode(errors="replace").strip()
        except OSError:
            said = ""
        return f"Its log ends: {said}" if said else "Its log says nothing."

    def socket_folder(self, account: Account) -> Path:
        """The private folder of the socket, the same at every start: connection strings stay true.

        It is `socket`, or a short one among the temporary folders when that path is too long for a socket.
        """
        usual = self.path / "socket"
        if _carries_socket(usual):
            usual.mkdir(mode=0o700, exist_ok=True)
            os.chown(usual, account.uid, account.gid, follow_symlinks=False)
            return usual
        recorded = self._read("socket-folder")
        if recorded and _is_private(Path(recorded), account.uid):
            return Path(recorded)
        for parent in (tempfile.gettempdir(), "/tmp", "/var/tmp"):  # noqa: S108 - mkdtemp makes it private
            if _carries_socket(Path(parent) / "enalysis-12345678"):
                short = Path(tempfile.mkdtemp(prefix="enalysis-", dir=parent))
                os.chown(short, account.uid, account.gid)
                self._write("socket-folder", str(short))
                return short
        raise EmbeddedError(f"{usual} is too long a path for a socket, and so is every temporary folder.")

    def _open(self, name: str, flags: int) -> int:
        # Root may work in another user's folder: no link there leads it astray, and files become the owner's.
        flags |= os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self.path / name, flags, 0o600)
        if os.geteuid() == 0:
            owner = self.path.stat()
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
        return descriptor

    def _write(self, name: str, text: str) -> None:
        # Whole or not at all, even when the power goes.
        with os.fdopen(self._open(f"{name}.new", os.O_WRONLY | os.O_TRUNC), "w", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        (self.path / f"{name}.new").replace(self.path / name)
        self.sync()

    def _read(self, name: str) -> str | None:
        try:
            return (self.path / name).read_text("utf-8").strip() or None
        except FileNotFoundError:
            return None


def _took(descriptor: int, timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(_PAUSE_S)
        else:
            return True


def _carries_socket(folder: Path) -> bool:
    path = os.fsencode(folder / f".s.PGSQL.{PORT}")
    # Both libpq and the server read a comma as the start of the next folder.
    return len(path) <= _SOCKET_PATH_LIMIT_BYTES and not re.search(rb'[,"]', path)


def _is_private(folder: Path, uid: int) -> bool:
    try:
        found = folder.lstat()
    except OSError:
        return False
    return folder.is_dir() and not folder.is_symlink() and (found.st_uid, found.st_mode & 0o777) == (uid, 0o700)
