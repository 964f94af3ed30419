"""Testing, adding, watching over and removing connections."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID, uuid4

from enalysis.actions import grants, meanwhile
from enalysis.actions.apps import way_of
from enalysis.actions.entered import cleaned
from enalysis.actions.grants import read_refusal, refuse_simulated
from enalysis.actions.vendors import Login, Vendors, keys_of
from enalysis.connectors import oauth
from enalysis.connectors.base import Auth, Check, Spec, Way
from enalysis.connectors.oauth import Grant
from enalysis.core.access import Role, Scope
from enalysis.core.errors import GrantDead, LoginNeeded, Refused, WaitingForVendor
from enalysis.store import apps, connections, quotas, streams
from enalysis.store.apps import App
from enalysis.store.pool import Database
from enalysis.store.quotas import Caller

_LONGEST_NAME = 80


async def test(
    scope: Scope,
    db: Database,
    vendors: Vendors,
    *,
    vendor: str,
    plan: str,
    fields: Mapping[str, str],
    now: datetime,
    way: str | None,
    app: UUID | None,
) -> Check:
    """Prove that a credential works, inside its quota; nothing is kept.

    Raises: Refused, or VendorError; WaitingForVendor where the app is what the vendor refuses.
    """
    scope.allow(Role.ADMIN)
    spec = vendors.spec(vendor)
    chosen = spec.way(way)
    clean = _clean(spec, chosen, fields)
    if chosen.app is None:
        return await _check(scope, vendors, await _own_login(db, vendors, spec, chosen, plan, clean), now)
    found, grant = await _log_in(scope, db, vendors, spec, chosen, app, clean, now)
    keys = await vendors.app_fields(scope, found.id)
    return await _check(scope, vendors, vendors.granted(spec, chosen, found.scope, keys, grant), now, found)


async def add(
    scope: Scope,
    db: Database,
    vendors: Vendors,
    *,
    vendor: str,
    name: str,
    plan: str,
    fields: Mapping[str, str],
    now: datetime,
    way: str | None = None,
    app: UUID | None = None,
) -> tuple[UUID, Check | None]:
    """Test a credential, seal and save it, and leave discovery to the worker.

    A name and password buy tokens; the password is not kept. A connection whose app the vendor has not approved
    yet is saved all the same, and waits.

    Returns: the new connection and what its test found, None where it waits for the vendor.
    Raises: Refused or VendorError; nothing is saved.
    """
    scope.allow(Role.ADMIN)
    spec = vendors.spec(vendor)
    chosen = spec.way(way)
    clean = _clean(spec, chosen, fields)
    name = _name(name, spec)
    if chosen.app is not None:
        return await _add_granted(scope, db, vendors, spec, chosen, app, name, clean, now)
    account = vendors.account(vendor, clean)
    await _refuse_twice(scope, db, account)
    login = await _own_login(db, vendors, spec, chosen, plan, clean, declare=True)
    found = await _check(scope, vendors, login, now)
    connection = uuid4()
    sealed = await vendors.seal(scope, connection, clean)
    async with db.org(scope) as conn:
        await connections.add_connection(
            scope, conn, connection, vendor, name, chosen.plan(plan).key, account, now, way=chosen.key
        )
        await connections.set_sealed(scope, conn, connection, sealed, now)
        await grants.begin_streams(scope, conn, spec, connection, now)
        await connections.add_event(scope, conn, connection, None, "connected", f"{name} connected", now)
    await _note_look(scope, db, connection, found, now)
    return connection, found


async def enter_again(
    scope: Scope,
    db: Database,
    vendors: Vendors,
    connection: UUID,
    fields: Mapping[str, str],
    now: datetime,
    app: UUID | None = None,
) -> Check | None:
    """Give a connection its key or password anew; its sites and history stay.

    Args: app: go on through this app, which takes a name and password; None: through the one it has.
    Returns: what the test found, None where the app waits for the vendor. Raises: Refused or VendorError;
    nothing is changed.
    """
    scope.allow(Role.ADMIN)
    async with db.org(scope) as conn:
        found = await connections.find_connection(scope, conn, connection)
    refuse_simulated(found)
    spec = vendors.spec(found.vendor)
    way = spec.way(found.way)
    if app is not None:
        async with db.org(scope) as conn:
            way = way_of(spec, (await apps.find_app(scope, conn, app)).kind)
    clean = _clean(spec, way, fields)
    if way.app is not None:
        through, grant = await _log_in(scope, db, vendors, spec, way, app or found.app_id, clean, now)
        await grants.save(scope, db, vendors, spec, way, through, grant, found.name, connection, now)
        check = await _first_look(scope, db, vendors, spec, way, through, connection, now)
        await _note_look(scope, db, connection, check, now)
        return check
    account = vendors.account(found.vendor, clean)
    login = await _own_login(db, vendors, spec, way, found.plan, clean, declare=True)
    check = await _check(scope, vendors, login, now)
    sealed = await vendors.seal(scope, connection, clean)
    async with db.org(scope) as conn:
        await connections.move_connection(
            scope, conn, connection, way=way.key, app=None, plan=found.plan, account=account, now=now
        )
        await connections.set_sealed(scope, conn, connection, sealed, now)
        await streams.set_due(scope, conn, connection, now)
        await connections.add_event(scope, conn, connection, None, "reconnected", f"{found.name} signed in anew", now)
    await _note_look(scope, db, connection, check, now)
    return check


async def test_saved(scope: Scope, db: Database, vendors: Vendors, connection: UUID, now: datetime) -> Check:
    """Ask the vendor whether a saved connection works. Raises VendorError, named as `test` does."""
    scope.allow(Role.OPERATOR)
    async with db.org(scope) as conn:
        found = await connections.find_connection(scope, conn, connection)
        app = None if found.app_id is None else await apps.find_app(scope, conn, found.app_id)
    spec = vendors.spec(found.vendor)
    try:
        async with vendors.client(scope, found, Caller.PERSON) as client:
            return await client.connector.check(now)
    except LoginNeeded as refused:
        raise read_refusal(spec, spec.way(found.way), app, refused) from None


async def refresh(scope: Scope, db: Database, vendors: Vendors, connection: UUID, now: datetime) -> datetime | None:
    """Renew a connection's tokens now and return when the new one ends. Raises GrantDead, another VendorError."""
    scope.allow(Role.OPERATOR)
    async with db.org(scope) as conn:
        found = await connections.find_connection(scope, conn, connection)
    if found.app_id is None:
        msg = "this connection has a key that does not expire; there is nothing to renew"
        raise Refused(msg)
    try:
        await vendors.tokens.renew(scope, found, None)
    except GrantDead as dead:
        async with db.org(scope) as conn:
            if await connections.set_state(scope, conn, connection, dead.state, dead.message, now, ok=False):
                await connections.add_event(scope, conn, connection, None, dead.state, dead.message, now)
        raise
    async with db.org(scope) as conn:
        await connections.add_event(scope, conn, connection, None, "renewed", f"{found.name}: sign-in renewed", now)
        return (await connections.find_connection(scope, conn, connection)).expires_at


