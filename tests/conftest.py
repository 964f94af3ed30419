"""Fixtures every room shares: one PostgreSQL a run, one fresh database a test."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
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


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say whether the recorded answers were run; only the folder's own name, never where it lies."""
    named = os.environ.get("ENALYSIS_PAYLOADS")
    reports = [*terminalreporter.stats.get("passed", []), *terminalreporter.stats.get("failed", [])]
    run = sum(report.when == "call" and "recorded" in report.nodeid for report in reports)
    if named and run:
        terminalreporter.write_line(f"recorded payloads: run from {Path(named).resolve().name}, {run} tests")
    else:
        why = "none of their tests was selected" if named else "ENALYSIS_PAYLOADS is not set"
        terminalreporter.write_line(f"recorded payloads: skipped: {why}")
