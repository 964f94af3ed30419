"""The settings that connectors' cards bring: the operator's app at a vendor, and keys for the command line."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from enalysis.actions.consent import callback_address
from enalysis.actions.vendors import OperatorApp
from enalysis.config.values import Setting, Wrong, choice
from enalysis.connectors.base import AppCard, AppKind, Auth, Field, Spec, Way
from enalysis.connectors.registry import CONNECTORS

_LONGEST: Final = 4096

Read = Callable[[str, Callable[[str], object]], object | None]
"""Returns what a setting of that name was read as, None where it is unset; a wrong value is a problem by itself."""


@dataclass(slots=True)
class Found:
    """What the settings of the cards amount to, and what is wrong with them together."""

    apps: dict[str, OperatorApp] = field(default_factory=dict)
    keys: dict[str, Mapping[str, str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def card_settings() -> list[Setting]:
    """Return the settings of every card, in the order in which they are documented."""
    return [setting for entry in CONNECTORS.values() for setting in _settings_of(entry.spec)]


def read_cards(read: Read, given: Collection[str], public_url: str) -> Found:
    """Read the settings of every card: all of an app's required ones or none.

    Args: given: the names that have a value, good or not; it grows as they are read.
    """
    found = Found()
    for entry in CONNECTORS.values():
        spec = entry.spec
        if spec.app is not None:
            _read_app(spec, spec.app, read, given, public_url, found)
        keys = {each.name: _text(read(_name(spec, each.name), _parse_field)) for each in _own_keys(spec)}
        if any(keys.values()):
            found.keys[spec.key] = {name: value for name, value in keys.items() if value}
    return found


def secrets_of(apps: Mapping[str, OperatorApp], keys: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """Yield what of the apps and keys nobody may print."""
    for vendor, app in apps.items():
        card = CONNECTORS[vendor].spec.app
        secret = {each.name for each in card.fields if each.secret} if card is not None else set(app.fields)
        yield from (value for name, value in app.fields.items() if name in secret)
    for fields in keys.values():
        yield from fields.values()


def _settings_of(spec: Spec) -> Iterator[Setting]:
    if spec.app is not None:
        kinds = _kinds(spec)
        for each in spec.app.fields:
            meaning = f"{each.label} of the operator's app at {spec.label}, which every organization may use. "
            yield Setting(_name(spec, each.name), meaning + each.help, "unset", each.secret)
        told = " or ".join(f"`{kind}`" for kind in kinds)
        yield Setting(_name(spec, "app_kind"), f"The kind of that app: {told}.", f"`{next(iter(kinds))}`", secret=False)
        plans = "; ".join(
            f"{', '.join(f'`{plan.key}`' for plan in way.plans)} for a {kind} app" for kind, way in kinds.items()
        )
        meaning = f"The plan of that app, whose quota all its connections share: {plans}."
        yield Setting(_name(spec, "app_plan"), meaning, "the first of its kind", secret=False)
        meaning = (
            "The redirect address that is registered with the app. It need not be set; if it is, it must be"
            f" PUBLIC_URL followed by `{callback_address('', spec.key)}`, because that is what is sent."
        )
        yield Setting(_name(spec, "redirect_uri"), meaning, "that address", secret=False)
    for each in _own_keys(spec):
        meaning = (
            f"The {each.label} that `enalysis connection add {spec.key}` takes where none is given; pages and"
            f" other people's connections never do. {each.help}"
        )
        yield Setting(_name(spec, each.name), meaning, "unset", each.secret)


def _read_app(spec: Spec, card: AppCard, read: Read, given: Collection[str], public_url: str, found: Found) -> None:
    fields = {each.name: _text(read(_name(spec, each.name), _parse_field)) for each in card.fields}
    kinds = _kinds(spec)
    kind = _text(read(_name(spec, "app_kind"), choice(*kinds))) or next(iter(kinds))
    plans = [plan.key for plan in kinds[kind].plans]
    plan = _text(read(_name(spec, "app_plan"), partial(_parse_plan, plans, kind))) or plans[0]
    path = callback_address("", spec.key)
    read(_name(spec, "redirect_uri"), partial(_parse_redirect, public_url + path, path))
    about = [name for part in (*fields, "app_kind", "app_plan") if (name := _name(spec, part)) in given]
    missing = [name for each in card.fields if each.required and (name := _name(spec, each.name)) not in given]
    if about and missing:
        found.problems.append(
            f"{' and '.join(missing)} must be set too, since {' and '.join(about)} alone make no app at"
            f" {spec.label}: set them all, or none"
        )
    elif about:
        found.apps[spec.key] = OperatorApp(kind, plan, {name: value for name, value in fields.items() if value})


def _name(spec: Spec, part: str) -> str:
    return f"{spec.key}_{part}".upper()


def _kinds(spec: Spec) -> dict[str, Way]:
    """Return the ways through an app by its kind, the developer's first: that is the default."""
    ways = {way.app.value: way for way in spec.ways if way.app is not None}
    return dict(sorted(ways.items(), key=lambda each: each[0] != AppKind.DEVELOPER.value))


def _own_keys(spec: Spec) -> list[Field]:
    """Return the keys that a person has at a vendor which also has apps, as far as no app's field is called so."""
    if spec.app is None:
        return []
    taken = {each.name for each in spec.app.fields}
    ways = [way for way in spec.ways if way.auth is Auth.API_KEY]
    return [each for way in ways for each in way.fields if each.secret and each.name not in taken]


def _text(value: object | None) -> str:
    return value if isinstance(value, str) else ""


def _parse_field(text: str) -> str:
    if re.search(r"\s", text):
        raise Wrong("holds a space: copy it again")
    if len(text) > _LONGEST:
        raise Wrong(f"is longer than {_LONGEST} characters: copy it again")
    return text


def _parse_plan(plans: list[str], kind: str, text: str) -> str:
    if text.lower() not in plans:
        raise Wrong(f"must be {' or '.join(plans)} for a {kind} app")
    return text.lower()


def _parse_redirect(wanted: str, path: str, text: str) -> str:
    # The addresses are not told: no refusal repeats a value.
    if text != wanted:
        raise Wrong(
            f"must equal PUBLIC_URL followed by {path}, letter by letter: correct it or PUBLIC_URL, or remove it"
        )
    return text
