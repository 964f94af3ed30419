"""Fixtures every room shares: one PostgreSQL a run, one fresh database a test."""

from collections.abc import AsyncIterator, Iterator
from uuid import UUID, uuid4

import pytest

from enalysis.core.access import Scope
from enalysis.store.pool import Database
from tests.databases import NOW, Base, Cluster, fresh_base, make_organization, started_cluster

__all__ = ["NOW", "Base", "Cluster", "make_organization"]


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Start PostgreSQL once and migrate a template once."""
    with started_cluster(tmp_path_factory.mktemp("pg")) as made:
        yield made


@pytest.fixture
def base(cluster: Cluster) -> Iterator[Base]:
    """Copy the template to a database of the test's own and drop it after."""
    with fresh_base(cluster) as made:
        yield made


@pytest.fixture
async def db(base: Base) -> AsyncIterator[Database]:
    """Open the app's and the engine's pools over the test's database."""
    async with Database(base.app, base.engine) as opened:
        yield opened


@pytest.fixture
async def scope(db: Database) -> Scope:
    """Return the scope of a fresh organization."""
    return await make_organization(db)


@pytest.fixture
def stranger() -> UUID:
    """Return an id that belongs to nobody."""
    return uuid4()
