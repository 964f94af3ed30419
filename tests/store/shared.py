"""One database for all tests of a module, where each has its own organization and need not be alone."""

import secrets
from collections.abc import Iterator

import psycopg

from enalysis.store.logins import OWNER
from tests.conftest import Base, Cluster


def shared_base(cluster: Cluster) -> Iterator[Base]:
    """Copy the template once; a module's fixture `base` of scope "module" yields from this."""
    name = f"m{secrets.token_hex(4)}"
    with psycopg.connect(cluster.server.admin_conninfo, autocommit=True) as admin:
        admin.execute(f"create database {name} template {cluster.template} owner {OWNER} strategy wal_log")
        yield Base(name, cluster)
        admin.execute(f"drop database {name} with (force)")
