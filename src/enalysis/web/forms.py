"""Reads forms, tolerant of what pasting brings along, and draws the connect form from a vendor's card."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from starlette.requests import Request

from enalysis.connectors.base import APIStatus, Auth, Check, Field, Plan, Spec, Way
from enalysis.core.errors import NotFound
from enalysis.core.quotas import Quota
from enalysis.web.errors import Unfit
from enalysis.web.formats import calendar_day, count, quantity

LONGEST = 4096
PASTED = "pasted_address"
# A vendor's address with its code and state is longer than any credential.
LONGEST_PASTED = 8192
_MOST_FIELDS = 100
# What comes along when people copy from a vendor's page: zero-width marks, soft hyphens, byte order marks.
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2028\u2029\u202a-\u202e\u2060\ufeff]")
_BLANK = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Card:
    """A vendor to choose: what it is called, what it will ask for, and how its API stands."""

    key: str
    label: str
    asks: tuple[str, ...]
    note: str
    usable: bool


@dataclass(frozen=True, slots=True)
class PlanChoice:
    """A vendor's plan to choose: its quotas in words, each with whether the figure is assumed by us."""

    key: str
    label: str
    quotas: tuple[tuple[str, bool], ...]
    note: str
    checked: bool


async def fields_of(request: Request) -> dict[str, str]:
    """Return a form's texts by name. Raises Unfit for files and for texts too long to be meant."""
    form = await request.form(max_files=0, max_fields=_MOST_FIELDS)
    out = {}
    for name, value in form.multi_items():
        longest = LONGEST_PASTED if name == PASTED else LONGEST
        if not isinstance(value, str) or len(value) > longest:
            msg = "A field of the form is longer than anything that belongs there."
            raise Unfit(msg)
        out[name] = value
    return out


async def sent_of(request: Request) -> dict[str, str]:
    """Return the texts by name that a form or a JSON object carries; true is "1", null and false are "".

    Raises: Unfit, without repeating what was sent.
    """
    if not request.headers.get("content-type", "").startswith("application/json"):
        return await fields_of(request)
    try:
        body = json.loads(await request.body())
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict) or len(body) > _MOST_FIELDS:
        msg = "The body must be one JSON object."
        raise Unfit(msg)
    plain: dict[object, str] = {None: "", False: "", True: "1"}
    out = {}
    for name, value in body.items():
        text = plain.get(value) if value is None or isinstance(value, bool) else value
        if not isinstance(text, str) or len(text) > LONGEST_PASTED:
            msg = "The values must be texts, true, false or null, and not too long."
            raise Unfit(msg)
        out[name] = text
    return out


def identifier(value: str | None) -> UUID | None:
    """Return the identifier that was sent; None where none was. Raises NotFound for what is none."""
    if not value:
        return None
    try:
        return UUID(value)
    except ValueError:
        msg = "There is no such thing."
        raise NotFound(msg) from None


def line(value: str | None) -> str:
    """Return a text of one line: invisible characters gone, blanks single, none at the ends.

    Raises Unfit where a control character is left, which no keyboard types.
    """
    text = _BLANK.sub(" ", _INVISIBLE.sub("", value or "")).strip()
    if any(not c.isprintable() for c in text):
        msg = "A field holds characters that cannot be typed; enter it by hand."
        raise Unfit(msg)
    return text


def secret(value: str | None, auth: Auth) -> str:
    """Return a pasted credential: of keys and addresses every blank goes, a password keeps its inner ones."""
    text = line(value)
    return text if auth is Auth.LOGIN else _BLANK.sub("", text)


def credential(way: Way, sent: Mapping[str, str]) -> dict[str, str]:
    """Return what was sent for the card's fields, cleaned of what pasting brings; the rest is dropped."""
    return {field.name: secret(sent.get(f"field-{field.name}"), way.auth) for field in way.fields}


def app_keys(fields: Sequence[Field], sent: Mapping[str, str]) -> dict[str, str]:
    """Return what was sent for an app's fields, without blanks; the rest is dropped."""
    return {field.name: secret(sent.get(f"field-{field.name}"), Auth.API_KEY) for field in fields}


