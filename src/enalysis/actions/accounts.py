"""First-run setup, signing in and out, and who a session belongs to."""

import asyncio
import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from pwdlib import PasswordHash

from enalysis.core.access import Role, Scope
from enalysis.core.errors import NotFound, Refused
from enalysis.core.quotas import Quota, QuotaScope, QuotaWindow
from enalysis.store import accounts, quotas
from enalysis.store.pool import Database
from enalysis.store.quotas import Caller
from enalysis.store.secrets import Keyring

_SESSION_ABSOLUTE = timedelta(days=30)
_SESSION_IDLE = timedelta(days=7)
_TOUCH_EVERY = timedelta(minutes=5)
_SHORTEST_PASSWORD = 12
_FEWEST_SIGNS = 5
_LOGIN_QUOTA = Quota(QuotaScope.HOST, QuotaWindow.HOUR, 20)
_HASHER = PasswordHash.recommended()
# Checked when the e-mail address is unknown, so that the answer takes as long as for a known one.
_NOBODY = _HASHER.hash(secrets.token_urlsafe(16))


@dataclass(frozen=True, slots=True)
class Person:
    """Whoever is signed in, and the organization they act in."""

    user: UUID
    name: str
    email: str
    scope: Scope
    organization: str


async def begin_setup(db: Database) -> str | None:
    """Return a fresh one-time setup secret, or None once setup is done; the one before it is void."""
    secret = secrets.token_urlsafe(18)
    async with db.world() as conn:
        return secret if await accounts.set_setup_hash(conn, _hash(secret)) else None


async def setup_needed(db: Database) -> bool:
    """Tell whether nobody has set this installation up yet."""
    async with db.world() as conn:
        instance = await accounts.find_instance(conn)
    return instance is None or instance.setup_at is None


async def set_up(
    db: Database,
    keyring: Keyring,
    *,
    secret: str,
    organization: str,
    name: str,
    email: str,
    password: str,
    now: datetime,
) -> str:
    """Make the first organization and its owner and return a session token; of many at once one wins.

    Raises: Refused for a wrong secret or a weak field, NotFound once setup is closed.
    """
    if not await setup_needed(db):
        msg = "setup is done; sign in"
        raise NotFound(msg)
    _check_fields(organization, name, email, password)
    password_hash = await asyncio.to_thread(_HASHER.hash, password)
    scope = Scope(uuid4(), None, Role.OWNER)
    async with db.org(scope) as conn:
        if not await accounts.spend_setup(conn, _hash(secret.strip()), now):
            msg = "this is not the setup secret; it is printed where Enalysis was started, and only the last counts"
            raise Refused(msg)
        user = await accounts.add_user(conn, email.strip(), name.strip(), password_hash, now)
        await accounts.add_organization(
            scope, conn, organization.strip(), keyring.new_organization_key(scope.organization), now
        )
        await accounts.add_membership(scope, conn, user, Role.OWNER, now)
    return await _open_session(db, user, now)


async def sign_in(db: Database, *, email: str, password: str, peer: str, now: datetime) -> str | None:
    """Return a session token, or None for a wrong e-mail address or password, both alike in text and time.

    Raises: Refused after 20 tries of one address of the network within an hour.
    """
    scope = f"login:{hashlib.sha256(peer.encode()).hexdigest()[:24]}"
    async with db.world() as conn:
        await quotas.declare(conn, scope, [_LOGIN_QUOTA])
        if not (await quotas.take(conn, scope, 1, now, Caller.PERSON)).granted:
            msg = "too many tries from this network; wait an hour and try again"
            raise Refused(msg)
        user = await accounts.find_user(conn, email.strip())
    known = _NOBODY if user is None else user.password_hash
    right = await asyncio.to_thread(_HASHER.verify, password[:1024], known)
    if user is None or not right:
        return None
    return await _open_session(db, user.id, now)


async def sign_out(db: Database, token: str) -> None:
    """End the session."""
    async with db.world() as conn:
        await accounts.remove_session(conn, _hash(token))


async def who(db: Database, token: str, now: datetime) -> Person | None:
    """Return whose session this is, or None where it ended: 7 days unused, or 30 days old."""
    async with db.world() as conn:
        session = await accounts.find_session(conn, _hash(token))
        if session is None or session.expires_at <= now or session.last_seen_at + _SESSION_IDLE <= now:
            return None
        user = await accounts.find_user_by_id(conn, session.user)
        if user is not None and session.last_seen_at + _TOUCH_EVERY <= now:
            await accounts.touch_session(conn, _hash(token), now)
    if user is None:
        return None
    async with db.user(user.id) as conn:
        memberships = await accounts.list_memberships(conn, user.id)
    if not memberships:
        return None
    organization, role = memberships[0]
    scope = Scope(organization, user.id, role)
    async with db.org(scope) as conn:
        return Person(user.id, user.name, user.email, scope, await accounts.organization_name(scope, conn))


async def _open_session(db: Database, user: UUID, now: datetime) -> str:
    token = secrets.token_urlsafe(32)
    async with db.world() as conn:
        await accounts.add_session(conn, _hash(token), user, now, now + _SESSION_ABSOLUTE)
    return token


def _check_fields(organization: str, name: str, email: str, password: str) -> None:
    if not organization.strip() or not name.strip():
        msg = "organization and name must not be empty"
        raise Refused(msg)
    local, _, domain = email.strip().rpartition("@")
    if not local or not domain or " " in email.strip():
        msg = "this is not an e-mail address"
        raise Refused(msg)
    if len(password) < _SHORTEST_PASSWORD or len(set(password)) < _FEWEST_SIGNS or password == email.strip():
        msg = f"choose a password of at least {_SHORTEST_PASSWORD} characters that is not your e-mail address"
        raise Refused(msg)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
