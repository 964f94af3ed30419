"""Reads what a vendor's card asks for: from options, files, the environment, or a person at the keyboard."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final

import typer

from enalysis import log
from enalysis.cli import output
from enalysis.config import load_settings
from enalysis.connectors.base import Auth, Field, Spec, Way
from enalysis.connectors.registry import CONNECTORS
from enalysis.core.errors import ConfigError, Refused

_LARGEST: Final = 65_536
_STDIN: Final = "-"

Vendor = Annotated[
    str,
    typer.Argument(metavar="VENDOR", help="The vendor's key, such as `enalysis connection add --help` lists."),
]
PlanKey = Annotated[
    str | None,
    typer.Option("--plan", metavar="PLAN", help="The account's plan at the vendor; the smallest if left out."),
]
WayKey = Annotated[
    str | None,
    typer.Option("--way", metavar="WAY", help="How to prove that the data is yours; the card's first if left out."),
]
AppKey = Annotated[
    str | None,
    typer.Option(
        "--app",
        metavar="APP",
        help="The app at the vendor to go through: its name or id, how either begins, or `operator`.",
    ),
]
Given = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="FIELD=VALUE",
        help="A field of the credential. Others on this machine see it: use --field-file for a secret.",
    ),
]
Files = Annotated[
    list[str] | None,
    typer.Option("--field-file", metavar="FIELD=PATH", help="A field to be read from a file; - is standard input."),
]


@dataclass(frozen=True, slots=True)
class Entered:
    """What a person entered to connect: the vendor's card, a way and a plan of it, and the way's fields."""

    spec: Spec
    way: Way
    plan: str
    fields: Mapping[str, str] = field(repr=False)


def enter(
    vendor: str, way: str | None, plan: str | None, given: Sequence[str] | None, files: Sequence[str] | None
) -> Entered:
    """Return what was entered, asking for what is missing. Raises as `find_spec`, `find_way` and `read`."""
    spec = find_spec(vendor)
    chosen = find_way(spec, way)
    refuse_consent(spec, chosen)
    return Entered(spec, chosen, find_plan(spec, chosen, plan), read(spec, chosen, given, files))


def find_spec(vendor: str) -> Spec:
    """Return the card of a vendor by its key or label. Raises BadParameter naming those there are."""
    wanted = vendor.strip().casefold()
    for key, entry in CONNECTORS.items():
        if wanted in (key, entry.spec.label.casefold()):
            return entry.spec
    known = ", ".join(sorted(CONNECTORS))
    raise typer.BadParameter(f"there is no connector of that name; there are: {known}", param_hint="VENDOR")


def find_way(spec: Spec, key: str | None) -> Way:
    """Return a way of the card; None is its first. Raises BadParameter naming those there are."""
    known = [way.key for way in spec.ways]
    if key is not None and key not in known:
        raise typer.BadParameter(f"{spec.label} has the ways {', '.join(known)}", param_hint="--way")
    return spec.way(key)


def find_plan(spec: Spec, way: Way, key: str | None) -> str:
    """Return the key of a plan of the way; None is its first. Raises BadParameter naming those there are."""
    known = [plan.key for plan in way.plans]
    if key is not None and key not in known:
        raise typer.BadParameter(f"{spec.label} has the plans {', '.join(known)}", param_hint="--plan")
    return way.plan(key).key


def refuse_consent(spec: Spec, way: Way) -> None:
    """Refuse a way whose proof is given at the vendor. Raises BadParameter saying how to go there."""
    if way.auth is Auth.OAUTH:
        hint = f"this way asks for nothing here: `enalysis connection authorize {spec.key}` takes you to {spec.label}"
        raise typer.BadParameter(hint, param_hint="--way")


def variable(field: Field) -> str:
    """Return the name of the environment variable that may hold a secret field."""
    return f"ENALYSIS_{field.name.upper()}"


def read(spec: Spec, way: Way, given: Sequence[str] | None, files: Sequence[str] | None) -> dict[str, str]:
    """Return the credential's fields, clean of what pasting brings, and keep its secrets out of the log.

    A field comes from --set or --field-file, else a secret one from the environment or from the setting named
    after vendor and field; a required one that is missing then is asked for, where somebody sits at the keyboard.

    Raises: BadParameter: a field the card does not have, or one given twice. Refused: one is missing.
    """
    known = {field.name: field for field in way.fields}
    found = _pairs(known, given, "--set")
    paths = _pairs(known, files, "--field-file")
    if both := found.keys() & paths.keys():
        raise typer.BadParameter(f"{min(both)} is given by --set too", param_hint="--field-file")
    _warn(way, found)
    found |= {name: _content(known[name], path) for name, path in paths.items()}
    for each in way.fields:
        value = _clean(found.get(each.name) or (_kept(spec, each) if each.secret else ""))
        if not value and each.required:
            value = _clean(_ask(spec, way, each))
        found[each.name] = value
        if each.secret:
            log.register_secret(value)
    return {name: value for name, value in found.items() if value}


def _kept(spec: Spec, field: Field) -> str:
    if named := os.environ.get(variable(field)):
        return named
    try:
        return load_settings().vendor_keys.get(spec.key, {}).get(field.name, "")
    except ConfigError:
        # Trying a key needs no settings, and whoever does need them is told by what opens the database.
        return ""


def _pairs(known: Mapping[str, Field], texts: Sequence[str] | None, option: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        # What was written is not repeated: it may be the secret itself.
        if not equals:
            raise typer.BadParameter("it must be FIELD=…, with an equals sign", param_hint=option)
        if name not in known:
            raise typer.BadParameter(f"the fields are {', '.join(known)}", param_hint=option)
        if name in found:
            raise typer.BadParameter(f"{name} is given twice", param_hint=option)
        found[name] = value
    return found


def _warn(way: Way, found: Mapping[str, str]) -> None:
    shown = [field for field in way.fields if field.secret and found.get(field.name)]
    if shown:
        output.say(
            f"Warning: others on this machine can see the {shown[0].label} on the command line, and it stays"
            f" in the shell's history. Use --field-file or the environment variable {variable(shown[0])}, or"
            " leave it out to be asked."
        )


def _content(field: Field, path: str) -> str:
    # The path is not repeated: it may be the secret itself, put in the wrong place.
    try:
        if path == _STDIN:
            text = sys.stdin.read(_LARGEST + 1)
        else:
            with Path(path).expanduser().open(encoding="utf-8-sig") as file:
                text = file.read(_LARGEST + 1)
    except (OSError, UnicodeError, RuntimeError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "not a text file"
        raise Refused(f"the file named for {field.name} cannot be read: {why.lower()}") from None
    if len(text) > _LARGEST:
        raise Refused(f"the file named for {field.name} is too large to hold a credential")
    return text


def _clean(value: str) -> str:
    return value.strip().strip("\"'").strip()


def _ask(spec: Spec, way: Way, field: Field) -> str:
    if not (sys.stdin.isatty() and output.people.is_terminal):
        ways = f"--field-file {field.name}=PATH"
        if field.secret:
            ways += f", or the environment variable {variable(field)}"
        raise Refused(f"the {field.label} for {spec.label} is missing: give it with {ways}")
    if way.where_to_find and way.auth is not Auth.ADDRESS:
        output.say(way.where_to_find)
    output.say(field.help)
    return output.people.input(f"{field.label}: ", password=field.secret)
