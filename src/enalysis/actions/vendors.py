"""Clients of vendors, each with its credential, its quota and an account of every call."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, Protocol
from urllib.parse import urlsplit
from uuid import UUID

from enalysis.actions.ledger import QuotaLedger
from enalysis.actions.tokens import FIELD as GRANT
from enalysis.actions.tokens import Kept, OneToken, Tokens
from enalysis.connectors import oauth
from enalysis.connectors.base import Connector, Spec, TokenSource, Way
from enalysis.connectors.calls import HTTPLimits
from enalysis.connectors.http import VendorHTTP
from enalysis.connectors.oauth import AppKeys, Grant
from enalysis.connectors.registry import Entry
from enalysis.connectors.verdicts import Patience
from enalysis.core.access import Scope
from enalysis.core.breaker import Breaker, Circuit, host_breaker
from enalysis.core.errors import ConfigError, EnalysisError, Refused, Unavailable
from enalysis.egress import Egress
from enalysis.store import accounts, apps, connections
from enalysis.store.connections import Connection
from enalysis.store.pool import Database
from enalysis.store.quotas import Caller
from enalysis.store.secrets import Keyring, OrganizationKey

CREDENTIAL: Final = "credential"
APP_KEYS: Final = "app"
# A token call is made once and holds a lock: it must end well before the lock's own deadline.
_TOKEN_LIMITS: Final = HTTPLimits(deadline_s=8.0, attempts=1)


@dataclass(frozen=True, slots=True)
class OperatorApp:
    """The operator's default app at a vendor, from the settings: its kind, plan and the card's app fields."""

    kind: str
    plan: str
    fields: Mapping[str, str] = field(repr=False)


@dataclass(slots=True)
class Client:
    """An open client of a saved connection."""

    connector: Connector
    http: VendorHTTP
    ledger: QuotaLedger

    def speak_for_people(self) -> None:
        """Let the calls from here on spend what is kept for people: they decide what a person is told."""
        self.ledger.caller = Caller.PERSON


@dataclass(frozen=True, slots=True)
class Login:
    """Whose credential a client speaks with, before it is one of a saved connection.

    Attributes:
        account: the key of the quotas it spends. fields: what the connector is built from. proven: the token
            got an answer since it was given.
    """

    spec: Spec
    way: Way
    account: str
    fields: Mapping[str, str] = field(repr=False)
    connection: UUID | None = None
    token: TokenSource | None = None
    proven: bool = False


@dataclass(frozen=True, slots=True)
class _Line:
    """Where a client's calls go, and what lets them out."""

    origin: str
    egress: Egress


class Host(Protocol):
    """The simulated vendors at which a connection that waits for the real one may look around as a guest."""

    @property
    def word(self) -> str:
        """Return what a guest says in place of every secret."""

    async def origin(self) -> str:
        """Return where they answer now. Raises EnalysisError where they do not start."""


