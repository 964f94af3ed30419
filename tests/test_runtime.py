"""Putting the parts together: which database, which key, and what readiness says of them."""

import base64
import secrets
from pathlib import Path

import psycopg
import pytest

from enalysis.config import Settings, load_settings
from enalysis.core.errors import ConfigError
from enalysis.runtime import open_runtime
from enalysis.store.logins import APP, ENGINE, JOBS, OWNER
from tests.cli.conftest import database_url
from tests.conftest import Base


def settings_for(base: Base, folder: Path, key: bytes, *, owner: bool = True) -> Settings:
    """Return settings that name the test's database as an operator's own."""
    environ = {
        "ENCRYPTION_KEY": base64.b64encode(key).decode(),
        "DATABASE_URL": database_url(base.app),
        "DATABASE_ENGINE_URL": database_url(base.engine),
        "DATABASE_JOBS_URL": database_url(base.jobs),
    }
    if owner:
        environ["DATABASE_OWNER_URL"] = database_url(base.owner)
    return load_settings(environ, folder)


async def test_everything_is_ready(base: Base, tmp_path: Path) -> None:
    """With the right key over a migrated database each check is ok, with and without the owner's login."""
    key = secrets.token_bytes(32)
    for owner in (True, False):
        async with open_runtime(settings_for(base, tmp_path, key, owner=owner)) as runtime:
            assert await runtime.ready() == {"database": "ok", "schema": "ok", "key": "ok"}
            assert not runtime.sandbox


async def test_another_key_is_refused_and_nothing_is_written(base: Base, tmp_path: Path) -> None:
    """A start with a key that did not seal the database ends with what is wrong; the right key works after it."""
    key = secrets.token_bytes(32)
    async with open_runtime(settings_for(base, tmp_path, key)):
        pass
    before = whole(base)
    with pytest.raises(ConfigError, match="ENCRYPTION_KEY is not the key"):
        async with open_runtime(settings_for(base, tmp_path, secrets.token_bytes(32))):
            pytest.fail("it started")
    assert whole(base) == before
    async with open_runtime(settings_for(base, tmp_path, key)) as runtime:
        assert (await runtime.ready())["key"] == "ok"


async def test_an_old_schema_without_the_owner_is_refused(base: Base, tmp_path: Path) -> None:
    """Serving a schema this code does not know would store wrongly: it says which command to run."""
    with psycopg.connect(base.owner) as owner:
        owner.execute("update alembic_version set version_num = '0000'")
    with pytest.raises(ConfigError, match="enalysis db migrate"):
        async with open_runtime(settings_for(base, tmp_path, secrets.token_bytes(32), owner=False)):
            pytest.fail("it started")


async def test_a_login_of_another_name_is_refused(base: Base, tmp_path: Path) -> None:
    """Policies and grants go by the logins' names, so an address with another login cannot work."""
    environ = {
        "ENCRYPTION_KEY": base64.b64encode(secrets.token_bytes(32)).decode(),
        "DATABASE_URL": database_url(base.app).replace(APP, "somebody"),
        "DATABASE_ENGINE_URL": database_url(base.engine),
        "DATABASE_JOBS_URL": database_url(base.jobs),
        "DATABASE_OWNER_URL": database_url(base.owner),
    }
    with pytest.raises(ConfigError, match=APP):
        async with open_runtime(load_settings(environ, tmp_path)):
            pytest.fail("it started")


def whole(base: Base) -> list[tuple[object, ...]]:
    """Return the tables a start could touch."""
    with psycopg.connect(base.cluster.server.admin_conninfo + f" dbname={base.name}") as admin:
        return admin.execute("select * from instance").fetchall()


def test_the_serving_logins_can_do_no_more_than_they_must(base: Base) -> None:
    """None of the four is a superuser or may look past row-level security; only the owner may make logins."""
    with psycopg.connect(base.owner) as owner:
        rows = owner.execute(
            "select rolname, rolsuper, rolbypassrls, rolcreatedb, rolcreaterole from pg_roles where rolname = any(%s)",
            ([APP, ENGINE, JOBS, OWNER],),
        ).fetchall()
    assert len(rows) == 4
    for name, superuser, bypasses, makes_databases, makes_roles in rows:
        assert not superuser
        assert not bypasses
        assert not makes_databases
        assert not makes_roles or name == OWNER
