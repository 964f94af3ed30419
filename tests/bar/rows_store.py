"""Measures the tenants' wall and the quotas: E1 to E5 and I3, against a real PostgreSQL."""

import asyncio
import contextlib
import json
import os
import random
import re
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import psycopg
from psycopg import sql

from enalysis.core.access import Role, Scope
from enalysis.core.quotas import QuotaWindow
from enalysis.store import quotas
from enalysis.store.logins import APP, ENGINE, JOBS
from enalysis.store.pool import Database
from enalysis.store.quotas import Caller
from tests.bar.row import Row
from tests.bar.spender import ASKERS
from tests.bar.tenancy import GLOBAL, Table, enter, insert, make_row, ordinary_tables, plant, superuser, tenant_tables
from tests.bar.ways_round import e4, e5
from tests.core.fleet import quota
from tests.databases import NOW, Base

__all__ = ["e1", "e2", "e3", "e4", "e5", "i3"]

ROOT = Path(__file__).resolve().parents[2]
DENIED = psycopg.errors.InsufficientPrivilege


def e1(base: Base) -> Row:
    """E1: every tenant's table is under forced row-level security, and the logins that serve are nobody special."""
    with superuser(base) as admin:
        tables = tenant_tables(admin)
        unprotected = [t.name for t in tables if not _is_protected(admin, t)]
        ownerless = set(ordinary_tables(admin)) - {t.name for t in tables} - GLOBAL
        flags = _role_flags(admin)
        excess = admin.execute(
            "select table_name, privilege_type from information_schema.role_table_grants where grantee = any(%s)"
            " and table_schema = 'public' and privilege_type in ('TRUNCATE', 'REFERENCES', 'TRIGGER')",
            ([APP, ENGINE, JOBS],),
        ).fetchall()
    return Row(
        "E1",
        len(tables),
        len(unprotected) + len(ownerless) + len(flags) + len(excess),
        20,
        {
            "unprotected": len(unprotected),
            "without_organization": len(ownerless),
            "role_flags": len(flags),
            "excess_grants": len(excess),
        },
    )


def _is_protected(admin: psycopg.Connection, table: Table) -> bool:
    """Tell whether every way to a row leads past its organization, or past the person it belongs to."""
    row = admin.execute(
        "select relrowsecurity and relforcerowsecurity from pg_class"
        " where oid = format('public.%%I', %s::text)::regclass",
        (table.name,),
    ).fetchone()
    policies = admin.execute(
        "select cmd, permissive, roles::text[], qual, with_check from pg_policies"
        " where schemaname = 'public' and tablename = %s",
        (table.name,),
    ).fetchall()
    wall = re.compile(
        rf"\(?{table.tenant} = \( SELECT \(?NULLIF\(current_setting\('app\.org'::text, true\), ''::text\)\)?::uuid",
        re.IGNORECASE,
    )
    held = False
    for cmd, permissive, roles, using, check in policies:
        if roles == [ENGINE]:
            continue
        if cmd == "SELECT" and roles == [APP] and "app.user" in using and table.name == "memberships":
            continue
        if not (permissive == "PERMISSIVE" and cmd == "ALL" and wall.match(using) and wall.match(check or "")):
            return False
        held = True
    return bool(row and row[0] and held)


def _role_flags(admin: psycopg.Connection) -> list[tuple[str, ...]]:
    """Return every attribute, membership and possession that a serving login must not have."""
    names = [APP, ENGINE, JOBS]
    found = admin.execute(
        "select rolname, 'attribute' from pg_roles where rolname = any(%s)"
        " and (rolsuper or rolbypassrls or rolcreaterole or rolcreatedb or rolreplication or rolinherit)"
        " union all select r.rolname, 'member' from pg_auth_members m join pg_roles r on r.oid = m.member"
        "   where r.rolname = any(%s)"
        " union all select r.rolname, c.relname::text from pg_class c join pg_roles r on r.oid = c.relowner"
        "   where r.rolname = any(%s)"
        " union all select r.rolname, p.proname::text from pg_proc p join pg_roles r on r.oid = p.proowner"
        "   where r.rolname = any(%s)",
        (names, names, names, names),
    ).fetchall()
    there = {name for (name,) in admin.execute("select rolname from pg_roles").fetchall()}
    missing = [(name, "missing") for name in names if name not in there]
    return [*found, *missing]


