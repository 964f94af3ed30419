"""The embedded PostgreSQL started, set, guarded and stopped, with real processes throughout."""

import os
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from enalysis.store.embedded import SUPERUSER, EmbeddedServer
from enalysis.store.postgres_binaries import EmbeddedError
from enalysis.store.postgres_folder import LOG_LIMIT_BYTES, PostgresFolder
from tests.store.servers import ask, kill, stranded, tell


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


@pytest.fixture(scope="module")
def server(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    path = shutil.copytree(made, tmp_path_factory.mktemp("shared") / "pg")
    # Neither the product's secrets nor variables about another server may reach PostgreSQL.
    os.environ.update(ENALYSIS_TEST_SECRET="must stay here", PGDATA="/nowhere", PGOPTIONS="-c fsync=off")
    with EmbeddedServer(path) as running:
        yield running
    del os.environ["ENALYSIS_TEST_SECRET"]
    # What is left is PGDATA, which libpq does not read: the child must have been started without it.
    assert os.environ.pop("PGDATA") == "/nowhere"
    stranded(path)


class TestSettings:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("data_checksums", "on"),
            ("server_encoding", "UTF8"),
            ("TimeZone", "UTC"),
            ("fsync", "on"),
            ("full_page_writes", "on"),
            ("synchronous_commit", "on"),
            ("listen_addresses", ""),
            ("shared_buffers", "128MB"),
            ("max_connections", "60"),
        ],
    )
    def test_the_server_is_set(self, server: EmbeddedServer, name: str, value: str) -> None:
        assert ask(server.admin_conninfo, "select current_setting(%s)", name) == value

    def test_text_sorts_by_code_point_and_knows_letters(self, server: EmbeddedServer) -> None:
        assert ask(server.admin_conninfo, "select 'Z' < 'a' and upper('é') = 'É'") is True

    def test_ctrl_c_and_the_environment_stay_outside(self, server: EmbeddedServer) -> None:
        assert server.pid is not None
        assert os.getsid(server.pid) != os.getsid(0)
        process = psutil.Process(server.pid)
        outside = {name for name in process.environ() if name.startswith("PG") or "SECRET" in name}
        assert outside == set()

    def test_a_database_is_made_once(self, server: EmbeddedServer) -> None:
        awkward = 'sites"; drop table x; --'
        assert server.ensure_database(awkward) is True
        assert server.ensure_database(awkward) is False
        conninfo = server.conninfo(SUPERUSER, PostgresFolder(server.folder).password(), awkward)
        assert ask(conninfo, "select current_database()") == awkward


class TestLogins:
    @pytest.mark.parametrize("password", ["guessed", None])
    def test_nobody_comes_in_without_the_password(
        self, server: EmbeddedServer, password: str | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HOME", "/nonexistent")
        with pytest.raises(psycopg.OperationalError, match=r"password authentication failed|no password"):
            psycopg.connect(server.conninfo(SUPERUSER, password, "postgres"))

    def test_every_rule_asks_for_a_password(self, server: EmbeddedServer) -> None:
        rules = "select array_agg(distinct type || ' ' || auth_method) from pg_hba_file_rules"
        assert set(ask(server.admin_conninfo, rules)) == {"local scram-sha-256", "host scram-sha-256"}

    def test_a_login_is_itself_and_cannot_become_the_superuser(self, server: EmbeddedServer) -> None:
        tell(server.admin_conninfo, "create role reader login password 'by heart'")
        conninfo = server.conninfo("reader", "by heart", "postgres")
        assert ask(conninfo, "select current_user || ' ' || session_user") == "reader reader"
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            tell(conninfo, "set role postgres")

    def test_secrets_and_socket_are_private(self, server: EmbeddedServer) -> None:
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in server.folder.iterdir()}
        folders = {"cluster", "socket"}
        assert folders <= modes.keys()
        assert {modes[name] for name in folders} == {0o700}
        assert {mode for name, mode in modes.items() if name not in folders} == {0o600}
        assert stat.S_IMODE(server.folder.stat().st_mode) == 0o700

    def test_what_a_login_says_stays_out_of_the_log(self, server: EmbeddedServer) -> None:
        tell(server.admin_conninfo, "create table if not exists pairs (name text primary key)")
        tell(server.admin_conninfo, "insert into pairs values ('a-private-value')")
        with pytest.raises(psycopg.errors.UniqueViolation):
            tell(server.admin_conninfo, "insert into pairs values ('a-private-value')")
        log = (server.folder / "server.log").read_text()
        assert "duplicate key" in log
        assert "a-private-value" not in log

    def test_without_the_password_file_it_says_what_to_do(self, folder: Path) -> None:
        with EmbeddedServer(folder) as server:
            kept = (folder / "superuser-password").rename(folder / "elsewhere")
            with pytest.raises(EmbeddedError, match=r"is missing\. Put it back"):
                EmbeddedServer(folder).start()
            kept.with_name("superuser-password").write_text("another\n")
            with pytest.raises(EmbeddedError, match=r"turns its superuser away.*password authentication failed"):
                EmbeddedServer(folder).start()
            kept.rename(folder / "superuser-password")
            assert ask(server.admin_conninfo, "select 1") == 1