async def pause(scope: Scope, db: Database, connection: UUID, now: datetime) -> None:
    """Ask the vendor nothing until somebody resumes; sign-ins are kept alive. Raises NotFound."""
    await _set_paused(scope, db, connection, now, now)


async def resume(scope: Scope, db: Database, connection: UUID, now: datetime) -> None:
    """Go on collecting where it was paused. Raises NotFound."""
    await _set_paused(scope, db, connection, None, now)


async def disconnect(scope: Scope, db: Database, vendors: Vendors, connection: UUID, now: datetime) -> bool:
    """Wipe a connection's secret at once and have the vendor forget it; sites and history stay.

    Returns: whether the vendor was told, or has no way to be told; else it is told in the background.
    Raises: NotFound.
    """
    scope.allow(Role.ADMIN)
    async with db.org(scope) as conn:
        found = await connections.find_connection(scope, conn, connection)
    revocation = await grants.wipe(scope, db, vendors, found, now)
    async with db.org(scope) as conn:
        await connections.set_state(
            scope, conn, connection, "disconnected", "Disconnected: sign in again to go on collecting.", now, ok=False
        )
        await connections.add_event(scope, conn, connection, None, "disconnected", f"{found.name} disconnected", now)
    return revocation is None or await grants.revoke(scope, db, vendors, revocation, now)


async def remove(scope: Scope, db: Database, vendors: Vendors, connection: UUID, now: datetime) -> None:
    """Disconnect, and delete the devices and their readings; sites stay, but for simulated ones. Raises NotFound."""
    scope.allow(Role.ADMIN)
    async with db.org(scope) as conn:
        found = await connections.find_connection(scope, conn, connection)
    await meanwhile.end(scope, db, vendors, connection, now)
    if found.sandbox:
        return
    revocation = await grants.wipe(scope, db, vendors, found, now)
    async with db.org(scope) as conn:
        await connections.remove_connection(scope, conn, connection)
    if revocation is not None:
        await grants.revoke(scope, db, vendors, revocation, now)


async def poll_now(scope: Scope, db: Database, connection: UUID, now: datetime) -> int:
    """Make every stream of a connection due now, inside its quota; return how many. Raises NotFound."""
    scope.allow(Role.OPERATOR)
    async with db.org(scope) as conn:
        await connections.find_connection(scope, conn, connection)
        return await streams.set_due(scope, conn, connection, now)


