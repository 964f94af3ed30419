"""The bar's rows on what token endpoints say: no reply drops a living grant, no lifetime leads to a dead token."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from enalysis.actions import renewals, vendors
from enalysis.actions.tokens import Kept, fresh_of
from enalysis.connectors.calls import HTTPLimits
from enalysis.connectors.oauth import Grant
from enalysis.core.errors import GrantDead, VendorError
from enalysis.store import streams
from enalysis.store.pool import Database
from enalysis.store.quotas import Caller
from tests.bar.row import Row
from tests.bar.tenancy import superuser
from tests.databases import Base
from tests.oauth_bench import Bench, Clock, opened
from tests.oauth_vendor import MISSING
from tests.vendor import Act, answer, cut, reset, silent

_HTML = b"<html><body>Please come back later</body></html>"
_INVALID = {"error": "invalid_grant", "error_description": "Invalid refresh token (expired): at-and-rt-echoed"}
# What a reply means: the grant is kept as it is, gone, renewed under the old refresh token, or found renewed.
KEPT, DEAD, OLD, OTHERS = "kept", "dead", "old_token_kept", "others_used"


def _tokenless() -> Act:
    return answer({"token_type": "bearer", "expires_in": 3600, "refresh_token": "rt-without-an-access-token"})


REPLIES: tuple[tuple[str, Callable[[], Act], str], ...] = (
    ("500", lambda: answer(b"oops", 500, "text/plain"), KEPT),
    ("502 HTML", lambda: answer(_HTML, 502, "text/html"), KEPT),
    ("503 for two minutes", lambda: answer(b"{}", 503, headers={"Retry-After": "120"}), KEPT),
    ("429 for two minutes", lambda: answer(b"{}", 429, headers={"Retry-After": "120"}), KEPT),
    ("429", lambda: answer(b"{}", 429), KEPT),
    ("silence", silent, KEPT),
    ("reset", reset, KEPT),
    ("200 HTML", lambda: answer(_HTML, 200, "text/html"), KEPT),
    ("200 cut", lambda: cut(b'{"access_token": "at-'), KEPT),
    ("200 no JSON", lambda: answer(b'{"access_token": '), KEPT),
    ("200 empty", lambda: answer(b"", 200), KEPT),
    ("200 no token", _tokenless, KEPT),
    ("200 with an error inside", lambda: answer(_INVALID), KEPT),
    ("403 HTML", lambda: answer(_HTML, 403, "text/html"), KEPT),
    ("400 invalid_request", lambda: answer({"error": "invalid_request"}, 400), KEPT),
    ("401 invalid_client", lambda: answer({"error": "invalid_client"}, 401), KEPT),
    ("200 no refresh token", silent, OLD),
    ("200 empty refresh token", silent, OLD),
    ("400 invalid_grant", lambda: answer(_INVALID, 400), DEAD),
    ("401 invalid_token", lambda: answer({"error": "invalid_token"}, 401), DEAD),
    ("400 invalid_grant, renewed meanwhile", lambda: answer(_INVALID, 400), OTHERS),
)


@contextmanager
def impatient() -> Iterator[None]:
    """Let a token call take half a second at most: silence is waited out thrice per reply."""
    usual = vendors._TOKEN_LIMITS
    vendors._TOKEN_LIMITS = HTTPLimits(deadline_s=0.5, attempts=1)  # type: ignore[misc] # Final, and restored below
    try:
        yield
    finally:
        vendors._TOKEN_LIMITS = usual  # type: ignore[misc] # likewise


async def a8(base: Base, replies: int = len(REPLIES)) -> Row:
    """A8: only `invalid_grant` for the token that is still the one we hold means dead; all else keeps and waits.

    Each reply meets a token that has a quarter of an hour left, and one that is spent. Kept means: the sealed
    grant is the one before, the living token is used, no person is asked to sign in, the token endpoint is not
    asked again within a minute however many calls want a token, and once the vendor is well all goes on.
    """
    wrong: list[str] = []
    dropped = 0
    clock = Clock()
    chosen = REPLIES if replies >= len(REPLIES) else REPLIES[-replies:]
    with impatient():
        async with Database(base.app, base.engine) as db, opened(db, clock=clock, vendor_clock=clock.vendor) as bench:
            for name, make, meaning in chosen:
                for spent in (False, True):
                    case = _Case(bench, clock, base, make(), spent=spent, name=name)
                    found = await case.play(meaning)
                    dropped += found.dropped
                    wrong += [f"{name}: {each}" for each in found.wrong]
    facts: dict[str, str | int] = {"replies": len(chosen), "tokens_wrongly_dropped": dropped, "wrong": len(wrong)}
    return Row("A8", 2 * len(chosen), len(wrong) + dropped, 32, facts | ({"first": wrong[0]} if wrong else {}))


@dataclass
class _Found:
    dropped: bool
    wrong: list[str]


@dataclass
class _Case:
    """One reply and one token."""

    bench: Bench
    clock: Clock
    base: Base
    act: Act
    spent: bool
    name: str
    made: UUID | None = None
    others_access: str = ""

    async def play(self, meaning: str) -> _Found:
        """Let the token endpoint give the reply and compare what becomes of it with what it means."""
        bench, wrong = self.bench, list[str]()
        made = await bench.connect(f"owner-{len(bench.vendor.families)}")
        await bench.poll(made)
        before = await bench.kept(made)
        assert before is not None
        assert before.refresh_token is not None
        self.clock.move(minutes=56 if self.spent else 45)
        plays = {OLD: self._renewing, OTHERS: self._storing}.get(meaning, lambda _: self.act)
        bench.vendor.token_act = plays
        self.made, self.others_access = made, ""
        asked = bench.vendor.token_calls
        outcome = await self._ask(made)
        kept = await bench.kept(made)
        same = kept is not None and kept.refresh_token == before.refresh_token
        if meaning == KEPT:
            wrong += self._judge_kept(outcome, before.access_token)
            wrong += await self._pauses(made, asked)
        elif meaning == DEAD and not isinstance(outcome, GrantDead):
            wrong.append(f"not dead but {outcome!r}")
        elif meaning == OLD and (not same or outcome == before.access_token):
            wrong.append("the old refresh token is not kept beside the new access token")
        elif meaning == OTHERS and outcome != self.others_access:
            wrong.append(f"what another holder stored is not used: {outcome!r}")
        wrong += await self._state(made, meaning)
        dropped = meaning in (KEPT, OLD) and not same
        wrong += await self._recover(made, meaning)
        return _Found(dropped, wrong)

    async def _ask(self, made: UUID) -> str | VendorError:
        try:
            return await self.bench.vendors.tokens.current(self.bench.scope, await self.bench.find(made))
        except VendorError as error:
            return error

    def _judge_kept(self, outcome: str | VendorError, access: str) -> list[str]:
        if self.spent:
            fine = isinstance(outcome, VendorError) and not isinstance(outcome, GrantDead)
        else:
            fine = outcome == access
        return [] if fine else [f"told {outcome!r} ({'spent' if self.spent else 'alive'})"]

    async def _pauses(self, made: UUID, asked: int) -> list[str]:
        for _ in range(6):
            await self._ask(made)
        calls = self.bench.vendor.token_calls - asked
        # An app's fault is asked for again, so that whoever mends it sees it at once; it stops a poll at once too.
        return (
            [] if calls == 1 or "invalid_client" in self.name else [f"{calls} calls of the token endpoint in a minute"]
        )

    async def _state(self, made: UUID, meaning: str) -> list[str]:
        await self.bench.poll(made)
        found = await self.bench.find(made)
        if (found.state == "reauth_required") is not (meaning == DEAD):
            return [f"the connection is {found.state}"]
        async with self.bench.db.org(self.bench.scope) as conn:
            rows = await streams.list_streams(self.bench.scope, conn, made)
        waits = any(r.wait_until is not None and r.wait_until > self.clock() for r in rows)
        return ["no stream waits"] if meaning == KEPT and self.spent and not waits else []

    async def _recover(self, made: UUID, meaning: str) -> list[str]:
        self.bench.vendor.token_act = None
        self.clock.move(minutes=20)
        if meaning == DEAD:
            return []
        if isinstance(await self._ask(made), VendorError) or not await self.bench.lives(made):
            return ["does not go on once the vendor is well"]
        await self.bench.poll(made)
        state = (await self.bench.find(made)).state
        return [] if state == "healthy" else [f"stays {state}"]

    def _renewing(self, sent: Mapping[str, str]) -> Act:
        """Renew in earnest and tell no new refresh token: the one before goes on."""
        vendor = self.bench.vendor
        vendor.rotates = False
        told = vendor.answer_of(vendor.family_of(sent["refresh_token"]))
        vendor.rotates = True
        return answer(told | ({"refresh_token": ""} if "empty" in self.name else {}))

    def _storing(self, sent: Mapping[str, str]) -> Act:
        """Store what another holder got before the answer goes out, as one does whose lock the server forgot."""
        made = self.made
        assert made is not None
        del sent

        async def play(writer: asyncio.StreamWriter) -> bool:
            told = self.bench.vendor.grant()
            self.others_access = str(told["access_token"])
            grant = Grant(self.others_access, str(told["refresh_token"]), self.clock() + timedelta(hours=1), None)
            fresh = await fresh_of(
                self.bench.vendors, self.bench.scope, made, "acme", grant, await self.bench.kept(made), self.clock()
            )
            with superuser(self.base) as admin:
                # The row is locked by the renewal under way; a forgotten lock is played by ending its session.
                admin.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity where state = 'idle in transaction'"
                )
                admin.execute(
                    "update connections set sealed = %s, refresh_mark = %s, expires_at = %s, refreshed_at = %s"
                    " where id = %s",
                    (fresh.sealed, fresh.refresh_mark, fresh.expires_at, self.clock(), made),
                )
            return await self.act(writer)

        return play


# What `expires_in` says, and how long the token lives in truth: as the card documents where it says nothing usable.
LIFETIMES: tuple[tuple[object, float], ...] = (
    (MISSING, 3600),
    ("3600", 3600),
    (0, 3600),
    (-5, 3600),
    (10**9, 7200),
    (None, 3600),
    (True, 3600),
)
STEPS_H = (0, 1, -1)


async def a9(base: Base, cases: int = 21, hours: int = 4, idle_days: int = 23) -> Row:
    """A9: whatever `expires_in` says and however our clock is set after, no call is left with a dead token.

    The vendor judges by its own clock. While ours runs with it, no call may carry a token that is dead. Where ours
    was set an hour forward, tokens are renewed earlier, which costs calls and nothing else. Where it was set back
    by an hour after a token was given, nobody can know that the token died before we think so: its first refusal
    must then be followed by exactly one renewal and one repeat, which succeeds; a second dead call is one too many.
    A lifetime that says nothing usable is the card's. A grant that nobody can renew is warned of in its last week.
    """
    dead = unmended = mended_calls = polls = renewed = 0
    warned, ended, kept = await _idle(base, idle_days)
    for number, (said, lives_s, step_h) in enumerate([(*life, step) for life in LIFETIMES for step in STEPS_H][:cases]):
        clock = _Stepped()
        async with (
            Database(base.app, base.engine, size=2) as db,
            opened(db, clock=clock, vendor_clock=clock.vendor) as bench,
        ):
            bench.vendor.expires_in, bench.vendor.lives_s = said, lives_s
            connection = await bench.find(await bench.connect(f"owner-{number}"))
            clock.step = timedelta(hours=step_h)
            for _ in range(hours * 5):
                clock.move(minutes=12)
                start = len(bench.vendor.used)
                renewals_before = bench.vendor.refreshes
                async with bench.vendors.client(bench.scope, connection, Caller.LIVE) as client:
                    await client.connector.discover(clock())
                used = bench.vendor.used[start:]
                polls += 1
                late = sum(not each.fresh for each in used)
                mended = late == 1 and used[-1].fresh and bench.vendor.refreshes - renewals_before == 1
                dead += late if step_h >= 0 else late * (not mended)
                unmended += not used[-1].fresh
                mended_calls += mended
            renewed += bench.vendor.refreshes
    bad = dead + unmended + (not warned) + ended + (not kept)
    facts = {
        "cases": cases,
        "calls_with_expired_token": dead,
        "mended_after_clock_set_back": mended_calls,
        "renewals": renewed,
        "warned_days_before": warned,
    }
    return Row("A9", polls, bad, cases * hours * 5, {**facts, "idle_kept_alive": int(kept)})


class _Stepped(Clock):
    """Our clock, `step` away from the vendor's."""

    step = timedelta()

    def __call__(self) -> datetime:
        return self.at + self.step


async def _idle(base: Base, days: int) -> tuple[int, bool, bool]:
    """Leave a connection alone; return days between warning and end, whether it was told dead, and if it can live."""
    clock = Clock()
    async with Database(base.app, base.engine) as db, opened(db, clock=clock, vendor_clock=clock.vendor) as bench:
        well, ill = await bench.connect("well"), await bench.connect("ill")
        tokens = {(await bench.kept(ill) or _none()).refresh_token}
        bench.vendor.token_act = lambda sent: answer(b"", 503) if sent.get("refresh_token") in tokens else None
        warned = 0
        for _ in range(days):
            clock.move(days=1)
            await renewals.sweep(bench.db, bench.vendors, clock())
            kinds = [kind for kind, _ in await bench.events(ill)]
            if "sign_in_ends" in kinds and not warned:
                ends = (await bench.find(ill)).refresh_expires_at
                warned = 0 if ends is None else (ends - clock()).days
        told_dead = (await bench.find(ill)).state == "reauth_required"
        return warned, told_dead, await bench.lives(well) and bench.vendor.refreshes > 0


def _none() -> Kept:
    raise LookupError("nothing is kept of a grant that was just given")