class TestStartAndStop:
    def test_before_its_start_there_is_nothing(self, tmp_path: Path) -> None:
        server = EmbeddedServer(tmp_path / "pg")
        assert server.stop() is False
        assert server.ensure_running() is False
        assert (server.pid, server.started_here) == (None, False)
        with pytest.raises(EmbeddedError, match="was not started"):
            server.conninfo("reader")
        assert list(tmp_path.iterdir()) == []

    def test_a_stopped_server_starts_warm_on_the_same_cluster(self, folder: Path) -> None:
        server = EmbeddedServer(folder)
        server.start()
        server.start()
        identity = ask(server.admin_conninfo, "select system_identifier from pg_control_system()")
        tell(server.admin_conninfo, "create table kept (id int)")
        with psycopg.connect(server.admin_conninfo) as idle:
            idle.execute("insert into kept values (1)")  # an open transaction does not hold up a stop
            began = time.monotonic()
            assert server.stop(timeout_s=60) is True
            assert time.monotonic() - began < 50
            with pytest.raises(psycopg.OperationalError):
                idle.execute("select 1")
        assert server.stop() is False
        assert server.pid is None
        assert server.ensure_running() is False, "a stopped server is not to be revived"
        assert server.pid is None

        with (folder / "server.log").open("r+b") as log:
            log.truncate(LOG_LIMIT_BYTES + 1)
        with server:
            assert ask(server.admin_conninfo, "select system_identifier from pg_control_system()") == identity
            assert ask(server.admin_conninfo, "select count(*) from kept") == 0
        assert server.pid is None
        assert (folder / "server.log").stat().st_size < 100_000
        assert (folder / "server.log.1").stat().st_size == LOG_LIMIT_BYTES + 1

    def test_the_callers_libpq_variables_do_not_count(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        foreign = {
            "PGHOST": "192.0.2.1",
            "PGHOSTADDR": "192.0.2.1",
            "PGPORT": "1",
            "PGUSER": "nobody-of-ours",
            "PGPASSWORD": "wrong",
            "PGDATABASE": "elsewhere",
            "PGSERVICE": "no-such-service",
            "PGTZ": "Pacific/Chatham",
            "PGSSLMODE": "verify-full",
            "PGOPTIONS": "-c no_such_setting=1",
        }
        for name, value in foreign.items():
            monkeypatch.setenv(name, value)
        with EmbeddedServer(folder) as server:
            assert foreign.keys() & os.environ.keys() == set()
            assert ask(server.admin_conninfo, "select current_setting('TimeZone')") == "UTC"
            assert ask(server.admin_conninfo, "select current_user || current_database()") == "postgrespostgres"

    def test_a_failed_start_shows_the_end_of_the_log(self, folder: Path) -> None:
        with pytest.raises(EmbeddedError, match=r"ended with code 1.*invalid value.*shared_buffers"):
            EmbeddedServer(folder, shared_buffers="plenty").start()
        with EmbeddedServer(folder) as server:
            assert ask(server.admin_conninfo, "select 1") == 1

    @pytest.mark.parametrize("content", ["14\n", "9.6\n", None])
    def test_another_major_versions_folder_is_refused_untouched(self, tmp_path: Path, content: str | None) -> None:
        (tmp_path / "cluster" / "base").mkdir(parents=True)
        if content:
            (tmp_path / "cluster" / "PG_VERSION").write_text(content)
        before = {path: path.stat() for path in (tmp_path, *tmp_path.rglob("*"))}
        with pytest.raises(EmbeddedError) as refusal:
            EmbeddedServer(tmp_path).start()
        if content:
            for word in (f"PostgreSQL {content.strip()}", "PostgreSQL 18.", "pg_dumpall", "POSTGRES_BIN_DIR"):
                assert word in str(refusal.value)
        else:
            assert "is not a PostgreSQL cluster" in str(refusal.value)
        after = {path: path.stat() for path in (tmp_path, *tmp_path.rglob("*"))}
        assert {path: (it.st_mtime_ns, it.st_mode) for path, it in after.items()} == {
            path: (it.st_mtime_ns, it.st_mode) for path, it in before.items()
        }

    def test_a_folder_that_cannot_be_made_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(EmbeddedError, match=f"cannot run on {tmp_path}/file/pg: .*Not a directory"):
            EmbeddedServer(tmp_path / "file" / "pg").start()

    @pytest.mark.parametrize("inside", ["x" * 60 + "/" + "y" * 60, "a,b"], ids=["long", "comma"])
    def test_a_path_that_cannot_carry_a_socket(self, made: Path, tmp_path: Path, inside: str) -> None:
        folder = shutil.copytree(made, tmp_path / inside / "pg")
        with EmbeddedServer(folder) as server:
            try:
                conninfo = server.admin_conninfo
                assert ask(conninfo, "select 1") == 1
                short = Path(ask(conninfo, "select current_setting('unix_socket_directories')"))
                assert (len(str(short)) < 60, stat.S_IMODE(short.stat().st_mode)) == (True, 0o700)
                kill(server.pid)
                assert server.ensure_running()
                assert ask(conninfo, "select 1") == 1, "the connection string is not true any more"
                adopter = EmbeddedServer(folder)
                adopter.start()
                assert not adopter.started_here
                assert adopter.admin_conninfo == conninfo
                # A recorded folder that others could have made is not used again.
                server.stop()
                short.chmod(0o755)
                server.start()
                assert server.admin_conninfo != conninfo
                assert ask(server.admin_conninfo, "select 1") == 1
                short.rmdir()
            finally:
                server.stop()
                stranded(folder)