def e2(base: Base) -> Row:
    """E2: without an organization nothing is seen and nothing written, whatever the connection did before."""
    first, second = plant(base, 2)
    with superuser(base) as admin:
        tables = tenant_tables(admin)
    seen = written = errors = tried = blind = 0
    with psycopg.connect(base.app, autocommit=True) as conn:
        organization = first["organizations"]["id"]
        with conn.transaction():
            enter(conn, organization)
            blind = sum(_count(conn, t) < 1 for t in tables)
    for prepare in (_fresh, _used, _undone, _emptied):
        with psycopg.connect(base.app, autocommit=True) as conn:
            prepare(conn, organization)
            for table in tables:
                for attempt in (_read, _change, _remove, _add(second), _add(first)):
                    tried += 1
                    try:
                        found = attempt(conn, table)
                    except DENIED:
                        continue
                    except psycopg.IntegrityError:
                        # It came past the wall and was stopped by something else.
                        found = 1
                    except psycopg.errors.DataError:
                        errors += 1
                        continue
                    if attempt is _read:
                        seen += found
                    else:
                        written += found
    return Row(
        "E2",
        tried,
        seen + written + errors + blind,
        400,
        {"tables": len(tables), "rows": seen, "written": written, "cast_errors": errors, "blind": blind},
    )


def _fresh(conn: psycopg.Connection, _: object) -> None:
    conn.execute("select 1")


def _used(conn: psycopg.Connection, organization: object) -> None:
    with conn.transaction():
        enter(conn, organization)


def _undone(conn: psycopg.Connection, organization: object) -> None:
    with conn.transaction(force_rollback=True):
        enter(conn, organization)
        with contextlib.suppress(psycopg.errors.DivisionByZero), conn.transaction():
            conn.execute("select 1 / 0")


def _emptied(conn: psycopg.Connection, _: object) -> None:
    conn.execute("select set_config('app.org', '', false), set_config('app.user', '', false)")


def _count(conn: psycopg.Connection, table: Table) -> int:
    row = conn.execute(table.count()).fetchone()
    return 0 if row is None else int(row[0])


def _read(conn: psycopg.Connection, table: Table) -> int:
    return _count(conn, table)


def _change(conn: psycopg.Connection, table: Table) -> int:
    own = sql.Identifier(table.tenant)
    return conn.execute(sql.SQL("update {} set {} = {}").format(sql.Identifier(table.name), own, own)).rowcount


def _remove(conn: psycopg.Connection, table: Table) -> int:
    return conn.execute(sql.SQL("delete from {}").format(sql.Identifier(table.name))).rowcount


def _add(rows: dict[str, dict[str, object]]) -> Callable[[psycopg.Connection, Table], int]:
    def add(conn: psycopg.Connection, table: Table) -> int:
        organization = UUID(str(rows[table.name][table.tenant]))
        insert(conn, table.name, make_row(table, organization))
        return 1

    return add


