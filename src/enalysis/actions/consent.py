"""Consent at a vendor: sending a person there, and taking what comes back with them, once."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from enalysis.actions import apps as app_actions
from enalysis.actions import grants
from enalysis.actions.vendors import Vendors, keys_of
from enalysis.connectors import oauth
from enalysis.connectors.base import Check, OAuth, Spec, Way
from enalysis.core.access import Role, Scope
from enalysis.core.errors import (
    AppFault,
    GrantDead,
    LoginNeeded,
    NotFound,
    Refused,
    VendorError,
    WaitingForVendor,
)
from enalysis.store import apps, connections, consents
from enalysis.store.apps import App
from enalysis.store.consents import Consent
from enalysis.store.pool import Database
from enalysis.store.quotas import Caller

# Long enough to read a vendor's page and look up a password, and no longer (BAR A1).
LIFETIME: Final = timedelta(minutes=10)
_LONGEST_PASTED: Final = 8192
_VERIFIER: Final = "verifier"


class Failure(StrEnum):
    """Why a consent came to nothing; each has its own words and its own next step."""

    REFUSED = "refused"
    REPLAYED = "replayed"
    FOREIGN = "foreign"
    TOO_LATE = "too_late"
    NO_STATE = "no_state"
    VENDOR = "vendor"
    CODE = "code"
    APP = "app"
    ACCOUNT = "account"


class ConsentFailed(Refused):
    """A consent came to nothing; nothing was kept. `why` is for the page to explain."""

    def __init__(self, why: Failure, message: str, *, vendor: str, way: str | None = None) -> None:
        super().__init__(message)
        self.why = why
        self.vendor = vendor
        self.way = way


@dataclass(frozen=True, slots=True)
class Started:
    """Where to send the person, and whether they come back by themselves or bring a code to paste."""

    address: str
    pasted: bool


@dataclass(frozen=True, slots=True)
class Finished:
    """The connection a consent led to, and how a first look went.

    Attributes:
        found: what the test found; None where `trouble` says why there is nothing yet.
    """

    connection: UUID
    renewed: bool
    found: Check | None
    trouble: VendorError | None


def callback_address(public_url: str, vendor: str) -> str:
    """Return where the vendor sends people back to; made of PUBLIC_URL alone (BAR A4)."""
    return f"{public_url}/api/oauth/{vendor}/callback"


async def begin(
    scope: Scope,
    db: Database,
    vendors: Vendors,
    *,
    session: str,
    vendor: str,
    app: str,
    public_url: str,
    now: datetime,
    name: str = "",
    connection: UUID | None = None,
    pasted: bool = False,
) -> Started:
    """Write down that a person sets out to consent and return where to send them.

    Args: session: the secret of the browser or terminal they must come back with. app: an app's id, or
        `operator`. connection: sign in anew for this one, which keeps its sites, also through another app.
        pasted: no callback reaches us; the vendor's own page shows the code.
    Raises: Refused, NotFound.
    """
    scope.allow(Role.ADMIN)
    spec = vendors.spec(vendor)
    found = await app_actions.take(scope, db, vendors, vendor, app, now)
    way, card = _consent_way(spec, found)
    if found.state == "suspended":
        msg = f"{spec.label} suspended the app “{found.name}”: choose another, or ask {spec.label}"
        raise Refused(msg)
    if pasted and card.shows_code_at is None:
        msg = f"{spec.label} has no page that shows a code: this server must be reachable at PUBLIC_URL"
        raise Refused(msg)
    if connection is not None:
        async with db.org(scope) as conn:
            held = await connections.find_connection(scope, conn, connection)
        if held.vendor != vendor:
            msg = "no such connection"
            raise NotFound(msg)
        grants.refuse_simulated(held)
    redirect_uri = _redirect(vendors, spec, card, public_url, pasted=pasted)
    state, verifier = oauth.new_state(), oauth.new_verifier() if card.pkce else None
    sealed = None if verifier is None else await vendors.seal_text(scope, found.id, _VERIFIER, verifier)
    consent = Consent(
        vendor, way.key, found.id, redirect_uri, name, connection, _hash(session), sealed, now + LIFETIME, None
    )
    async with db.org(scope) as conn:
        await consents.add_consent(scope, conn, _hash(state), consent, now)
    keys = keys_of(await vendors.app_fields(scope, found.id))
    assert card.authorize_url is not None  # noqa: S101 - such a way has one
    address = vendors.replaced(spec, card.authorize_url)
    return Started(oauth.authorize_address(card, address, keys, redirect_uri, state, verifier), pasted)


async def finish(
    scope: Scope,
    db: Database,
    vendors: Vendors,
    *,
    session: str,
    vendor: str,
    params: Mapping[str, str],
    public_url: str,
    now: datetime,
    pasted: bool = False,
) -> Finished:
    """Take what a vendor's redirect carries, exchange its code once, keep the grant, and look once.

    Raises: ConsentFailed saying what went wrong and what to do; nothing is kept then. Refused.
    """
    scope.allow(Role.ADMIN)
    spec = vendors.spec(vendor)
    consent, callback = await _recognise(scope, db, vendors, spec, session, params, public_url, now, pasted=pasted)
    way = spec.way(consent.way)
    card = way.oauth
    assert card is not None  # noqa: S101 - the consent began with it
    if callback.code is None:
        raise _not_given(spec, way, callback.error)
    async with db.org(scope) as conn:
        app = await apps.find_app(scope, conn, consent.app_id)
    verifier = None
    if consent.verifier is not None:
        verifier = await vendors.unseal_text(scope, app.id, _VERIFIER, consent.verifier)
    keys = keys_of(await vendors.app_fields(scope, app.id))
    try:
        async with vendors.token_endpoint(scope, spec, way, app.scope, None) as http:
            grant = await oauth.redeem(http, card, keys, callback.code, consent.redirect_uri, verifier, now)
    except VendorError as error:
        raise _unredeemed(spec, way, error) from None
    grant = oauth.with_kept(grant, callback.kept)
    try:
        made = await grants.save(scope, db, vendors, spec, way, app, grant, consent.name, consent.connection_id, now)
    except Refused as refused:
        raise ConsentFailed(Failure.ACCOUNT, str(refused), vendor=spec.key, way=way.key) from None
    return await _look(scope, db, vendors, spec, way, app, made, consent.connection_id == made, now)


def parse_pasted(text: str) -> dict[str, str]:
    """Return the parameters of what a person copied from the vendor's page: its whole address, or the query."""
    return oauth.parse_pasted(text[:_LONGEST_PASTED])


