"""Grants: keeping what a consent or a password brought, naming refusals, and having vendors forget."""

import contextlib
from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from enalysis.actions.tokens import FIELD, Kept, fresh_of
from enalysis.actions.vendors import Vendors, keys_of
from enalysis.connectors import oauth
from enalysis.connectors.base import AppKind, Check, Spec, Subject, Way
from enalysis.connectors.oauth import Grant
from enalysis.core.access import Scope
from enalysis.core.errors import GrantDead, LoginNeeded, NotFound, QuotaSpent, Refused, VendorError, WaitingForVendor
from enalysis.store import apps, connections, consents, credentials, streams
from enalysis.store.apps import App
from enalysis.store.connections import Connection
from enalysis.store.credentials import Fresh
from enalysis.store.pool import Conn, Database
from enalysis.store.secrets import SealBroken

_REVOKE = "revoke"
_REVOKE_PAUSE = timedelta(minutes=10)


def read_refusal(spec: Spec, way: Way, app: App | None, refused: LoginNeeded) -> VendorError:
    """Return what a 401 means after its one repeat, as far as the app tells.

    An installer's app that never brought data is not approved yet: nobody needs to sign in again.
    """
    pending = way.app is AppKind.PARTNER and app is not None and app.first_ok_at is None
    if not pending or app is None or isinstance(refused, GrantDead) or refused.operation == "log_in":
        return refused
    waiting = WaitingForVendor(
        f"{spec.label} refuses the data although the sign-in is fresh, and the app “{app.name}” never brought any:"
        f" it seems to wait for {spec.label}'s approval. Ask {spec.label} to verify it, or use another verified app"
        " meanwhile. Enalysis looks again by itself, at most every six hours.",
        vendor=refused.vendor,
        operation=refused.operation,
        status=refused.status,
        code=refused.code,
        request_id=refused.request_id,
    )
    waiting.__cause__ = None
    return waiting


def first_look(found: Check | None, trouble: VendorError | None) -> tuple[str, str]:
    """Return kind and text of the timeline's line on a first look through a new credential.

    Neither found nor trouble: the vendor has not approved the app yet.
    """
    if isinstance(trouble, QuotaSpent):
        return "first_look_waits", "The first look waits until the quota allows it; nothing needs to be done."
    if found is None and (trouble is None or isinstance(trouble, WaitingForVendor)):
        return "first_look_waits", "The first look waits for the vendor's approval of the app."
    if found is None:
        return "first_look_failed", str(trouble)
    if not found.sites:
        return "first_look", "The first look works, and no site is behind this account yet."
    told = "1 site" if found.sites == 1 else f"{found.sites:,} sites"
    if found.capacity_wp is not None:
        told += f" with {found.capacity_wp / 1000:,.1f} kWp"
    return "first_look", f"The first look found {told}."


def refuse_simulated(connection: Connection) -> None:
    """Let nobody sign in at a simulated connection: it would never use what is real. Raises Refused."""
    if connection.sandbox:
        msg = f"{connection.name} is simulated and has no sign-in: sign in at the connection that it stands in for"
        raise Refused(msg)


async def begin_streams(scope: Scope, conn: Conn, spec: Spec, connection: UUID, now: datetime) -> None:
    """Add the streams that find a connection's sites; the others follow from what they find."""
    for stream in spec.streams:
        if stream.subject is Subject.CONNECTION:
            await streams.add_stream(scope, conn, connection, None, stream.name, "", stream.metrics, now)


