"""A scripted vendor that speaks OAuth over real HTTP: it judges every token by its own books and its own clock."""

import asyncio
import base64
import hashlib
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.acme import REVOKE_PATH, TOKEN_PATH
from tests.vendor import Act, Asked, Vendor, answer

ROOT = "/acme"
MISSING = object()
"""Stands for a field that is not in the answer at all."""


@dataclass(slots=True)
class Family:
    """What came of one consent: the one refresh token that lives, and until when access tokens do, by its clock."""

    uid: str
    refresh: str
    access: dict[str, float] = field(default_factory=dict)
    revoked: bool = False
    refreshes: int = 0
    rotated: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True, slots=True)
class Used:
    """A data call as the vendor judged it."""

    token: str | None
    fresh: bool
    path: str


@dataclass(frozen=True, slots=True)
class _Code:
    uid: str
    client_id: str
    redirect_uri: str
    challenge: str | None


class OAuthVendor(Vendor):
    """Grants, rotates and revokes; reuse of a spent refresh token ends its whole family.

    Attributes:
        delay_s, data_delay_s: how late a token answer or data goes out. expires_in: what token answers say.
        lives_s: how long an access token lives in truth, by `clock`. token_act, data_act, revoke_act: play this
            instead where set; token_act is asked before anything is decided.
        families: by every refresh token ever given. used: data calls in order.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(choose=self._judge)
        self.clock = clock
        self.delay_s = self.data_delay_s = 0.0
        self.expires_in: object = 3600
        self.lives_s = 3600.0
        self.rotates = True
        self.apps: dict[str, str] = {}
        self.keys: set[str] = set()
        self.passwords: dict[str, str] = {}
        self.sites: list[dict[str, str]] = [{"ref": "roof-1", "name": "Roof"}]
        self.token_act: Callable[[Mapping[str, str]], Act | None] | None = None
        self.data_act: Callable[[Asked], Act | None] | None = None
        self.revoke_act: Act | None = None
        self.families: dict[str, Family] = {}
        self.used: list[Used] = []
        self.verifiers: list[str] = []
        self.refreshes = self.invalid_grants = self.plain = self.token_calls = 0
        self.forgotten: list[str] = []
        self.authorized: list[dict[str, str]] = []
        self._codes: dict[str, _Code] = {}
        self._given: dict[str, Family] = {}

    def consent(self, address: str, uid: str = "owner-1") -> dict[str, str]:
        """Play the person at the vendor's page: allow it, and return what the redirect carries."""
        asked = dict(parse_qsl(urlsplit(address).query, strict_parsing=True))
        self.authorized.append(asked)
        self.plain += asked.get("code_challenge_method", "S256") != "S256"
        code = secrets.token_urlsafe(24)
        self._codes[code] = _Code(uid, asked["client_id"], asked["redirect_uri"], asked.get("code_challenge"))
        return {"code": code, "state": asked["state"], "region": "eu-1"}

    def grant(self, uid: str = "owner-1") -> dict[str, object]:
        """Begin a family and return what a token answer says of it."""
        family = Family(uid, "")
        return self.answer_of(family)

    @property
    def tokens(self) -> list[str]:
        """Return every token ever given, of both kinds."""
        return [*self._given, *self.families]

    def rotation_of(self, family: Family) -> asyncio.Event:
        """Return what is set once the family's refresh token is spent next."""
        family.rotated = asyncio.Event()
        return family.rotated

    def family_of(self, refresh_token: str) -> Family:
        """Return the family a refresh token was given to."""
        return self.families[refresh_token]

    def answer_of(self, family: Family) -> dict[str, object]:
        """Give new tokens of a family."""
        access = f"at-{secrets.token_urlsafe(24)}"
        family.access[access] = self.clock() + self.lives_s
        self._given[access] = family
        told: dict[str, object] = {"access_token": access, "token_type": "bearer", "uid": family.uid}
        if self.expires_in is not MISSING:
            told["expires_in"] = self.expires_in
        if self.rotates or not family.refresh:
            family.refresh = f"rt-{secrets.token_urlsafe(24)}"
            self.families[family.refresh] = family
            told["refresh_token"] = family.refresh
        return told

    def _judge(self, asked: Asked) -> Act:
        path = urlsplit(asked.target).path.removeprefix(ROOT)
        if path == TOKEN_PATH:
            self.token_calls += 1
            return self._late(self._token(asked, dict(parse_qsl(asked.body.decode()))), self.delay_s)
        if path == REVOKE_PATH:
            token = dict(parse_qsl(asked.body.decode())).get("token", "")
            if self.revoke_act is not None:
                return self.revoke_act
            self.forgotten.append(token)
            if token in self.families:
                self.families[token].revoked = True
            return answer({})
        return self._late(self._data(asked, path), self.data_delay_s)

    def _late(self, act: Act, delay_s: float) -> Act:
        async def play(writer: asyncio.StreamWriter) -> bool:
            await asyncio.sleep(delay_s)
            return await act(writer)

        return play

    def _token(self, asked: Asked, sent: Mapping[str, str]) -> Act:
        scripted = None if self.token_act is None else self.token_act(sent)
        if scripted is not None:
            return scripted
        if not self._proven(asked, sent):
            return answer({"error": "invalid_client"}, 401)
        match sent.get("grant_type"):
            case "refresh_token":
                return self._refresh(sent["refresh_token"])
            case "authorization_code":
                return self._redeem(sent)
            case "password":
                if self.passwords.get(sent["username"]) == sent["password"]:
                    return answer(self.grant(sent["username"]))
        return self._invalid()

    def _refresh(self, token: str) -> Act:
        family = self.families.get(token)
        if family is None or family.revoked:
            return self._invalid()
        if token != family.refresh:
            family.revoked = True
            return self._invalid()
        self.refreshes += 1
        family.refreshes += 1
        told = self.answer_of(family)
        family.rotated.set()
        return answer(told)

    def _redeem(self, sent: Mapping[str, str]) -> Act:
        code = self._codes.pop(sent.get("code", ""), None)
        if code is None or sent.get("redirect_uri") != code.redirect_uri:
            return self._invalid()
        verifier = sent.get("code_verifier")
        if code.challenge is not None:
            made = base64.urlsafe_b64encode(hashlib.sha256((verifier or "").encode()).digest()).decode().rstrip("=")
            if verifier is None or made != code.challenge:
                return self._invalid()
            self.verifiers.append(verifier)
        return answer(self.grant(code.uid))

    def _invalid(self) -> Act:
        self.invalid_grants += 1
        return answer({"error": "invalid_grant", "error_description": "Invalid refresh token"}, 400)

    def _proven(self, asked: Asked, sent: Mapping[str, str]) -> bool:
        basic = asked.headers.get("authorization", "").removeprefix("Basic ")
        if basic:
            client, _, secret = base64.b64decode(basic).decode().partition(":")
            return self.apps.get(unquote(client)) == unquote(secret)
        return self.apps.get(sent.get("client_id", "")) == sent.get("client_secret")

    def _data(self, asked: Asked, path: str) -> Act:
        token = asked.headers.get("authorization", "").removeprefix("Bearer ") or None
        fresh = token is None and asked.headers.get("x-api-key") in self.keys
        if token is not None:
            family = self._given.get(token)
            fresh = family is not None and not family.revoked and family.access[token] > self.clock()
        self.used.append(Used(token, fresh, path))
        scripted = None if self.data_act is None else self.data_act(asked)
        if scripted is not None:
            return scripted
        if not fresh:
            return answer({"error": "invalid_token"}, 401)
        if path == "/api/sites":
            return answer({"sites": self.sites})
        if re.fullmatch(r"/api/sites/[a-z0-9-]+/power", path):
            return answer({"w": 1200})
        return answer({"error": "not_found"}, 404)
