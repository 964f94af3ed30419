"""The three logins and the job queue's: made by the owner, never assumed by SET ROLE."""

from collections.abc import Mapping

import psycopg
from psycopg import sql

APP, ENGINE, JOBS, OWNER = "enalysis_app", "enalysis_engine", "enalysis_jobs", "enalysis_owner"

# The owner creates its own schema objects; the others hold only what migrations grant them.
_SERVING = (APP, ENGINE, JOBS)
# The engine claims streams and puts jobs on the queue in one transaction, so it sees both schemas.
_PATHS = {JOBS: "jobs", ENGINE: "public, jobs"}


def create_logins(owner: psycopg.Connection, passwords: Mapping[str, str], *, only_missing: bool = False) -> None:
    """Create the logins or set their passwords and limits again; safe to repeat.

    Args: owner: a connection of a login that may create roles (the owner, or a superuser when embedded).
        only_missing: leave those alone that are there, whose passwords the operator keeps.
    Raises: psycopg.Error where it may not.
    """
    with owner.transaction():
        owner.execute("select pg_advisory_xact_lock(hashtext('enalysis.logins'))")
        for name in (*_SERVING, OWNER):
            if name in passwords and not (only_missing and _exists(owner, name)):
                _create(owner, name, passwords[name])


def create_database(admin: psycopg.Connection, database: str) -> None:
    """Create the database for the owner login unless it is there; `admin` must be in autocommit mode."""
    with admin.transaction():
        admin.execute("select pg_advisory_xact_lock(hashtext('enalysis.database'))")
    found = admin.execute("select 1 from pg_database where datname = %s", (database,)).fetchone()
    if found is None:
        try:
            admin.execute(
                sql.SQL("create database {} owner {}").format(sql.Identifier(database), sql.Identifier(OWNER))
            )
        except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
            return


def _exists(owner: psycopg.Connection, name: str) -> bool:
    return owner.execute("select 1 from pg_roles where rolname = %s", (name,)).fetchone() is not None


def _create(owner: psycopg.Connection, name: str, password: str) -> None:
    role = sql.Identifier(name)
    if not _exists(owner, name):
        owner.execute(sql.SQL("create role {} login").format(role))
    attributes = "nosuperuser nobypassrls nocreatedb noreplication"
    if name != OWNER:
        attributes += " nocreaterole noinherit"
    owner.execute(sql.SQL("alter role {} with " + attributes + " password {}").format(role, sql.Literal(password)))
    if name in _PATHS:
        owner.execute(sql.SQL("alter role {} set search_path = " + _PATHS[name]).format(role))
