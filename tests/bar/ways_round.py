"""Tries every way round the tenants' wall: keys that reach over it, partitions, views, functions, other roles."""

from collections.abc import Mapping, Sequence

import psycopg
from psycopg import sql

from enalysis.store.logins import APP, ENGINE
from tests.bar.row import Row
from tests.bar.tenancy import Table, enter, insert, plant, superuser, tenant_tables
from tests.databases import Base

DENIED = psycopg.errors.InsufficientPrivilege
# Child, its columns, parent, the parent's columns.
ForeignKey = tuple[str, list[str], str, list[str]]
# The one function that runs as the owner, and what it may be told (docs/decisions and the migration say why).
DEFINERS = {"ensure_partitions(date,date)"}
ESCAPES = (
    "set role enalysis_owner",
    "set role postgres",
    "set local role enalysis_owner",
    "set session authorization enalysis_owner",
    "reset role",
    "reset session authorization",
    "discard all",
    "reset all",
    "set row_security = off",
    "set session_replication_role = replica",
    "alter role current_user bypassrls",
    "alter role current_user superuser",
    "create role helper superuser",
    "grant enalysis_owner to current_user",
    "alter table {t} disable row level security",
    "alter table {t} no force row level security",
    "alter table {t} owner to current_user",
    "drop policy tenant on {t}",
    "create policy open on {t} using (true)",
    "create table public.copied as select * from {t}",
    "create view public.seen as select * from {t}",
    "create temp view seen as select * from {t}",
    "create temp table copied as select * from {t}",
    "create function public.all_rows() returns setof {t} language sql security definer as 'select * from {t}'",
    "create function pg_temp.all_rows() returns setof {t} language sql security definer as 'select * from {t}'",
    "select pg_temp.all_rows()",
    "create rule looking as on select to {t} do instead select * from {t}",
    "create trigger looking after insert on {t} execute function suppress_redundant_updates_trigger()",
    "create extension dblink",
    "create schema mine",
    "create event trigger looking on ddl_command_end execute function jobs.version()",
    "truncate {t}",
    "lock table {t}",
    "copy {t} to program 'cat'",
    "copy {t} to '/dev/null'",
    "select pg_read_file('PG_VERSION')",
    "select lo_import('/etc/hostname')",
    "select pg_ls_dir('.')",
    "select rolpassword from pg_authid where rolpassword is not null",
    "select stavalues1 from pg_statistic",
    "do $$ begin set local row_security = off; perform * from {t}; end $$",
    "do $$ begin execute 'set local role enalysis_owner'; end $$",
)


def e4(base: Base) -> Row:
    """E4: no key reaches over the wall: neither a foreign id is accepted nor another's key betrayed."""
    mine, theirs = plant(base, 2)
    with superuser(base) as admin:
        tables = {t.name: t for t in tenant_tables(admin)}
        foreign = _foreign_keys(admin, list(tables))
        unique = _unique_keys(admin, list(tables))
    single = sum(_is_single(f, tables) for f in foreign)
    single += sum(tables[u[0]].tenant not in u[1] for u in unique)
    accepted = oracle = probes = 0
    with psycopg.connect(base.app, autocommit=True) as conn:
        for child, columns, parent, parent_columns in foreign:
            if parent in {"organizations", "users"}:
                continue
            target = {c: theirs[parent][r] for c, r in zip(columns, parent_columns, strict=True)}
            target.pop("organization_id", None)
            probes += 1
            accepted += _points_across(conn, child, mine[child]["organization_id"], target)
        for name, table in tables.items():
            probes += 1
            oracle += _betrays(conn, table, mine[name], theirs[name])
    return Row(
        "E4",
        len(foreign) + len(unique) + probes,
        single + accepted + oracle,
        60,
        {
            "foreign_keys": len(foreign),
            "unique_keys": len(unique),
            "single_column": single,
            "accepted": accepted,
            "oracle": oracle,
        },
    )


def _is_single(key: ForeignKey, tables: Mapping[str, Table]) -> bool:
    """Tell whether a foreign key leads to a row by less than its organization; a person is everybody's."""
    child, columns, parent, parent_columns = key
    if parent == "organizations":
        return columns != ["organization_id"]
    if parent not in tables:
        return (child, parent) != ("memberships", "users")
    return dict(zip(columns, parent_columns, strict=True)).get("organization_id") != "organization_id"


def _foreign_keys(admin: psycopg.Connection, tables: Sequence[str]) -> list[ForeignKey]:
    return admin.execute(
        "select c.conrelid::regclass::text,"
        " array(select attname::text from unnest(c.conkey) with ordinality k (n, o)"
        "   join pg_attribute a on a.attrelid = c.conrelid and a.attnum = k.n order by k.o),"
        " c.confrelid::regclass::text,"
        " array(select attname::text from unnest(c.confkey) with ordinality k (n, o)"
        "   join pg_attribute a on a.attrelid = c.confrelid and a.attnum = k.n order by k.o)"
        " from pg_constraint c where c.contype = 'f' and c.conparentid = 0 and c.conrelid::regclass::text = any(%s)",
        (list(tables),),
    ).fetchall()


def _unique_keys(admin: psycopg.Connection, tables: Sequence[str]) -> list[tuple[str, list[str]]]:
    return admin.execute(
        "select i.indrelid::regclass::text, array(select coalesce(a.attname::text, '') from unnest(i.indkey) k (n)"
        "   left join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.n)"
        " from pg_index i where (i.indisunique or i.indisexclusion) and i.indrelid::regclass::text = any(%s)",
        (list(tables),),
    ).fetchall()