class Vendors:
    """Builds a vendor's client from the registry's card and a sealed credential; seals and opens secrets."""

    def __init__(
        self,
        entries: Mapping[str, Entry],
        db: Database,
        keyring: Keyring,
        egress: Egress,
        clock: Callable[[], datetime],
        sandbox_url: str | None,
        operator_apps: Mapping[str, OperatorApp] | None = None,
        host: Host | None = None,
    ) -> None:
        self._entries = entries
        self._db = db
        self._keyring = keyring
        self._egress = egress
        self._clock = clock
        self._sandbox_url = sandbox_url
        self._host = host
        self.operator_apps = dict(operator_apps or {})
        self.tokens = Tokens(db, self, self.exchange, clock)
        # What a vendor asked of an account (a pause, fewer repeats) outlives one poll's client.
        self._patience: dict[str, Patience] = {}
        # Which accounts and hosts do not answer, as far as this process saw it.
        self._circuits: dict[tuple[str, str], Circuit] = {}
        self._hosts: dict[str, Breaker] = {}
        self.specs: Mapping[str, Spec] = {key: entry.spec for key, entry in entries.items()}

    @property
    def sandbox(self) -> bool:
        """Tell whether every vendor is simulated."""
        return self._sandbox_url is not None

    @property
    def may_simulate(self) -> bool:
        """Tell whether a connection that waits for its vendor may look around at a simulated one."""
        return self._host is not None

    def spec(self, vendor: str) -> Spec:
        """Return a vendor's card. Raises Refused for a vendor nobody wrote."""
        if vendor not in self.specs:
            known = ", ".join(sorted(s.label for s in self.specs.values()))
            msg = f"there is no connector of that name; there are: {known}"
            raise Refused(msg)
        return self.specs[vendor]

    def account(self, vendor: str, fields: Mapping[str, str]) -> str:
        """Return the opaque key under which everyone with this credential shares the vendor's quotas."""
        return f"{vendor}:account:{self.mark(vendor, json.dumps(dict(sorted(fields.items()))))}"

    def app_scope(self, vendor: str, client_id: str) -> str:
        """Return the opaque key under which everyone who uses this app shares its quotas."""
        return f"{vendor}:app:{self.mark(vendor, client_id)}"

    def mark(self, vendor: str, text: str) -> str:
        """Return a mark by which equal secrets of a vendor are known, and nothing else."""
        return self._keyring.fingerprint(vendor, text)

    async def seal(self, scope: Scope, connection: UUID, fields: Mapping[str, str]) -> bytes:
        """Seal a credential under the organization's key, bound to the connection."""
        return await self.seal_text(scope, connection, CREDENTIAL, json.dumps(dict(sorted(fields.items()))))

    async def seal_text(self, scope: Scope, row: UUID, name: str, text: str) -> bytes:
        """Seal a text under the organization's key, bound to a field of a row."""
        return (await self._organization_key(scope)).seal(row, name, text)

    async def unseal_text(self, scope: Scope, row: UUID, name: str, sealed: bytes) -> str:
        """Return what was sealed for that field of that row. Raises SealBroken."""
        return (await self._organization_key(scope)).unseal(row, name, sealed)

    async def app_fields(self, scope: Scope, app: UUID) -> Mapping[str, str]:
        """Return the keys of an app. Raises NotFound, or Refused where the operator took theirs away."""
        async with self._db.org(scope) as conn:
            found = await apps.find_app(scope, conn, app)
            sealed = await apps.find_app_sealed(scope, conn, app)
        if sealed is not None:
            fields: dict[str, str] = json.loads(await self.unseal_text(scope, app, APP_KEYS, sealed))
            return fields
        own = self.operator_apps.get(found.vendor)
        if own is None or self.app_scope(found.vendor, own.fields["client_id"]) != found.scope:
            label = self.spec(found.vendor).label
            msg = f"the operator of this server has no such app at {label} any more: move the connection to another"
            raise Refused(msg)
        return own.fields

    @asynccontextmanager
    async def draft(self, scope: Scope, login: Login) -> AsyncIterator[Connector]:
        """Open a client for a credential that is not saved yet; its calls are a person's."""
        async with self._open(scope, login, Caller.PERSON) as client:
            yield client.connector

    def granted(self, spec: Spec, way: Way, account: str, app: Mapping[str, str], grant: Grant) -> Login:
        """Return the login of a grant that was just given and is not kept yet."""
        fields = {**_without_secrets(app), **grant.kept}
        return Login(spec, way, account, fields, None, OneToken(grant.access_token))

    @asynccontextmanager
    async def client(self, scope: Scope, connection: Connection, caller: Caller) -> AsyncIterator[Client]:
        """Open a client of a saved connection; that of a simulated one can reach nothing but the simulators.

        Raises: SealBroken: its credential cannot be read. Unavailable: the simulators do not start.
        """
        spec = self.spec(connection.vendor)
        way = spec.way(connection.way)
        if connection.sandbox:
            login, line = await self._guest(spec, way, connection)
            async with self._open(scope, login, caller, line) as opened:
                yield opened
            return
        async with self._db.org(scope) as conn:
            sealed = await connections.find_sealed(scope, conn, connection.id)
        login = Login(spec, way, connection.account, {}, connection.id)
        if way.oauth is None or connection.app_id is None:
            text = await self.unseal_text(scope, connection.id, CREDENTIAL, sealed)
            login = replace(login, fields=json.loads(text))
        else:
            kept = Kept.read(await self.unseal_text(scope, connection.id, GRANT, sealed))
            app = await self.app_fields(scope, connection.app_id)
            source = self.tokens.source(scope, connection)
            fields = {**_without_secrets(app), **kept.fields}
            login = replace(login, fields=fields, token=source, proven=_is_proven(connection))
        async with self._open(scope, login, caller) as opened:
            yield opened

    async def exchange(self, scope: Scope, connection: Connection, refresh_token: str) -> Grant:
        """Spend a refresh token at the vendor. Raises GrantDead or another VendorError."""
        spec = self.spec(connection.vendor)
        way = spec.way(connection.way)
        assert way.oauth is not None  # noqa: S101 - only such connections hold tokens
        assert connection.app_id is not None  # noqa: S101 - likewise
        app = await self.app_fields(scope, connection.app_id)
        async with self.token_endpoint(scope, spec, way, connection.account, connection.id) as http:
            return await oauth.refresh(http, way.oauth, keys_of(app), refresh_token, self._clock())

    @asynccontextmanager
    async def token_endpoint(
        self, scope: Scope, spec: Spec, way: Way, account: str, connection: UUID | None
    ) -> AsyncIterator[VendorHTTP]:
        """Open what speaks to a vendor's token endpoint; renewing spends what is kept for people."""
        assert way.oauth is not None  # noqa: S101 - the caller chose a way with tokens
        parts = urlsplit(self.replaced(spec, way.oauth.token_url))
        root = f"{parts.scheme}://{parts.netloc}" + parts.path.removesuffix(urlsplit(way.oauth.token_url).path)
        ledger = self._ledger(scope, spec, account, connection, Caller.PERSON)
        async with VendorHTTP(
            vendor=spec.key,
            label=spec.label,
            origin=root,
            ledger=ledger,
            egress=self._egress,
            clock=self._clock,
            limits=_TOKEN_LIMITS,
            circuit=self._circuit(spec, root, account),
        ) as http:
            yield http

    def replaced(self, spec: Spec, url: str) -> str:
        """Return an address of a vendor's card, or the sandbox's in its place."""
        return url if self._sandbox_url is None else _simulated(self._sandbox_url, spec, url)

    async def _guest(self, spec: Spec, way: Way, connection: Connection) -> tuple[Login, _Line]:
        """Return a guest's login and the only line it may use. Raises Unavailable."""
        try:
            if self._host is None:
                msg = "this server no longer allows simulated vendors"
                raise Refused(msg)
            origin = await self._host.origin()
        except EnalysisError as error:
            msg = f"{spec.label} cannot be simulated now: {error}. It is tried again by itself."
            raise Unavailable(msg, vendor=spec.key, operation="simulate") from None
        word = self._host.word
        fields = _without_secrets({f.name: word for f in (*way.fields, *(spec.app.fields if spec.app else ()))})
        login = Login(spec, way, connection.account, fields, connection.id, OneToken(word))
        # An egress of its own: nothing that speaks to real vendors may ever dial this machine.
        return login, _Line(_simulated(origin, spec, spec.origin), Egress(origin))

    @asynccontextmanager
    async def _open(
        self, scope: Scope, login: Login, caller: Caller, line: _Line | None = None
    ) -> AsyncIterator[Client]:
        spec = login.spec
        line = line or _Line(self.replaced(spec, spec.origin), self._egress)
        ledger = self._ledger(scope, spec, login.account, login.connection, caller)
        async with VendorHTTP(
            vendor=spec.key,
            label=spec.label,
            origin=line.origin,
            ledger=ledger,
            egress=line.egress,
            clock=self._clock,
            patience=self._patience.setdefault(login.account, Patience()),
            tokens=login.token,
            proven=login.proven,
            circuit=self._circuit(spec, line.origin, login.account),
        ) as http:
            yield Client(self._entries[spec.key].build(http, login.fields), http, ledger)

    def _circuit(self, spec: Spec, origin: str, account: str) -> Circuit:
        """Return what everyone who calls this host for this account shares."""
        # In the sandbox all vendors have one host, and still fail apart.
        host = f"{spec.key} {urlsplit(origin).netloc}"
        breaker = self._hosts.setdefault(host, host_breaker())
        return self._circuits.setdefault((host, account), Circuit(account, breaker))

    def _ledger(self, scope: Scope, spec: Spec, account: str, connection: UUID | None, caller: Caller) -> QuotaLedger:
        return QuotaLedger(self._db, scope, connection, spec.key, spec.label, account, caller, self._clock)

    async def _organization_key(self, scope: Scope) -> OrganizationKey:
        async with self._db.org(scope) as conn:
            wrapped = await accounts.find_wrapped_key(scope, conn)
        if wrapped is None:
            msg = "this organization has no data key; restore organization_keys from the backup"
            raise ConfigError(msg)
        return self._keyring.open_organization_key(scope.organization, wrapped)


def keys_of(app: Mapping[str, str]) -> AppKeys:
    """Return what an app proves itself by at a token endpoint."""
    return AppKeys(app["client_id"], app["client_secret"])


def _is_proven(connection: Connection) -> bool:
    ok, renewed = connection.last_ok_at, connection.refreshed_at
    return ok is not None and renewed is not None and ok > renewed


def _simulated(origin: str, spec: Spec, url: str) -> str:
    """Return an address of a vendor's card at the simulators."""
    return f"{origin.rstrip('/')}/{spec.key}{urlsplit(url).path}"


def _without_secrets(app: Mapping[str, str]) -> dict[str, str]:
    """Return what of an app's keys belongs on data calls: id and secret are for the token endpoint alone."""
    return {name: value for name, value in app.items() if name not in {"client_id", "client_secret"}}
