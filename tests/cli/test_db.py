"""`enalysis db`: where the database is and its schema's version, of one's own and embedded."""

from pathlib import Path

import psycopg
import pytest

from enalysis.store.logins import OWNER, create_database
from enalysis.store.migrate import newest
from tests.cli.conftest import Terminal, database_url
from tests.conftest import Base, Cluster
from tests.settings import KEY


async def test_a_database_of_one_s_own_is_migrated_by_its_owner(
    settled: Terminal, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(cluster.server.admin_conninfo, autocommit=True) as admin:
        create_database(admin, "bare")
        try:
            for part in ("", "ENGINE_", "JOBS_", "OWNER_"):
                login = f"enalysis_{part.strip('_').lower() or 'app'}"
                monkeypatch.setenv(f"DATABASE_{part}URL", database_url(cluster.conninfo(login, "bare")))
            before = await settled.json("db", "status")
            assert (before["version"], before["needed"], before["current"]) == (None, newest(), False)
            assert before["database"].endswith("/bare")
            assert "@" not in before["database"]
            said = await settled.run("db", "status")
            assert (said.code, said.out) == (0, "")
            assert "none yet" in said.err
            assert "enalysis db migrate" in said.err

            owner = database_url(cluster.conninfo(OWNER, "bare"))
            monkeypatch.delenv("DATABASE_OWNER_URL")
            said = await settled.run("db", "migrate", "--json")
            assert (said.code, said.document["kind"]) == (1, "settings")
            assert "DATABASE_OWNER_URL" in said.document["error"]
            said = await settled.run("site", "list", "--json")
            assert "enalysis db migrate" in said.document["error"]

            monkeypatch.setenv("DATABASE_OWNER_URL", owner)
            done = await settled.json("db", "migrate")
            assert (done["before"], done["after"]) == (None, newest())
            again = await settled.json("db", "migrate")
            assert (again["before"], again["after"]) == (newest(), newest())
            assert (await settled.json("db", "status"))["current"] is True
            assert "Nothing was changed" in (await settled.run("db", "migrate")).err
        finally:
            admin.execute("drop database bare with (force)")


async def test_a_migration_that_fails_is_told_in_a_sentence(settled: Terminal, base: Base) -> None:
    with psycopg.connect(base.owner, autocommit=True) as owner:
        owner.execute("update alembic_version set version_num = 'none of ours'")
    said = await settled.run("db", "migrate", "--json")
    assert said.code == 1
    assert said.document["kind"] == "settings"
    assert "Run the newer release" in said.document["error"]


async def test_the_embedded_database_is_made_by_migrating_and_not_by_asking(
    terminal: Terminal, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENCRYPTION_KEY", KEY)
    asked = await terminal.json("db", "status")
    assert asked == {
        "database": f"embedded in {folder / '.enalysis' / 'postgres'}",
        "version": None,
        "needed": newest(),
        "current": False,
    }
    assert not (folder / ".enalysis").exists()
    done = await terminal.json("db", "migrate")
    assert (done["before"], done["after"]) == (None, newest())
    assert (await terminal.json("db", "status"))["current"] is True
    # Whoever started the server stops it.
    assert not list((folder / ".enalysis" / "postgres").glob("**/postmaster.pid"))
