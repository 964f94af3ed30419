"""`enalysis app`: apps registered at vendors, added, listed, changed and removed; their keys only go in."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated
from uuid import UUID

import typer

from enalysis.actions import apps as actions
from enalysis.actions import consent
from enalysis.actions.apps import OPERATOR, AppChoice
from enalysis.cli import credential, output
from enalysis.cli.session import Organization, Session, pick, run, session
from enalysis.connectors.base import AppCard, Spec, Way
from enalysis.core.errors import NotFound, Refused
from enalysis.web.formats import age

LIST = "`enalysis app list` shows them"
vendor_app = typer.Typer(help="Apps registered at vendors, which some vendors want.", no_args_is_help=True)

_Which = Annotated[str, typer.Argument(metavar="APP", help="Its name or id, or how either begins.")]
_State = Annotated[
    str | None,
    typer.Option("--state", metavar="STATE", help=f"What the vendor says of it: {', '.join(actions.STATES)}."),
]


@vendor_app.command()
def add(
    vendor: credential.Vendor,
    *,
    kind: Annotated[
        str | None, typer.Option("--kind", metavar="KIND", help="developer or partner; the card's first if left out.")
    ] = None,
    name: Annotated[str, typer.Option("--name", help="What to call it here.")] = "",
    plan: credential.PlanKey = None,
    state: _State = None,
    given: credential.Given = None,
    files: credential.Files = None,
    organization: Organization = None,
    as_json: output.AsJSON = False,
) -> None:
    """Seal and save an app's keys, after telling how to register one; nothing is asked of the vendor."""
    spec = credential.find_spec(vendor)
    way = _way(spec, kind)
    run(_add(spec, way, name, credential.find_plan(spec, way, plan), state, given, files, organization, as_json))


@vendor_app.command("list")
def show(*, organization: Organization = None, as_json: output.AsJSON = False) -> None:
    """Show every app: how far its vendor has come with it; never a secret."""
    run(_list(organization, as_json=as_json))


@vendor_app.command()
def change(
    which: _Which,
    *,
    plan: credential.PlanKey = None,
    state: _State = None,
    given: credential.Given = None,
    files: credential.Files = None,
    organization: Organization = None,
    as_json: output.AsJSON = False,
) -> None:
    """Change an app's plan, the state its vendor tells, or its keys: --set or --field-file, all of them anew."""
    run(_change(which, plan, state, given, files, organization, as_json=as_json))


@vendor_app.command()
def remove(which: _Which, *, organization: Organization = None, as_json: output.AsJSON = False) -> None:
    """Delete an app and its keys; refused while connections go through it."""
    run(_remove(which, organization, as_json=as_json))


async def find_choice(opened: Session, spec: Spec | None, kind: str | None, wanted: str | None) -> AppChoice:
    """Return the app that is meant, of a vendor and a kind where they are given; None is the only one.

    Raises: NotFound or Refused naming those there are.
    """
    vendors = opened.runtime.vendors
    found = await actions.list_choices(opened.scope, opened.db, vendors, None if spec is None else spec.key)
    found = [a for a in found if kind in (None, a.kind)]
    if not found and spec is not None:
        msg = f"there is no such app at {spec.label} yet: add one with `enalysis app add {spec.key}`"
        raise NotFound(msg)
    operators = [a for a in found if a.key == OPERATOR]
    if operators and (wanted == OPERATOR or (wanted is None and len(found) == 1)):
        return operators[0]
    own = {UUID(a.key): a for a in found if a.key != OPERATOR}
    if wanted is None and operators and own:
        msg = f"there are several apps this may mean; name one with --app ({LIST})"
        raise Refused(msg)
    return own[pick("app", [(key, a.name) for key, a in own.items()], wanted, LIST)]


async def app_for(opened: Session, spec: Spec, way: Way, wanted: str | None) -> UUID | None:
    """Return the app that a way goes through; None for a way without apps. Raises BadParameter, NotFound, Refused."""
    if way.app is None:
        if wanted is not None:
            raise typer.BadParameter(f"{way.label} at {spec.label} goes through no app", param_hint="--app")
        return None
    chosen = await find_choice(opened, spec, way.app.value, wanted)
    runtime = opened.runtime
    return (await actions.take(opened.scope, opened.db, runtime.vendors, spec.key, chosen.key, runtime.clock())).id


def shown(app: AppChoice) -> dict[str, object]:
    """Return an app as JSON tells it; never a secret."""
    return {
        "id": app.key,
        "vendor": app.vendor,
        "name": app.name,
        "kind": app.kind,
        "plan": app.plan,
        "state": app.state,
        "state_since": app.state_since,
        "origin": app.origin,
        "first_ok_at": app.first_ok_at,
        "secret_set_at": app.sealed_at,
        "mark": app.mark,
    }