async def _recognise(
    scope: Scope,
    db: Database,
    vendors: Vendors,
    spec: Spec,
    session: str,
    params: Mapping[str, str],
    public_url: str,
    now: datetime,
    *,
    pasted: bool,
) -> tuple[Consent, oauth.Callback]:
    """Find the consent that what came back belongs to, and use it up."""
    for way in spec.ways:
        if way.oauth is None or way.oauth.authorize_url is None:
            continue
        callback = oauth.parse_callback(way.oauth, params)
        if callback.state is None:
            raise ConsentFailed(
                Failure.NO_STATE,
                f"What came back from {spec.label} does not say which sign-in it belongs to, so it was not used."
                " Start the sign-in from here again.",
                vendor=spec.key,
            )
        redirect_uri = _redirect(vendors, spec, way.oauth, public_url, pasted=pasted)
        async with db.org(scope) as conn:
            found = await consents.use_consent(
                scope, conn, _hash(callback.state), _hash(session), spec.key, redirect_uri, now
            )
            if found is not None:
                return found, callback
            seen = await consents.find_consent(scope, conn, _hash(callback.state))
        raise _unknown(spec, seen, session, now)
    msg = f"{spec.label} has no sign-in of its own"
    raise Refused(msg)


def _unknown(spec: Spec, seen: Consent | None, session: str, now: datetime) -> ConsentFailed:
    if seen is None or seen.session_hash != _hash(session) or seen.vendor != spec.key:
        return ConsentFailed(
            Failure.FOREIGN,
            "This sign-in was not started here in this browser, so it was refused: somebody may have sent you its"
            " address. Nothing was connected. To connect, start from here.",
            vendor=spec.key,
        )
    if seen.used_at is not None:
        return ConsentFailed(
            Failure.REPLAYED,
            "This sign-in was used already, and each works once. If the connection is not in the list, start again.",
            vendor=spec.key,
            way=seen.way,
        )
    if seen.expires_at <= now:
        return ConsentFailed(
            Failure.TOO_LATE,
            "This sign-in took longer than ten minutes, and was given up for safety. Start it again.",
            vendor=spec.key,
            way=seen.way,
        )
    return ConsentFailed(
        Failure.FOREIGN, "This sign-in came back to another address than it was started for.", vendor=spec.key
    )


