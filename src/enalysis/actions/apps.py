"""Apps registered at vendors: added with their keys, watched while a vendor approves them, used by connections."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from enalysis.actions.entered import cleaned
from enalysis.actions.vendors import APP_KEYS, Vendors
from enalysis.connectors.base import AppCard, AppKind, Spec, Way
from enalysis.core.access import Role, Scope
from enalysis.core.errors import NotFound, Refused
from enalysis.store import apps, quotas
from enalysis.store.apps import App
from enalysis.store.pool import Database

OPERATOR = "operator"
"""Stands for the operator's default app where an app's id is expected."""

STATES = ("pending", "verified", "suspended")
_LONGEST_NAME = 80


@dataclass(frozen=True, slots=True)
class AppChoice:
    """An app a connection may go through; `key` is its id, or `operator` for the one from the settings.

    Attributes:
        first_ok_at: when it first brought data, which proves it. mark: tells equal client IDs, and nothing else.
    """

    key: str
    vendor: str
    name: str
    kind: str
    plan: str
    state: str
    state_since: datetime | None
    origin: str
    first_ok_at: datetime | None
    sealed_at: datetime | None
    mark: str


async def list_choices(scope: Scope, db: Database, vendors: Vendors, vendor: str | None = None) -> list[AppChoice]:
    """Return every app of the organization, and the operator's where it is not among them yet."""
    async with db.org(scope) as conn:
        own = await apps.list_apps(scope, conn, vendor)
    found = [_choice(a) for a in own]
    for key, offered in vendors.operator_apps.items():
        quota_scope = vendors.app_scope(key, offered.fields["client_id"])
        taken = any(a.vendor == key and a.scope == quota_scope for a in own)
        if not taken and vendor in (None, key):
            name = f"The operator's app at {vendors.spec(key).label}"
            state = "pending" if offered.kind == AppKind.PARTNER.value else "verified"
            mark = _mark(quota_scope)
            found.append(
                AppChoice(OPERATOR, key, name, offered.kind, offered.plan, state, None, OPERATOR, None, None, mark)
            )
    return found


async def choice(scope: Scope, db: Database, app: UUID) -> AppChoice:
    """Return one of the organization's apps. Raises NotFound."""
    async with db.org(scope) as conn:
        return _choice(await apps.find_app(scope, conn, app))


async def add(
    scope: Scope,
    db: Database,
    vendors: Vendors,
    *,
    vendor: str,
    kind: str,
    name: str,
    plan: str,
    fields: Mapping[str, str],
    now: datetime,
    state: str | None = None,
) -> UUID:
    """Seal and save an app's keys; nothing is asked of the vendor. Raises Refused naming what is wrong."""
    scope.allow(Role.ADMIN)
    spec = vendors.spec(vendor)
    way = way_of(spec, kind)
    clean = clean_fields(spec, fields)
    quota_scope = vendors.app_scope(vendor, clean["client_id"])
    async with db.org(scope) as conn:
        if any(a.scope == quota_scope for a in await apps.list_apps(scope, conn, vendor)):
            msg = "this app is here already; change its keys or plan instead"
            raise Refused(msg)
    app = uuid4()
    sealed = await vendors.seal_text(scope, app, APP_KEYS, json.dumps(clean))
    async with db.world() as conn:
        await quotas.declare(conn, quota_scope, way.plan(plan).quotas)
    async with db.org(scope) as conn:
        return await apps.put_app(
            scope,
            conn,
            app,
            vendor=vendor,
            name=" ".join(name.split())[:_LONGEST_NAME] or f"{spec.label} {kind} app",
            kind=kind,
            plan=way.plan(plan).key,
            state=state if state in STATES else _first_state(kind),
            quota_scope=quota_scope,
            sealed=sealed,
            now=now,
        )