async def _add(
    spec: Spec,
    way: Way,
    name: str,
    plan: str,
    state: str | None,
    given: list[str] | None,
    files: list[str] | None,
    organization: str | None,
    as_json: bool,
) -> None:
    card = actions.card_of(spec)
    _check_state(state)
    async with session(organization) as opened:
        runtime = opened.runtime
        if not as_json:
            _tell_steps(spec, card, consent.callback_address(runtime.settings.public_url.rstrip("/"), spec.key))
        fields = _keys(spec, way, card, given, files)
        assert way.app is not None  # noqa: S101 - chosen among those with one
        made = await actions.add(
            opened.scope,
            opened.db,
            runtime.vendors,
            vendor=spec.key,
            kind=way.app.value,
            name=name,
            plan=plan,
            state=state,
            fields=fields,
            now=runtime.clock(),
        )
        saved = await actions.choice(opened.scope, opened.db, made)
    if as_json:
        output.document(shown(saved))
        return
    next_step = "authorize" if way.oauth is not None and way.oauth.authorize_url is not None else "add"
    output.say(f"Saved as {saved.name!r} ({saved.key[:8]}). Next: `enalysis connection {next_step} {spec.key}`.")


def _tell_steps(spec: Spec, card: AppCard, redirect: str) -> None:
    output.say(f"An app at {spec.label} is registered once, at {card.register_url}:")
    for number, step in enumerate(card.steps, start=1):
        output.say(f"{number}. {step.replace('{redirect}', redirect)}")
    if card.usual_wait:
        output.say(card.usual_wait)


async def _list(organization: str | None, *, as_json: bool) -> None:
    async with session(organization) as opened:
        runtime = opened.runtime
        found = await actions.list_choices(opened.scope, opened.db, runtime.vendors)
        now = runtime.clock()
    if as_json:
        output.document({"apps": [shown(a) for a in found]})
        return
    if not found:
        output.say("There is no app yet. Next: `enalysis app add VENDOR`.")
        return
    lines = [
        (
            f"{a.name}\n{a.key[:8]}",
            f"{runtime.vendors.spec(a.vendor).label}\n{a.kind}, {a.plan}",
            a.state,
            age(a.state_since, now) if a.state_since else "–",
            age(a.first_ok_at, now),
            age(a.sealed_at, now) if a.sealed_at else "in the settings",
            a.mark,
        )
        for a in found
    ]
    output.table(("App", "Vendor", "State", "Since", "First data", "Keys set", "Mark"), lines)


async def _change(
    which: str,
    plan: str | None,
    state: str | None,
    given: list[str] | None,
    files: list[str] | None,
    organization: str | None,
    *,
    as_json: bool,
) -> None:
    _check_state(state)
    if plan is None and state is None and not given and not files:
        raise typer.BadParameter("say what shall change: --plan, --state, --set or --field-file", param_hint="APP")
    async with session(organization) as opened:
        runtime = opened.runtime
        meant = await _own(opened, which)
        spec = runtime.vendors.spec(meant.vendor)
        way = actions.way_of(spec, meant.kind)
        fields = _keys(spec, way, actions.card_of(spec), given, files) if given or files else None
        await actions.change(
            opened.scope,
            opened.db,
            runtime.vendors,
            UUID(meant.key),
            now=runtime.clock(),
            plan=None if plan is None else credential.find_plan(spec, way, plan),
            state=state,
            fields=fields,
        )
        saved = await actions.choice(opened.scope, opened.db, UUID(meant.key))
    if as_json:
        output.document(shown(saved))
    else:
        output.say(f"{saved.name!r} is changed: plan {saved.plan}, {saved.state}.")


async def _remove(which: str, organization: str | None, *, as_json: bool) -> None:
    async with session(organization) as opened:
        meant = await _own(opened, which)
        await actions.remove(opened.scope, opened.db, UUID(meant.key))
    if as_json:
        output.document({"removed": meant.key, "name": meant.name})
    else:
        output.say(f"Removed {meant.name!r} with its keys.")


async def _own(opened: Session, which: str) -> AppChoice:
    found = await find_choice(opened, None, None, which)
    if found.key == OPERATOR:
        msg = "the operator's app is set in the settings of this server"
        raise Refused(msg)
    return found


def _way(spec: Spec, kind: str | None) -> Way:
    kinds = {w.app.value: w for w in spec.ways if w.app is not None}
    if not kinds:
        raise typer.BadParameter(f"{spec.label} has no apps to register", param_hint="VENDOR")
    if kind is not None and kind not in kinds:
        raise typer.BadParameter(f"{spec.label} has the kinds {', '.join(kinds)}", param_hint="--kind")
    return next(iter(kinds.values())) if kind is None else kinds[kind]


def _keys(spec: Spec, way: Way, card: AppCard, given: list[str] | None, files: list[str] | None) -> Mapping[str, str]:
    """Return the app's keys from options, files, the environment or the keyboard, as a credential's fields."""
    return credential.read(spec, replace(way, fields=card.fields, where_to_find=""), given, files)


def _check_state(state: str | None) -> None:
    if state is not None and state not in actions.STATES:
        raise typer.BadParameter(f"it is one of {', '.join(actions.STATES)}", param_hint="--state")