def _points_across(conn: psycopg.Connection, child: str, organization: object, target: Mapping[str, object]) -> bool:
    """Tell whether a row of an organization may be made to refer to a row of another that is there."""
    changes = [sql.SQL("{} = {}").format(sql.Identifier(c), sql.Literal(v)) for c, v in target.items()]
    with conn.transaction(force_rollback=True):
        enter(conn, organization)
        try:
            changed = conn.execute(
                sql.SQL("update {} set {}").format(sql.Identifier(child), sql.SQL(", ").join(changes))
            ).rowcount
        except psycopg.errors.ForeignKeyViolation:
            return False
    return changed > 0


def _betrays(conn: psycopg.Connection, table: Table, mine: dict[str, object], theirs: dict[str, object]) -> bool:
    """Tell whether storing what they have stored is refused because they have it."""
    with conn.transaction(force_rollback=True):
        enter(conn, mine[table.tenant])
        try:
            insert(conn, table.name, {**theirs, table.tenant: mine[table.tenant]})
        except psycopg.errors.UniqueViolation as error:
            # Of organizations itself only mine can be meant: its one key is the organization.
            return table.name != "organizations" or "organizations_pkey" not in str(error)
        except (psycopg.errors.ForeignKeyViolation, DENIED):
            return False
    return False


def e5(base: Base, escapes: Sequence[str] = ESCAPES) -> Row:
    """E5: no partition, view, function, other role or session command shows a row without its organization."""
    plant(base, 1)
    with superuser(base) as admin:
        # Statistics hold values of rows; a login that could read them would need no table.
        admin.execute("analyze")
        tables = tenant_tables(admin)
        partitions, granted = _partitions(admin)
        views = _open_views(admin)
        definers = _definers(admin)
    shown = tried = 0
    with psycopg.connect(base.app, autocommit=True) as conn:
        for partition in partitions:
            tried += 1
            shown += _shows(conn, sql.SQL("select * from {}").format(sql.Identifier(partition)))
    # The app may ask for every table at once; the engine may ask for none of these.
    everything = sql.SQL(" + ").join(sql.SQL("({})").format(t.count()) for t in tables)
    counts = {
        APP: [sql.SQL("select {}").format(everything)],
        ENGINE: [t.count() for t in tables if t.name in {"sites", "intervals", "organization_keys"}],
    }
    for login, conninfo in ((APP, base.app), (ENGINE, base.engine)):
        for escape in escapes:
            with psycopg.connect(conninfo, autocommit=True) as conn:
                tried += 1
                shown += _shows(conn, sql.SQL(escape).format(t=sql.Identifier("sites")))
                shown += sum(_shows(conn, query, counted=True) for query in counts[login])
                who = conn.execute("select current_user, session_user").fetchone()
                shown += who != (login, login)
    with psycopg.connect(base.engine, autocommit=True) as conn:
        for secret in ("select sealed from connections", "select * from connections", "select * from streams"):
            tried += 1
            shown += _shows(conn, sql.SQL(secret))
    return Row(
        "E5",
        tried + len(partitions) + len(definers),
        shown + len(granted) + len(views) + len(definers - DEFINERS) + (not partitions),
        80,
        {
            "partitions": len(partitions),
            "granted": len(granted),
            "open_views": len(views),
            "definers": len(definers),
            "escapes": 2 * len(escapes),
            "shown": shown,
        },
    )


def _shows(conn: psycopg.Connection, statement: sql.SQL | sql.Composed, *, counted: bool = False) -> bool:
    """Tell whether a statement answers with a row, or counts one."""
    try:
        cur = conn.execute(statement)
        rows = cur.fetchall() if cur.description else []
    except psycopg.Error:
        return False
    return any(row[0] for row in rows) if counted else bool(rows)


def _partitions(admin: psycopg.Connection) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the partitions of tenants' tables, and which of them somebody who serves was given anything on."""
    rows = admin.execute(
        "select c.relname from pg_class c where c.relispartition and c.relkind = 'r'"
        " and c.relnamespace = 'public'::regnamespace order by 1"
    ).fetchall()
    granted = admin.execute(
        "select c.relname, r.rolname from pg_class c cross join pg_roles r where c.relispartition and c.relkind = 'r'"
        " and r.rolname like 'enalysis%%' and r.oid <> c.relowner"
        " and has_table_privilege(r.oid, c.oid, 'select, insert, update, delete, truncate, references, trigger')"
    ).fetchall()
    return [name for (name,) in rows], granted


def _open_views(admin: psycopg.Connection) -> list[tuple[str]]:
    """Return views that read with their owner's rights, and every materialised view."""
    return admin.execute(
        "select c.relname::text from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where n.nspname !~ '^pg_' and n.nspname <> 'information_schema' and (c.relkind = 'm' or (c.relkind = 'v'"
        "   and not coalesce('security_invoker=true' = any(c.reloptions), false)))"
    ).fetchall()


def _definers(admin: psycopg.Connection) -> set[str]:
    """Return the functions that run with their owner's rights and that a serving login may call."""
    rows = admin.execute(
        "select p.oid::regprocedure::text from pg_proc p join pg_namespace n on n.oid = p.pronamespace"
        " where p.prosecdef and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'"
        " and exists (select from pg_roles r where r.rolname like 'enalysis%%' and r.oid <> p.proowner"
        "   and has_function_privilege(r.oid, p.oid, 'execute'))"
    ).fetchall()
    return {name for (name,) in rows}
