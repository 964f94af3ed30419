"""An organization with an app at the scripted OAuth vendor, and everything that consents, renews and polls."""

import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import psycopg
from psycopg import sql

from enalysis.actions import apps, consent, poll
from enalysis.actions.consent import Finished, Started
from enalysis.actions.poll import Deps
from enalysis.actions.tokens import FIELD, Kept
from enalysis.actions.vendors import OperatorApp, Vendors
from enalysis.connectors.base import Spec
from enalysis.core.access import Role, Scope
from enalysis.core.errors import NotFound
from enalysis.egress import Egress
from enalysis.store import accounts, connections, credentials, streams
from enalysis.store.connections import Connection
from enalysis.store.partitions import Partitions
from enalysis.store.pool import Database
from enalysis.store.secrets import Keyring
from tests.acme import ACME, entries
from tests.oauth_vendor import OAuthVendor

PUBLIC_URL = "https://sun.example.org"
SESSION = "a session's secret, 32 characters"


class Clock:
    """A clock that stands until it is moved; `vendor` reads it as seconds."""

    def __init__(self, at: datetime = datetime(2026, 6, 2, 12, 7, 30, tzinfo=UTC)) -> None:
        self.at = at

    def __call__(self) -> datetime:
        """Return the time."""
        return self.at

    def vendor(self) -> float:
        """Return the time as a vendor's books count it, s."""
        return self.at.timestamp()

    def move(self, **step: float) -> datetime:
        """Move forward and return the time."""
        self.at += timedelta(**step)
        return self.at


def real_clock() -> datetime:
    """Read the clock: aware UTC."""
    return datetime.now(UTC)


@dataclass
class Bench:
    """An organization, its parts, its app, and the vendor on the other side of the wire."""

    scope: Scope
    db: Database
    keyring: Keyring
    vendors: Vendors
    deps: Deps
    vendor: OAuthVendor
    clock: Callable[[], datetime]
    fields: Mapping[str, str]
    app: UUID

    async def begin(self, **more: object) -> Started:
        """Set out to consent as the page does."""
        said: dict[str, object] = {
            "session": SESSION,
            "vendor": "acme",
            "app": str(self.app),
            "public_url": PUBLIC_URL,
            "now": self.clock(),
            **more,
        }
        return await consent.begin(self.scope, self.db, self.vendors, **said)  # type: ignore[arg-type] # as begin names them

    async def finish(self, params: Mapping[str, str], **more: object) -> Finished:
        """Take what came back as the callback does."""
        said: dict[str, object] = {
            "session": SESSION,
            "vendor": "acme",
            "public_url": PUBLIC_URL,
            "now": self.clock(),
            **more,
        }
        scope = said.pop("scope", self.scope)
        return await consent.finish(scope, self.db, self.vendors, params=params, **said)  # type: ignore[arg-type] # as finish names them

    async def connect(self, uid: str = "owner-1", **more: object) -> UUID:
        """Consent as an owner and return the connection."""
        started = await self.begin(**more)
        done = await self.finish(self.vendor.consent(started.address, uid))
        assert done.trouble is None, done.trouble
        return done.connection

    async def find(self, connection: UUID) -> Connection:
        """Return a connection's row."""
        async with self.db.org(self.scope) as conn:
            return await connections.find_connection(self.scope, conn, connection)

    async def kept(self, connection: UUID) -> Kept | None:
        """Return what is kept of a grant, opened; None where nothing is."""
        try:
            async with self.db.org(self.scope) as conn:
                held = await credentials.find_held(self.scope, conn, connection)
        except NotFound:
            return None
        return Kept.read(await self.vendors.unseal_text(self.scope, connection, FIELD, held.sealed))

    async def lives(self, connection: UUID) -> bool:
        """Tell whether the refresh token we keep is the one that lives at the vendor."""
        kept = await self.kept(connection)
        if kept is None or kept.refresh_token is None:
            return False
        family = self.vendor.family_of(kept.refresh_token)
        return family.refresh == kept.refresh_token and not family.revoked

    async def poll(self, connection: UUID) -> poll.Report:
        """Poll every stream of a connection once, due or not."""
        async with self.db.org(self.scope) as conn:
            rows = await streams.list_streams(self.scope, conn, connection)
        return await poll.poll(self.scope, self.deps, connection, [r.id for r in rows])

    async def events(self, connection: UUID) -> list[tuple[str, str]]:
        """Return kind and text of a connection's events, oldest first."""
        async with self.db.org(self.scope) as conn:
            rows = await conn.execute(
                "select kind, text from events where organization_id = %s and connection_id = %s order by at, id",
                (self.scope.organization, connection),
            )
            return [(str(kind), str(text)) for kind, text in await rows.fetchall()]


async def _organization(db: Database, keyring: Keyring, now: datetime) -> Scope:
    scope = Scope(uuid4(), None, Role.OWNER)
    wrapped = keyring.new_organization_key(scope.organization)
    async with db.org(scope) as conn:
        await accounts.add_organization(scope, conn, "Org", wrapped, now)
    return scope


@asynccontextmanager
async def opened(
    db: Database,
    *,
    spec: Spec = ACME,
    others: tuple[Spec, ...] = (),
    clock: Callable[[], datetime] = real_clock,
    vendor_clock: Callable[[], float] | None = None,
    key: bytes | None = None,
    kind: str = "developer",
    operator: OperatorApp | None = None,
    scope: Scope | None = None,
) -> AsyncIterator[Bench]:
    """Open the vendor, and an organization of its own, or the one of `scope`, with an app at it."""
    async with OAuthVendor() as vendor:
        if vendor_clock is not None:
            vendor.clock = vendor_clock
        keyring = Keyring(key or secrets.token_bytes(32))
        offered = {} if operator is None else {"acme": operator}
        registry = {key: entry for one in (spec, *others) for key, entry in entries(one).items()}
        vendors = Vendors(registry, db, keyring, Egress(vendor.origin), clock, vendor.origin, offered)
        scope = scope or await _organization(db, keyring, clock())
        fields = {name: f"{name}-{secrets.token_urlsafe(18)}" for name in ("client_id", "client_secret", "api_key")}
        vendor.apps[fields["client_id"]] = fields["client_secret"]
        app = await apps.add(
            scope, db, vendors, vendor="acme", kind=kind, name="Our app", plan="free", fields=fields, now=clock()
        )
        deps = Deps(db, vendors, Partitions(), clock)
        bench = Bench(scope, db, keyring, vendors, deps, vendor, clock, fields, app)
        try:
            yield bench
        finally:
            await vendors.tokens.drain()


def everything(admin: psycopg.Connection) -> dict[str, list[bytes]]:
    """Return every text, binary and JSON value that stands anywhere in the database, by table and column."""
    columns = admin.execute(
        "select c.table_schema, c.table_name, c.column_name from information_schema.columns c"
        " join information_schema.tables t using (table_schema, table_name)"
        " where t.table_type = 'BASE TABLE' and c.table_schema not in ('pg_catalog', 'information_schema')"
        " and c.data_type in ('text', 'bytea', 'jsonb', 'json', 'character varying', 'ARRAY', 'USER-DEFINED')"
    ).fetchall()
    found: dict[str, list[bytes]] = {}
    for schema, table, column in columns:
        query = sql.SQL("select {c} from {t} where {c} is not null").format(
            c=sql.Identifier(column), t=sql.Identifier(schema, table)
        )
        values = [row[0] for row in admin.execute(query).fetchall()]
        found[f"{table}.{column}"] = [v if isinstance(v, bytes) else str(v).encode() for v in values]
    return found