def _not_given(spec: Spec, way: Way, error: str | None) -> ConsentFailed:
    if error == "access_denied":
        return ConsentFailed(
            Failure.REFUSED,
            f"You did not allow it at {spec.label}, so nothing was connected. Start again when you want to.",
            vendor=spec.key,
            way=way.key,
        )
    return ConsentFailed(
        Failure.VENDOR,
        f"{spec.label} sent no code back. Start again; if it happens again, compare the redirect address of the app"
        f" at {spec.label} with the one shown here.",
        vendor=spec.key,
        way=way.key,
    )


def _unredeemed(spec: Spec, way: Way, error: VendorError) -> ConsentFailed:
    if isinstance(error, GrantDead):
        text = f"{spec.label} says that the code was used already or is too old. Start the sign-in again."
        return ConsentFailed(Failure.CODE, text, vendor=spec.key, way=way.key)
    if isinstance(error, AppFault):
        return ConsentFailed(Failure.APP, error.message, vendor=spec.key, way=way.key)
    text = f"{error.message} Start the sign-in again in a moment."
    return ConsentFailed(Failure.VENDOR, text, vendor=spec.key, way=way.key)


async def _look(
    scope: Scope,
    db: Database,
    vendors: Vendors,
    spec: Spec,
    way: Way,
    app: App,
    made: UUID,
    renewed: bool,
    now: datetime,
) -> Finished:
    """Look once through the new grant, so that the page can say what was found."""
    async with db.org(scope) as conn:
        connection = await connections.find_connection(scope, conn, made)
    found: Check | None = None
    trouble: VendorError | None = None
    try:
        async with vendors.client(scope, connection, Caller.PERSON) as client:
            found = await client.connector.check(now)
    except LoginNeeded as refused:
        trouble = grants.read_refusal(spec, way, app, refused)
    except VendorError as error:
        trouble = error
    if isinstance(trouble, WaitingForVendor):
        await grants.set_waiting(scope, db, spec, way, app, made, now)
    async with db.org(scope) as conn:
        kind, text = grants.first_look(found, trouble)
        await connections.add_event(scope, conn, made, None, kind, text, now)
    return Finished(made, renewed, found, trouble)


def _consent_way(spec: Spec, app: App) -> tuple[Way, OAuth]:
    way = app_actions.way_of(spec, app.kind)
    if way.oauth is None or way.oauth.authorize_url is None:
        msg = f"an app of this kind signs in with a name and a password at {spec.label}, not by consent"
        raise Refused(msg)
    return way, way.oauth


def _redirect(vendors: Vendors, spec: Spec, card: OAuth, public_url: str, *, pasted: bool) -> str:
    if pasted and card.shows_code_at is not None:
        return vendors.replaced(spec, card.shows_code_at)
    return callback_address(public_url, spec.key)


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