async def save(
    scope: Scope,
    db: Database,
    vendors: Vendors,
    spec: Spec,
    way: Way,
    app: App,
    grant: Grant,
    name: str,
    connection: UUID | None,
    now: datetime,
) -> UUID:
    """Keep a new grant, before anything is done with it, and return its connection.

    Where the organization has a connection of the same app for the same account, the grant becomes that one's:
    two grants of one account would end each other. A connection that is named keeps its sites and history.

    Raises: Refused: the grant is another account's than the connection's so far.
    """
    subject = None if grant.subject is None else vendors.mark(spec.key, grant.subject)
    if subject is None and grant.kept:
        subject = vendors.mark(spec.key, repr(sorted(grant.kept.items())))
    async with db.org(scope) as conn:
        known = await connections.list_connections(scope, conn)
    target = next((c for c in known if c.id == connection), None)
    if connection is not None and target is None:
        msg = "no such connection"
        raise NotFound(msg)
    if target is not None:
        refuse_simulated(target)
    if target is not None and subject and target.subject_mark and target.subject_mark != subject:
        msg = (
            f"this is another account at {spec.label} than the one {target.name!r} reads from; nothing was changed."
            " Sign in there with the first account, or connect this one as a connection of its own"
        )
        raise Refused(msg)
    target = target or _same_account(known, app, subject)
    made = uuid4() if target is None else target.id
    fresh = await fresh_of(vendors, scope, made, spec.key, grant, None, now)
    async with db.org(scope) as conn:
        # Two consents of one account at once: the second waits here and then finds the first's connection.
        await apps.lock_app(scope, conn, app.id)
        twin = None if target else _same_account(await connections.list_connections(scope, conn), app, subject)
        if target is None and twin is None:
            await connections.add_connection(
                scope, conn, made, spec.key, name or spec.label, app.plan, app.scope, now, way=way.key, app=app.id
            )
        elif target is not None:
            await connections.move_connection(
                scope, conn, made, way=way.key, app=app.id, plan=app.plan, account=app.scope, now=now
            )
        if twin is None:
            await _put(scope, conn, spec, made, fresh, subject, now)
            kind, text = ("connected", "connected") if target is None else ("reconnected", "signed in anew")
            called = target.name if target else name or spec.label
            await connections.add_event(scope, conn, made, None, kind, f"{called} {text}", now)
    if twin is not None:
        return await save(scope, db, vendors, spec, way, app, grant, name, twin.id, now)
    return made


async def _put(
    scope: Scope, conn: Conn, spec: Spec, connection: UUID, fresh: Fresh, subject: str | None, now: datetime
) -> None:
    await credentials.set_grant(scope, conn, connection, fresh, subject, now)
    await begin_streams(scope, conn, spec, connection, now)
    await streams.set_due(scope, conn, connection, now)


def _same_account(known: Iterable[Connection], app: App, subject: str | None) -> Connection | None:
    """Return the connection of this app that has the account already, as far as the vendor tells accounts apart."""
    return next((c for c in known if subject and c.app_id == app.id and c.subject_mark == subject), None)


async def set_waiting(
    scope: Scope, db: Database, spec: Spec, way: Way, app: App, connection: UUID, now: datetime
) -> None:
    """Say that a connection waits for the vendor's approval of its app."""
    refused = LoginNeeded("", vendor=spec.key, operation="check")
    waiting = read_refusal(spec, way, app, refused)
    async with db.org(scope) as conn:
        await connections.set_state(scope, conn, connection, waiting.state, waiting.message, now, ok=False)


async def wipe(scope: Scope, db: Database, vendors: Vendors, connection: Connection, now: datetime) -> UUID | None:
    """Delete a connection's secret; return the revocation to make, None where the vendor takes none.

    Both or neither: a process that dies in between leaves no token that nobody has the vendor forget.
    """
    spec = vendors.spec(connection.vendor)
    way = spec.way(connection.way)
    revocation = uuid4()
    async with db.org(scope) as conn:
        sealed = await credentials.wipe(scope, conn, connection.id)
        if sealed is None or way.oauth is None or way.oauth.revoke_url is None or connection.app_id is None:
            return None
        try:
            kept = Kept.read(await vendors.unseal_text(scope, connection.id, FIELD, sealed))
        except SealBroken:
            # What nobody can open, nobody can revoke; it goes all the same.
            return None
        again = await vendors.seal_text(scope, revocation, _REVOKE, kept.refresh_token or kept.access_token)
        await consents.add_revocation(
            scope, conn, revocation, connection.vendor, connection.way, connection.app_id, again, now
        )
    return revocation


async def revoke(scope: Scope, db: Database, vendors: Vendors, revocation: UUID, now: datetime) -> bool:
    """Have a vendor forget a token; True where it did, or where trying on is of no use."""
    async with db.org(scope) as conn:
        found = await consents.find_revocation(scope, conn, revocation)
    if found is None:
        return True
    spec = vendors.spec(found.vendor)
    way = spec.way(found.way)
    told = now >= found.give_up_at or way.oauth is None
    if not told and way.oauth is not None:
        token = await vendors.unseal_text(scope, revocation, _REVOKE, found.sealed)
        with contextlib.suppress(VendorError, Refused, NotFound):
            keys = keys_of(await vendors.app_fields(scope, found.app_id))
            async with db.org(scope) as conn:
                quota_scope = (await apps.find_app(scope, conn, found.app_id)).scope
            async with vendors.token_endpoint(scope, spec, way, quota_scope, None) as http:
                await oauth.revoke(http, way.oauth, keys, token)
            told = True
    async with db.org(scope) as conn:
        if told:
            await consents.remove_revocation(scope, conn, revocation)
        else:
            await consents.put_off_revocation(scope, conn, revocation, now + _REVOKE_PAUSE)
    return told
