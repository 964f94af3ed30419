"""The bar's rows on the way to a vendor and back, over a real server: addresses nobody can bend, and no traces."""

from collections.abc import Mapping
from itertools import product
from urllib.parse import parse_qs, quote, urlsplit

from tests.bar.housed import EMAIL, House, housed
from tests.bar.row import Row
from tests.databases import Base
from tests.vendor import Act, answer

_HOSTILE = (
    {"Host": "evil.example"},
    {"Host": "localhost:1"},
    {"Host": "localhost.evil.example"},
    {"Host": "evil.example@localhost"},
    {"Host": "127.0.0.1"},
    {"X-Forwarded-Host": "evil.example"},
    {"X-Forwarded-Host": "evil.example, localhost"},
    {"X-Forwarded-Proto": "https"},
    {"X-Forwarded-Proto": "javascript"},
    {"X-Forwarded-Port": "1"},
    {"X-Forwarded-Prefix": "//evil.example"},
    {"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"},
    {"Forwarded": "for=6.6.6.6;host=evil.example;proto=https"},
    {"X-Original-URL": "https://evil.example/"},
    {"X-Rewrite-URL": "//evil.example/"},
    {"X-Host": "evil.example"},
    {"Referer": "https://evil.example/"},
)
_NEXT = (
    "https://evil.example/",
    "//evil.example/",
    "///evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "/%0d%0aLocation: https://evil.example",
    "javascript:alert(1)",
    "/\t/evil.example",
    "http:evil.example",
    "/@evil.example/..//evil.example",
    ".evil.example",
    "@evil.example",
    "data:text/html,x",
    " //evil.example",
    "/ /evil.example",
)


async def a4(base: Base) -> Row:
    """A4: where a vendor sends people back to is made of PUBLIC_URL alone, and nothing leads off this server.

    Over a real socket: hostile Host and proxy headers on the way out and on the way back, and hostile `next` at
    the sign-in. A refusal is fine; another redirect address or a Location elsewhere is not. Requests without any
    of it must work, with the address of the settings to the letter.
    """
    changed = elsewhere = tried = 0
    async with housed(base) as house:
        wanted = f"{house.visitor.origin}/api/oauth/acme/callback"
        plain = await _authorized(house, {})
        honest = (await house.consent()).headers.get("location", "")
        broken = int(plain != wanted) + int(not honest.startswith("/connections/") or "consent" in honest)
        for headers in _HOSTILE:
            found = await _authorized(house, headers)
            changed += found not in (None, wanted)
            begun = await house.visitor.call("POST", "/api/oauth/acme/authorize", {"app": str(house.bench.app)})
            params = house.bench.vendor.consent(begun.json()["address"])
            query = "&".join(f"{n}={quote(v)}" for n, v in params.items())
            for path in (f"callback?{query}", f"authorize?way={quote('//evil.example')}&app=x"):
                came = await house.visitor.ask("GET", f"/api/oauth/acme/{path}", headers)
                elsewhere += _leads_off(house, came.headers.get("location"))
            changed += sum(asked["redirect_uri"] != wanted for asked in house.bench.vendor.authorized)
            tried += 3
        for target, field in product(_NEXT, ("next",)):
            stranger = type(house.visitor)(house.visitor.origin)
            await stranger.ask("GET", f"/sign-in?{field}={quote(target, safe='')}")
            said = {"Origin": house.visitor.origin, "Sec-Fetch-Site": "same-origin"}
            form = {"csrf": stranger.token, "email": EMAIL, "password": house.secrets["password of the owner"]}
            came = await stranger.ask("POST", "/sign-in", said, data={**form, field: target})
            elsewhere += _leads_off(house, came.headers.get("location"))
            broken += came.status_code not in (303, 429)
            tried += 1
    return Row(
        "A4",
        tried,
        changed + elsewhere + broken,
        30,
        {"payloads": len(_HOSTILE) + len(_NEXT), "redirect_uri_changed": changed, "open_redirects": elsewhere},
    )


async def _authorized(house: House, headers: dict[str, str]) -> str | None:
    begun = await house.visitor.call("POST", "/api/oauth/acme/authorize", {"app": str(house.bench.app)}, **headers)
    if begun.status_code != 200:
        return None
    return parse_qs(urlsplit(begun.json()["address"]).query)["redirect_uri"][0]


def _leads_off(house: House, location: str | None) -> bool:
    if location is None:
        return False
    parts = urlsplit(location)
    ours = urlsplit(house.visitor.origin)
    same = not parts.scheme and not parts.netloc and location.startswith("/") and location[1:2] not in ("/", "\\")
    return not same and (parts.scheme, parts.netloc) != (ours.scheme, ours.netloc)


async def a5(base: Base, flows: int = 12) -> Row:
    """A5: what a vendor sends a person back with is gone from the address bar at once, and stands in no log.

    A real server at DEBUG takes callbacks: good ones, denied ones, codes the vendor refuses, forged states. Each
    answer must be a redirect to an address without them, `no-store` and `no-referrer`; codes and states must stand
    in none of the answers (but for the address the browser itself is sent to) and in nothing the server says.
    """
    wrong: list[str] = []
    async with housed(base) as house:
        answers = []
        for number in range(flows):
            answers.append(await house.consent(f"flow-{number}"))
            for way in ("denied", "refused", "forged"):
                begun = await house.visitor.call("POST", "/api/oauth/acme/authorize", {"app": str(house.bench.app)})
                params = house.bench.vendor.consent(begun.json()["address"], f"{way}-{number}")
                house.secrets |= {f"state {way} {number}": params["state"], f"code {way} {number}": params["code"]}
                if way == "denied":
                    params = {"error": "access_denied", "state": params["state"], "code": params["code"]}
                elif way == "refused":
                    house.bench.vendor.token_act = _echo
                else:
                    params = {**params, "state": params["state"][::-1]}
                query = "&".join(f"{n}={quote(v)}" for n, v in params.items())
                answers.append(await house.visitor.ask("GET", f"/api/oauth/acme/callback?{query}"))
                house.bench.vendor.token_act = None
        for each in answers:
            location = each.headers.get("location", "")
            if each.status_code != 303 or not location.startswith("/connections/"):
                wrong.append(f"{each.status_code} to {location[:40]}")
            if "no-store" not in each.headers.get("cache-control", ""):
                wrong.append("cached")
            if each.headers.get("referrer-policy") != "no-referrer":
                wrong.append("referrer")
            wrong += [f"{name} in {location}" for name, text in house.secrets.items() if text in location]
        shown = [await house.visitor.ask("GET", each.headers["location"]) for each in answers]
        canaries = {n: t for n, t in house.secrets.items() if n.startswith(("state", "code"))}
        told = [(each.text + str(each.headers)) for each in (*answers, *shown)]
        log = (await house.stop()).decode()
        # A log that says nothing of the callbacks proves nothing.
        if log.count("oauth/acme/callback") < len(answers):
            wrong.append("the callbacks do not stand in the log")
    hits = sum(text in each for text in canaries.values() for each in (*told, log))
    facts: dict[str, str | int] = {"canaries": len(canaries), "canary_hits": hits, "log_lines": log.count("\n")}
    return Row("A5", len(answers), len(wrong) + hits, 4 * flows, facts | ({"first": wrong[0]} if wrong else {}))


def _echo(sent: Mapping[str, str]) -> Act:
    text = f"Invalid authorization code: {sent.get('code')}"
    return answer({"error": "invalid_grant", "error_description": text}, 400)
