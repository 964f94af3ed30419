"""Simulated sites for a connection that waits for its vendor: begun by a person, gone when the vendor's data comes."""

from datetime import datetime
from uuid import UUID, uuid4

from enalysis.actions.grants import begin_streams
from enalysis.actions.vendors import Vendors
from enalysis.core.access import Role, Scope
from enalysis.core.errors import Refused, WaitingForVendor
from enalysis.store import connections, quotas, twins
from enalysis.store.connections import Connection
from enalysis.store.pool import Conn, Database

NOT_ALLOWED = (
    "simulated sites are not allowed on this server, whose address is public: its operator can allow them with"
    " SANDBOX_ALLOWED=true"
)


def may_begin(vendors: Vendors, state: str, *, sandbox: bool) -> bool:
    """Tell whether a connection in this state may be offered simulated sites."""
    return vendors.may_simulate and not sandbox and state == WaitingForVendor.state


async def begin(scope: Scope, db: Database, vendors: Vendors, connection: UUID, now: datetime) -> UUID:
    """Give a waiting connection a twin that reads from the simulators, and return it; the worker fills it.

    The connection itself waits on as before. Where it has a twin already, that one is returned.

    Raises: NotFound; Refused: it does not wait, or this server allows no simulated sites.
    """
    scope.allow(Role.ADMIN)
    if not vendors.may_simulate:
        raise Refused(NOT_ALLOWED)
    async with db.org(scope) as conn:
        found = await connections.find_connection(scope, conn, connection)
        twin = await twins.find_twin(scope, conn, connection)
    if twin is not None:
        return twin.id
    spec = vendors.spec(found.vendor)
    if not may_begin(vendors, found.state, sandbox=found.sandbox):
        msg = f"{found.name} does not wait for {spec.label}'s approval: it has, or will have, sites of its own"
        raise Refused(msg)
    made = uuid4()
    plan = spec.way(found.way).plan(found.plan)
    # Of the twin alone: what it asks the simulators never counts against what the vendor allows.
    account = f"sandbox:{found.vendor}:{made}"
    async with db.world() as conn:
        await quotas.declare(conn, account, plan.quotas)
    # Nothing secret is in it; what is sealed tells that the connection may be asked.
    sealed = await vendors.seal(scope, made, {})
    name = f"{found.name} (simulated)"
    async with db.org(scope) as conn:
        await connections.add_connection(
            scope, conn, made, found.vendor, name, plan.key, account, now, way=found.way, twin_of=found.id
        )
        await connections.set_sealed(scope, conn, made, sealed, now)
        await begin_streams(scope, conn, spec, made, now)
        text = f"{found.name}: simulated sites meanwhile, until {spec.label} approves the app"
        await connections.add_event(scope, conn, found.id, None, "simulated", text, now)
    return made


async def end(scope: Scope, db: Database, vendors: Vendors, connection: UUID, now: datetime) -> int:
    """Delete the twin of a connection, or this twin, with its sites and readings; return how many sites.

    Nothing happens to the connection that waits. Raises NotFound.
    """
    scope.allow(Role.ADMIN)
    async with db.org(scope) as conn:
        found = await connections.find_connection(scope, conn, connection)
        twin = await twins.find_twin(scope, conn, connection)
        if twin is None:
            return 0
        label = vendors.spec(found.vendor).label
        gone = await remove(scope, conn, twin, f"The simulated sites are deleted; {label} is still waited for", now)
    await forget(db, twin)
    return gone


async def go_live(scope: Scope, db: Database, connection: Connection, label: str, now: datetime) -> None:
    """Remove the twin of a connection whose vendor's data just came, if it has one, and say so."""
    if connection.sandbox:
        return
    async with db.org(scope) as conn:
        twin = await twins.find_twin(scope, conn, connection.id)
        if twin is None:
            return
        text = f"{connection.name} is live: {label} sends data, and the simulated sites are deleted"
        await remove(scope, conn, twin, text, now)
    await forget(db, twin)


async def remove(scope: Scope, conn: Conn, twin: Connection, text: str, now: datetime) -> int:
    """Delete a twin and all that came through it, and say so where it was begun; return how many sites."""
    gone = await twins.remove_twin(scope, conn, twin.id)
    await connections.add_event(scope, conn, twin.twin_of, None, "simulation_ended", text, now)
    return gone


async def forget(db: Database, twin: Connection) -> None:
    """Drop the quotas of a twin that is gone."""
    async with db.world() as conn:
        await quotas.forget(conn, twin.account)