async def take(scope: Scope, db: Database, vendors: Vendors, vendor: str, key: str, now: datetime) -> App:
    """Return the app of that key; the operator's joins the organization's apps when it is first used.

    Raises: NotFound, Refused.
    """
    if key != OPERATOR:
        try:
            wanted = UUID(key)
        except ValueError:
            msg = "no such app"
            raise NotFound(msg) from None
        async with db.org(scope) as conn:
            found = await apps.find_app(scope, conn, wanted)
        if found.vendor != vendor:
            msg = "no such app"
            raise NotFound(msg)
        return found
    scope.allow(Role.ADMIN)
    offered = vendors.operator_apps.get(vendor)
    spec = vendors.spec(vendor)
    if offered is None:
        msg = f"the operator of this server offers no app at {spec.label}; add one of your own"
        raise Refused(msg)
    quota_scope = vendors.app_scope(vendor, offered.fields["client_id"])
    way = way_of(spec, offered.kind)
    async with db.world() as conn:
        if not await quotas.declared(conn, quota_scope):
            await quotas.declare(conn, quota_scope, way.plan(offered.plan).quotas)
    async with db.org(scope) as conn:
        made = await apps.put_app(
            scope,
            conn,
            uuid4(),
            vendor=vendor,
            name=f"The operator's app at {spec.label}",
            kind=offered.kind,
            plan=way.plan(offered.plan).key,
            state=_first_state(offered.kind),
            quota_scope=quota_scope,
            sealed=None,
            now=now,
        )
        return await apps.find_app(scope, conn, made)


async def change(
    scope: Scope,
    db: Database,
    vendors: Vendors,
    app: UUID,
    *,
    now: datetime,
    plan: str | None = None,
    state: str | None = None,
    fields: Mapping[str, str] | None = None,
) -> None:
    """Change an app's plan, its state as the vendor tells it, or its keys; connections go on with it.

    Raises: NotFound; Refused for another client ID: that is another app, and needs a new sign-in.
    """
    scope.allow(Role.ADMIN)
    async with db.org(scope) as conn:
        found = await apps.find_app(scope, conn, app)
    spec = vendors.spec(found.vendor)
    if fields is not None:
        if found.origin == OPERATOR:
            msg = "the keys of the operator's app stand in the settings of this server"
            raise Refused(msg)
        clean = clean_fields(spec, fields)
        if vendors.app_scope(found.vendor, clean["client_id"]) != found.scope:
            msg = "this is the client ID of another app: add it as an app, and move the connections to it"
            raise Refused(msg)
        sealed = await vendors.seal_text(scope, app, APP_KEYS, json.dumps(clean))
        async with db.org(scope) as conn:
            await apps.set_app_sealed(scope, conn, app, sealed, found.scope, now)
    if plan is not None:
        chosen = way_of(spec, found.kind).plan(plan)
        async with db.world() as conn:
            await quotas.declare(conn, found.scope, chosen.quotas)
        async with db.org(scope) as conn:
            await apps.set_app_plan(scope, conn, app, chosen.key)
    if state is not None:
        if state not in STATES:
            msg = f"an app is {', '.join(STATES[:-1])} or {STATES[-1]}"
            raise Refused(msg)
        async with db.org(scope) as conn:
            await apps.set_app_state(scope, conn, app, state, now)


async def remove(scope: Scope, db: Database, app: UUID) -> None:
    """Delete an app and its keys. Raises NotFound, or Refused while connections go through it."""
    scope.allow(Role.ADMIN)
    async with db.org(scope) as conn:
        await apps.find_app(scope, conn, app)
        if not await apps.remove_app(scope, conn, app):
            msg = (
                "connections go through this app, or the vendor has yet to forget a sign-in of it:"
                " move or remove them first, or try again in a while"
            )
            raise Refused(msg)


def way_of(spec: Spec, kind: str) -> Way:
    """Return the way that goes through apps of a kind. Raises Refused where the vendor has none."""
    for way in spec.ways:
        if way.app is not None and way.app.value == kind:
            return way
    kinds = sorted({w.app.value for w in spec.ways if w.app is not None})
    msg = f"{spec.label} has " + (f"apps of the kinds {', '.join(kinds)}" if kinds else "no apps to register")
    raise Refused(msg)


def card_of(spec: Spec) -> AppCard:
    """Return what an app at the vendor consists of. Raises Refused where it has none."""
    if spec.app is None:
        msg = f"{spec.label} has no apps to register"
        raise Refused(msg)
    return spec.app


def clean_fields(spec: Spec, fields: Mapping[str, str]) -> dict[str, str]:
    """Return the card's app fields without what pasting brings. Raises Refused naming what is missing."""
    return cleaned(card_of(spec).fields, fields, f"{spec.label} app", blanks=False)


def _choice(a: App) -> AppChoice:
    mark = _mark(a.scope)
    return AppChoice(
        str(a.id), a.vendor, a.name, a.kind, a.plan, a.state, a.state_since, a.origin, a.first_ok_at, a.sealed_at, mark
    )


def _mark(quota_scope: str) -> str:
    return quota_scope.rsplit(":", 1)[-1]


def _first_state(kind: str) -> str:
    # An installer's app is enabled by the vendor, one of a developer works at once.
    return "pending" if kind == AppKind.PARTNER.value else "verified"
