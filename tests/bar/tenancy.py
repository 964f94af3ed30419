"""What the catalogue says of the tenants' tables, and a row of every organization planted in each of them."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from uuid import UUID, uuid4

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.types.json import Jsonb

from tests.databases import Base

# Tables that belong to nobody; every other one must carry its organization.
GLOBAL = {"users", "sessions", "instance", "quota_limits", "quota_windows", "alembic_version"}
AT = datetime(2026, 6, 2, 9, tzinfo=UTC)
# Columns whose values a check restricts, or that partitions are cut by.
_WORDS: Mapping[str, object] = {
    "role": "owner",
    "duration_s": 900,
    "kind": {"meters": "pv", "devices": "inverter", "vendor_apps": "developer"},
    "origin": {"vendor_apps": "organization"},
    "state": {"vendor_apps": "verified"},
    "zone": "UTC",
    "valid_until": AT + timedelta(days=1),
}


@dataclass(frozen=True)
class Table:
    """A tenant's table: its columns with their types, and the column that names the organization."""

    name: str
    tenant: str
    columns: Mapping[str, str]

    def count(self) -> sql.Composed:
        """Return the query that counts what is seen of it."""
        return sql.SQL("select count(*) from {}").format(sql.Identifier(self.name))


def superuser(base: Base) -> psycopg.Connection:
    """Open the base as the cluster's superuser, whom no policy binds."""
    return psycopg.connect(make_conninfo(base.cluster.server.admin_conninfo, dbname=base.name), autocommit=True)


def ordinary_tables(admin: psycopg.Connection) -> list[str]:
    """Return the tables of the public schema, partitioned ones as one."""
    rows = admin.execute(
        "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')"
        " and not relispartition order by 1"
    ).fetchall()
    return [name for (name,) in rows]


def tenant_tables(admin: psycopg.Connection) -> list[Table]:
    """Return every table that carries an organization, and organizations itself."""
    found = []
    for name in ordinary_tables(admin):
        columns: dict[str, str] = dict(
            admin.execute(
                "select attname, format_type(atttypid, atttypmod) from pg_attribute"
                " where attrelid = format('public.%%I', %s::text)::regclass and attnum > 0 and not attisdropped"
                " order by attnum",
                (name,),
            ).fetchall()
        )
        if name == "organizations" or "organization_id" in columns:
            found.append(Table(name, "id" if name == "organizations" else "organization_id", columns))
    return found


def make_row(table: Table, organization: UUID) -> dict[str, object]:
    """Make up a value for every column of a table; none of them is null."""
    values: dict[str, object] = {}
    for column, kind in table.columns.items():
        word = _WORDS.get(column)
        word = word.get(table.name) if isinstance(word, Mapping) else word
        values[column] = _value(kind) if word is None else word
    return {**values, table.tenant: organization}


def plant(base: Base, organizations: int) -> list[dict[str, dict[str, object]]]:
    """Put a row of each of some organizations into every tenant table; return them by table, per organization.

    The superuser plants with foreign keys asleep: what a row refers to need not be there for it to be secret.
    """
    planted = []
    with superuser(base) as admin:
        admin.execute("select ensure_partitions(%s, %s)", (AT.date(), AT.date()))
        admin.execute("set session_replication_role = replica")
        tables = tenant_tables(admin)
        for _ in range(organizations):
            organization = uuid4()
            rows = {table.name: make_row(table, organization) for table in tables}
            for table in tables:
                insert(admin, table.name, rows[table.name])
            planted.append(rows)
    return planted


def insert(conn: psycopg.Connection, table: str, row: Mapping[str, object]) -> None:
    """Insert a row as it is, identities included."""
    conn.execute(
        sql.SQL("insert into {} ({}) overriding system value values ({})").format(
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, row)),
            sql.SQL(", ").join([sql.Placeholder()] * len(row)),
        ),
        list(row.values()),
    )


def enter(conn: psycopg.Connection, organization: object) -> None:
    """Show the open transaction one organization, as the app does."""
    conn.execute("select set_config('app.org', %s, true)", (str(organization),))


def _value(kind: str) -> object:
    if kind.endswith("[]"):
        return []
    made: dict[str, object] = {
        "uuid": uuid4(),
        "text": secrets.token_hex(6),
        "bytea": secrets.token_bytes(6),
        "integer": 1 + secrets.randbelow(2**30),
        "bigint": 1 + secrets.randbelow(2**50),
        "smallint": 0,
        "double precision": float(secrets.randbelow(90)),
        "boolean": True,
        "timestamp with time zone": AT,
        "date": date(2026, 6, 2),
        "jsonb": Jsonb({}),
    }
    if kind not in made:
        raise LookupError(f"tests/bar/tenancy.py knows no value of type {kind}: add one")
    return made[kind]
