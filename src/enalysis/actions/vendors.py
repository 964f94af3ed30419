"""Clients of vendors, each with its credential, its quota and an account of every call."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit
from uuid import UUID

from enalysis.connectors.base import Connector, Spec
from enalysis.connectors.http import VendorHTTP
from enalysis.connectors.registry import Entry
from enalysis.connectors.verdicts import Patience
from enalysis.core.access import Scope
from enalysis.core.errors import ConfigError, QuotaSpent, Refused
from enalysis.core.quotas import QuotaWindow
from enalysis.egress import Egress
from enalysis.store import accounts, connections, quotas
from enalysis.store.connections import Connection
from enalysis.store.pool import Database
from enalysis.store.quotas import Caller
from enalysis.store.secrets import Keyring, OrganizationKey

_FIELD = "credential"


@dataclass(slots=True)
class QuotaLedger:
    """Reserves each call in the database before it is made, and writes down how it ended."""

    db: Database
    scope: Scope
    connection: UUID | None
    vendor: str
    label: str
    account: str
    caller: Caller
    clock: Callable[[], datetime]

    async def take(self, operation: str, cost: int) -> None:
        """Reserve calls in a transaction of its own, committed before the call. Raises QuotaSpent."""
        now = self.clock()
        async with self.db.world() as conn:
            grant = await quotas.take(conn, self.account, cost, now, self.caller)
        if grant.granted:
            return
        window = "declared quota" if grant.blocked_by is None else grant.blocked_by.value
        spent = QuotaSpent(
            f"The quota of this {self.label} account for this {window} is used up as far as this kind of call may."
            " Collection goes on by itself when it renews; nothing needs to be done.",
            vendor=self.vendor,
            operation=operation,
        )
        spent.until, spent.ours = grant.until, True
        spent.window = None if grant.blocked_by is None else grant.blocked_by.value
        raise spent

    async def record(self, operation: str, cost: int, verdict: str, ms: float) -> None:
        """Write down a call of a saved connection."""
        if self.connection is None:
            return
        async with self.db.org(self.scope) as conn:
            await connections.add_call(self.scope, conn, self.connection, self.clock(), operation, cost, verdict, ms)

    async def observe(self, window: QuotaWindow, limit: int, remaining: int) -> None:
        """Believe the vendor's own count where it is lower than ours."""
        async with self.db.world() as conn:
            await quotas.observe(conn, self.account, window, limit, remaining, self.clock())

    async def hold(self, window: QuotaWindow | None, until: datetime) -> None:
        """Make no call of the account before `until`."""
        async with self.db.world() as conn:
            await quotas.hold(conn, self.account, window, until)


@dataclass(slots=True)
class Client:
    """An open client of a saved connection."""

    connector: Connector
    http: VendorHTTP
    ledger: QuotaLedger

    def speak_for_people(self) -> None:
        """Let the calls from here on spend what is kept for people: they decide what a person is told."""
        self.ledger.caller = Caller.PERSON


class Vendors:
    """Builds a vendor's client from the registry's card and a sealed credential."""

    def __init__(
        self,
        entries: Mapping[str, Entry],
        db: Database,
        keyring: Keyring,
        egress: Egress,
        clock: Callable[[], datetime],
        sandbox_url: str | None,
    ) -> None:
        self._entries = entries
        self._db = db
        self._keyring = keyring
        self._egress = egress
        self._clock = clock
        self._sandbox_url = sandbox_url
        # What a vendor asked of an account (a pause, fewer repeats) outlives one poll's client.
        self._patience: dict[str, Patience] = {}
        self.specs: Mapping[str, Spec] = {key: entry.spec for key, entry in entries.items()}

    @property
    def sandbox(self) -> bool:
        """Tell whether every vendor is simulated."""
        return self._sandbox_url is not None

    def spec(self, vendor: str) -> Spec:
        """Return a vendor's card. Raises Refused for a vendor nobody wrote."""
        if vendor not in self.specs:
            known = ", ".join(sorted(s.label for s in self.specs.values()))
            msg = f"there is no connector of that name; there are: {known}"
            raise Refused(msg)
        return self.specs[vendor]

    def account(self, vendor: str, fields: Mapping[str, str]) -> str:
        """Return the opaque key under which everyone with this credential shares the vendor's quotas."""
        return f"{vendor}:account:{self._keyring.fingerprint(vendor, json.dumps(dict(sorted(fields.items()))))}"

    async def seal(self, scope: Scope, connection: UUID, fields: Mapping[str, str]) -> bytes:
        """Seal a credential under the organization's key, bound to the connection."""
        key = await self._organization_key(scope)
        return key.seal(connection, _FIELD, json.dumps(dict(sorted(fields.items()))))

    @asynccontextmanager
    async def draft(
        self, scope: Scope, vendor: str, account: str, fields: Mapping[str, str]
    ) -> AsyncIterator[Connector]:
        """Open a client for a credential that is not saved yet; its calls are a person's."""
        async with self._open(scope, None, vendor, account, fields, Caller.PERSON) as client:
            yield client.connector

    @asynccontextmanager
    async def client(self, scope: Scope, connection: Connection, caller: Caller) -> AsyncIterator[Client]:
        """Open a client of a saved connection. Raises SealBroken where its credential cannot be read."""
        key = await self._organization_key(scope)
        async with self._db.org(scope) as conn:
            sealed = await connections.find_sealed(scope, conn, connection.id)
        fields = json.loads(key.unseal(connection.id, _FIELD, sealed))
        async with self._open(scope, connection.id, connection.vendor, connection.account, fields, caller) as opened:
            yield opened

    @asynccontextmanager
    async def _open(
        self,
        scope: Scope,
        connection: UUID | None,
        vendor: str,
        account: str,
        fields: Mapping[str, str],
        caller: Caller,
    ) -> AsyncIterator[Client]:
        entry = self._entries[vendor]
        ledger = QuotaLedger(self._db, scope, connection, vendor, entry.spec.label, account, caller, self._clock)
        async with VendorHTTP(
            vendor=vendor,
            label=entry.spec.label,
            origin=self._origin(entry.spec),
            ledger=ledger,
            egress=self._egress,
            clock=self._clock,
            patience=self._patience.setdefault(account, Patience()),
        ) as http:
            yield Client(entry.build(http, fields), http, ledger)

    def _origin(self, spec: Spec) -> str:
        if self._sandbox_url is None:
            return spec.origin
        return f"{self._sandbox_url.rstrip('/')}/{spec.key}{urlsplit(spec.origin).path}"

    async def _organization_key(self, scope: Scope) -> OrganizationKey:
        async with self._db.org(scope) as conn:
            wrapped = await accounts.find_wrapped_key(scope, conn)
        if wrapped is None:
            msg = "this organization has no data key; restore organization_keys from the backup"
            raise ConfigError(msg)
        return self._keyring.open_organization_key(scope.organization, wrapped)