def missing(fields: Sequence[Field], given: Mapping[str, str]) -> dict[str, str]:
    """Return for each required field left empty what to do about it."""
    return {f.name: f"Enter the {_lower(f.label)}." for f in fields if f.required and not given.get(f.name)}


def cards(specs: Mapping[str, Spec], search: str = "") -> tuple[Card, ...]:
    """Return the vendors to choose from by name, those whose API is gone last and not to be chosen.

    Args: search: every word of it must stand in the vendor's name or in what it asks for.
    """
    wanted = search.casefold().split()
    made = []
    for spec in specs.values():
        asks = tuple(f"{way.label}: {asks_words(spec, way)}" for way in spec.ways)
        text = " ".join((spec.key, spec.label, *asks)).casefold()
        if all(word in text for word in wanted):
            made.append(Card(spec.key, spec.label, asks, _status(spec), spec.status is not APIStatus.RETIRED))
    return tuple(sorted(made, key=lambda c: (not c.usable, c.label.casefold())))


def asks_words(spec: Spec, way: Way) -> str:
    """Say what a way asks for: "your fleet API key", "sign in at the vendor, through an app of yours"."""
    if way.auth is Auth.OAUTH:
        told = f"you sign in at {spec.label} and allow it"
    else:
        told = " and ".join(f.label for f in way.fields if f.required) or "nothing"
    return told if way.app is None else f"{told}, through an app registered there"


def plans(way: Way, chosen: str | None) -> tuple[PlanChoice, ...]:
    """Return the card's plans with the chosen one, or else the first, checked."""
    checked = way.plan(chosen).key
    return tuple(
        PlanChoice(
            p.key,
            p.label,
            tuple((quota_words(q), q.chosen) for q in p.quotas),
            p.note,
            p.key == checked,
        )
        for p in way.plans
    )


def quota_words(quota: Quota) -> str:
    """Say a quota: "2,000 calls a month per account"."""
    article = "an" if quota.window.value == "hour" else "a"
    return f"{count(quota.limit, 'call')} {article} {quota.window.value} per {quota.scope.value}"


def check_words(check: Check, age: str) -> str:
    """Say what a test found: "3 sites, 9.8 kWp, last data 4 min ago". age: of check.last_update, in words."""
    if not check.sites:
        return "no site is behind this credential yet"
    told = [count(check.sites, "site")]
    if check.capacity_wp is not None:
        size = quantity(check.capacity_wp, "Wp")
        told.append(f"{size.text} {size.unit}")
    if check.current_power_w is not None:
        power = quantity(check.current_power_w, "W")
        told.append(f"{power.text} {power.unit} now")
    if check.energy_today_wh is not None:
        energy = quantity(check.energy_today_wh, "Wh")
        told.append(f"{energy.text} {energy.unit} today")
    told.append("no data seen yet" if check.last_update is None else f"last data {age}")
    return ", ".join(told)


def plan_of(way: Way, key: str | None) -> Plan:
    """Return the plan that was asked for. Raises Unfit for one the card does not have."""
    if key and key not in {p.key for p in way.plans}:
        msg = "The vendor has no such plan."
        raise Unfit(msg)
    return way.plan(key)


def _status(spec: Spec) -> str:
    if spec.status is APIStatus.CURRENT:
        return spec.status_note
    words = {
        APIStatus.PENDING: "Needs the vendor's approval first.",
        APIStatus.RETIRED: "The vendor switched this API off.",
        APIStatus.RETIRING: "The vendor will switch this API off"
        + (f" on {calendar_day(spec.status_until)}." if spec.status_until else "."),
    }
    return " ".join(part for part in (words[spec.status], spec.status_note) if part)


def _lower(label: str) -> str:
    """Put a label into a sentence: "API key" stays, "Site number" becomes "site number"."""
    return label if label[:2].isupper() else label[:1].lower() + label[1:]