async def _set_paused(scope: Scope, db: Database, connection: UUID, at: datetime | None, now: datetime) -> None:
    scope.allow(Role.OPERATOR)
    async with db.org(scope) as conn:
        found = await connections.find_connection(scope, conn, connection)
        if (found.paused_at is None) is (at is None):
            return
        await connections.set_paused(scope, conn, connection, at)
        word = "resumed" if at is None else "paused"
        await connections.add_event(scope, conn, connection, None, word, f"{found.name} {word}", now)


async def _own_login(
    db: Database, vendors: Vendors, spec: Spec, way: Way, plan: str, clean: Mapping[str, str], *, declare: bool = False
) -> Login:
    """Return the login of a key, whose account's quotas are known then."""
    account = vendors.account(spec.key, clean)
    async with db.world() as conn:
        if declare or not await quotas.declared(conn, account):
            await quotas.declare(conn, account, way.plan(plan).quotas)
    return Login(spec, way, account, clean)


async def _log_in(
    scope: Scope,
    db: Database,
    vendors: Vendors,
    spec: Spec,
    way: Way,
    app: UUID | None,
    clean: Mapping[str, str],
    now: datetime,
) -> tuple[App, Grant]:
    """Buy tokens with a name and a password through an app. Raises Refused, VendorError."""
    if way.auth is not Auth.LOGIN or way.oauth is None:
        msg = f"sign in at {spec.label} instead: this way has no password to enter here"
        raise Refused(msg)
    if app is None:
        msg = f"choose the app at {spec.label} that this goes through, or add one first"
        raise Refused(msg)
    async with db.org(scope) as conn:
        found = await apps.find_app(scope, conn, app)
    if found.vendor != spec.key or way.app is None or found.kind != way.app.value:
        msg = f"{found.name} is no app for this way to connect"
        raise Refused(msg)
    keys = keys_of(await vendors.app_fields(scope, app))
    async with vendors.token_endpoint(scope, spec, way, found.scope, None) as http:
        grant = await oauth.log_in(http, way.oauth, keys, clean["username"], clean["password"], now)
    return found, grant


async def _add_granted(
    scope: Scope,
    db: Database,
    vendors: Vendors,
    spec: Spec,
    way: Way,
    app: UUID | None,
    name: str,
    clean: Mapping[str, str],
    now: datetime,
) -> tuple[UUID, Check | None]:
    found, grant = await _log_in(scope, db, vendors, spec, way, app, clean, now)
    keys = await vendors.app_fields(scope, found.id)
    check = None
    try:
        login = vendors.granted(spec, way, found.scope, keys, grant)
        check = await _check(scope, vendors, login, now, found)
    except WaitingForVendor:
        pass
    connection = await grants.save(scope, db, vendors, spec, way, found, grant, name, None, now)
    if check is None:
        await grants.set_waiting(scope, db, spec, way, found, connection, now)
    await _note_look(scope, db, connection, check, now)
    return connection, check


async def _first_look(
    scope: Scope,
    db: Database,
    vendors: Vendors,
    spec: Spec,
    way: Way,
    app: App,
    connection: UUID,
    now: datetime,
) -> Check | None:
    try:
        return await test_saved(scope, db, vendors, connection, now)
    except WaitingForVendor:
        await grants.set_waiting(scope, db, spec, way, app, connection, now)
        return None


async def _note_look(scope: Scope, db: Database, connection: UUID, found: Check | None, now: datetime) -> None:
    async with db.org(scope) as conn:
        kind, text = grants.first_look(found, None)
        await connections.add_event(scope, conn, connection, None, kind, text, now)


async def _check(scope: Scope, vendors: Vendors, login: Login, now: datetime, app: App | None = None) -> Check:
    try:
        async with vendors.draft(scope, login) as connector:
            return await connector.check(now)
    except LoginNeeded as refused:
        raise read_refusal(login.spec, login.way, app, refused) from None


async def _refuse_twice(scope: Scope, db: Database, account: str) -> None:
    async with db.org(scope) as conn:
        for other in await connections.list_connections(scope, conn):
            if other.account == account:
                msg = f"this credential is connected already, as {other.name!r}"
                raise Refused(msg)


def _name(name: str, spec: Spec) -> str:
    return " ".join(name.split())[:_LONGEST_NAME] or spec.label


def _clean(spec: Spec, way: Way, fields: Mapping[str, str]) -> dict[str, str]:
    """Return the card's fields, pasted spaces and line ends taken off. Raises Refused naming what is missing."""
    return cleaned(way.fields, fields, f"{spec.label} credential", blanks=True)