async def e3(base: Base, requests: int = 20_000, database: type[Database] = Database) -> Row:
    """E3: fifty organizations over a pool of five, some requests cut off anywhere: nobody sees another's row."""
    planted = plant(base, 50)
    organizations = [UUID(str(rows["organizations"]["id"])) for rows in planted]
    chance = random.Random(1)  # noqa: S311 - an order, no secret
    found = {"foreign": 0, "lost": 0, "cancelled": 0, "failed": 0}

    async def ask(db: Database, organization: UUID, how: float) -> None:
        async with db.org(Scope(organization, None, Role.VIEWER)) as conn:
            rows = await (await conn.execute("select organization_id from sites")).fetchall()
            found["foreign"] += sum(row[0] != organization for row in rows)
            found["lost"] += not rows
            if 0.15 <= how < 0.2:
                raise ZeroDivisionError

    async def ask_nobody(db: Database) -> None:
        async with db.world() as conn:
            rows = await (await conn.execute("select organization_id from sites")).fetchall()
            found["foreign"] += len(rows)

    async def work(db: Database, share: int) -> None:
        for _ in range(share):
            how, after_s = chance.random(), chance.uniform(0, 0.01)
            request = ask_nobody(db) if how > 0.95 else ask(db, chance.choice(organizations), how)
            try:
                # One in ten is cut off: waiting for a connection, in a statement, at the commit.
                async with asyncio.timeout(after_s if how < 0.15 else None):
                    await request
            except TimeoutError:
                found["cancelled"] += 1
            except ZeroDivisionError:
                found["failed"] += 1

    async with database(base.app, base.engine, size=5) as db:
        await asyncio.gather(*(work(db, requests // 20) for _ in range(20)))
    nothing_cut = int(not found["cancelled"] or not found["failed"])
    return Row(
        "E3",
        requests,
        found["foreign"] + found["lost"] + nothing_cut,
        requests,
        {"tenants": len(organizations), "pool": 5, **found},
    )


async def i3(base: Base, processes: int = 8, accounts: int = 40) -> Row:
    """I3: processes at once make exactly as many calls as the quota has; fifty restarts sign in once.

    All of them ask for the same account's calls at the same time, for twice as many as there are, and go on to the
    next account: each is a race of its own. A call counts once its reservation is committed, and what the
    database holds as taken must be what was made.
    """
    cap = processes * ASKERS // 2
    scopes = [f"account {n}" for n in range(accounts)]
    async with Database(base.app, base.engine) as db, db.world() as conn:
        for scope in scopes:
            await quotas.declare(conn, scope, [quota(QuotaWindow.MINUTE, cap + 1), quota(QuotaWindow.MONTH, cap)])
        await quotas.declare(conn, "login", [quota(QuotaWindow.HOUR, 1)])
    shares = await _spend(base, scopes, processes)
    made = {scope: sum(share[scope] for share in shares) for scope in scopes}
    logins = 0
    for minute in range(50):
        async with Database(base.app, base.engine) as db, db.world() as conn:
            at = NOW + timedelta(minutes=minute)
            logins += (await quotas.take(conn, "login", 1, at, Caller.PERSON)).granted
    async with Database(base.app, base.engine) as db, db.world() as conn:
        budgets = await quotas.budgets(conn, scopes, NOW)
        unknown = (await quotas.take(conn, "nobody declared this", 1, NOW, Caller.PERSON)).granted
    differ = sum(b.taken != made[b.scope] for b in budgets) + abs(len(budgets) - 2 * accounts)
    return Row(
        "I3",
        processes * ASKERS * accounts + 50,
        sum(abs(calls - cap) for calls in made.values()) + differ + abs(logins - 1) + unknown,
        processes * ASKERS * accounts + 50,
        {
            "processes": processes,
            "accounts": accounts,
            "quota": cap,
            "calls_most": max(made.values()),
            "calls_least": min(made.values()),
            "reserved_not_made": differ,
            "restarts": 50,
            "logins": logins,
        },
    )


async def _spend(base: Base, scopes: list[str], processes: int) -> list[dict[str, int]]:
    """Let processes ask for calls, all from the same moment on; return how many each made of each scope."""
    order = json.dumps({"app": base.app, "engine": base.engine, "scopes": scopes, "at": NOW.isoformat()})
    running = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.bar.spender"),
            cwd=ROOT,
            env={"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for _ in range(processes)
    ]
    for process in running:
        assert process.stdin
        process.stdin.write(f"{order}\n".encode())
    for process in running:
        assert process.stdout
        await process.stdout.readline()
    told = await asyncio.gather(*(process.communicate(b"go\n") for process in running))
    if any(process.returncode for process in running):
        raise RuntimeError("a process that spends quota failed")
    return [json.loads(out) for out, _ in told]
