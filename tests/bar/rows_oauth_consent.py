"""The bar's rows on consent: a state works once, for whom and what it was made; verifiers are fresh and die."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

from enalysis.actions.consent import ConsentFailed
from enalysis.core.access import Role, Scope
from enalysis.core.errors import NotFound, Refused
from enalysis.store import accounts
from enalysis.store.pool import Database
from tests.acme import acme_with
from tests.bar.row import Row
from tests.bar.tenancy import superuser
from tests.databases import Base
from tests.oauth_bench import Bench, Clock, opened

# What a state must be refused for; each is tried `rounds` times.
ABUSES = 8


async def a1(base: Base, rounds: int = 10, parallel: int = 20) -> Row:
    """A1: a state opens nothing for another session, tenant, vendor or time, and of many at once it opens one.

    Refused means: no grant and no connection of it, whatever is told. After each abuse the honest callback of the
    same consent must still pass, where the abuse does not use the state up by itself: else refusing all would do.
    """
    facts = {"accepted": 0, "honest_refused": 0, "short_states": 0, "states_in_clear": 0, "parallel": ""}
    spec = acme_with(pkce=True)
    twin = replace(spec, key="acme2", label="Acme Two")
    clock = Clock()
    tries = 0
    async with (
        Database(base.app, base.engine, size=12) as db,
        opened(db, spec=spec, others=(twin,), clock=clock) as bench,
    ):
        other = await _second_organization(bench)
        winners = []
        for number in range(rounds):
            for abuse in (_missing, _forged, _other_session, _other_tenant, _other_vendor, _expired):
                params = bench.vendor.consent((await bench.begin()).address, f"{abuse.__name__}-{number}")
                facts["short_states"] += len(params["state"]) < 22
                facts["states_in_clear"] += _stands_in(base, params["state"])
                facts["accepted"] += await _accepted(abuse, bench, params, other, clock)
                tries += 1
                if abuse is not _expired:
                    facts["honest_refused"] += not await _passes(bench, params)
            params = bench.vendor.consent((await bench.begin()).address, f"replayed-{number}")
            facts["honest_refused"] += not await _passes(bench, params)
            facts["accepted"] += await _passes(bench, params)
            params = bench.vendor.consent((await bench.begin()).address, f"parallel-{number}")
            winners.append(sum(await asyncio.gather(*(_passes(bench, params) for _ in range(parallel)))))
            tries += 1 + parallel
        facts["parallel"] = f"{max(winners)}/{parallel}"
    wrong_winners = sum(won != 1 for won in winners)
    bad = sum(v for v in facts.values() if isinstance(v, int)) + wrong_winners
    return Row("A1", tries, bad, rounds * (7 + parallel), {"abuses": ABUSES, **facts})


async def _second_organization(bench: Bench) -> Scope:
    other = Scope(uuid4(), None, Role.OWNER)
    async with bench.db.org(other) as conn:
        key = bench.keyring.new_organization_key(other.organization)
        await accounts.add_organization(other, conn, "Other", key, bench.clock())
    return other


Params = Mapping[str, str]
Abuse = Callable[[Bench, Params, Scope, Clock], Awaitable[object]]


async def _missing(bench: Bench, params: Params, other: Scope, clock: Clock) -> object:
    del other, clock
    return await bench.finish({k: v for k, v in params.items() if k != "state"})


async def _forged(bench: Bench, params: Params, other: Scope, clock: Clock) -> object:
    del other, clock
    return await bench.finish({**params, "state": params["state"][::-1]})


async def _other_session(bench: Bench, params: Params, other: Scope, clock: Clock) -> object:
    del other, clock
    return await bench.finish(params, session="the session of somebody else entirely")


async def _other_tenant(bench: Bench, params: Params, other: Scope, clock: Clock) -> object:
    del clock
    return await bench.finish(params, scope=other)


async def _other_vendor(bench: Bench, params: Params, other: Scope, clock: Clock) -> object:
    del other, clock
    return await bench.finish(params, vendor="acme2")


async def _expired(bench: Bench, params: Params, other: Scope, clock: Clock) -> object:
    del other
    clock.move(minutes=10)
    try:
        return await bench.finish(params)
    finally:
        clock.at -= timedelta(minutes=10)


async def _accepted(abuse: Abuse, bench: Bench, params: Params, other: Scope, clock: Clock) -> bool:
    asked = bench.vendor.token_calls
    try:
        await abuse(bench, params, other, clock)
    except (ConsentFailed, NotFound, Refused):
        # A code that is sent to the token endpoint is as good as used, whatever is told after.
        return bench.vendor.token_calls > asked
    return True


async def _passes(bench: Bench, params: Params) -> bool:
    try:
        return (await bench.finish(params)).trouble is None
    except (ConsentFailed, NotFound, Refused):
        return False


def _stands_in(base: Base, state: str) -> bool:
    with superuser(base) as admin:
        rows = admin.execute("select state_hash from oauth_states").fetchall()
    return any(state.encode() in bytes(row[0]) for row in rows)


async def a2(base: Base, flows: int = 500, at_once: int = 8) -> Row:
    """A2: every flow has a verifier of its own, sent as S256, sealed while it waits and gone once it was used.

    The vendor is strict: it redeems a code only for the verifier its challenge was made of.
    """
    challenges: list[str] = []
    unsealed = refused = 0
    async with (
        Database(base.app, base.engine, size=12) as db,
        opened(db, spec=acme_with(pkce=True), clock=Clock()) as bench,
    ):
        gate = asyncio.Semaphore(at_once)

        async def flow(number: int) -> bool:
            async with gate:
                started = await bench.begin()
                asked = parse_qs(urlsplit(started.address).query)
                challenges.extend(asked.get("code_challenge", []))
                plain = asked.get("code_challenge_method") != ["S256"]
                passed = await _passes(bench, bench.vendor.consent(started.address, f"owner-{number % 20}"))
                return passed and not plain

        refused = flows - sum(await asyncio.gather(*(flow(n) for n in range(flows))))
        verifiers, plain = bench.vendor.verifiers, bench.vendor.plain
        params = bench.vendor.consent((await bench.begin()).address)
        with superuser(base) as admin:
            waiting = admin.execute("select verifier from oauth_states where used_at is null").fetchall()
            left = admin.execute("select count(*) from oauth_states where used_at is not null and verifier is not null")
            left_in_db = int((left.fetchone() or (1,))[0])
        unsealed = sum(row[0] is None for row in waiting) + abs(len(waiting) - 1)
        await bench.finish(params)
        # In the one that waited the verifier stood sealed: what the vendor was told must not be in those bytes.
        unsealed += sum(bench.vendor.verifiers[-1].encode() in bytes(row[0] or b"") for row in waiting)
    short = sum(len(v) < 43 for v in verifiers)
    distinct = len(set(verifiers[:flows]))
    bad = refused + plain + left_in_db + unsealed + short + (flows - distinct) + (flows - len(set(challenges)))
    return Row(
        "A2",
        flows,
        bad,
        flows,
        {"distinct_verifiers": distinct, "plain": plain, "left_in_db": left_in_db, "refused": refused},
    )


_HOSTILE = (
    "evil.example",
    "evil.example:443",
    "sun.example.org.evil.example",
    "sun.example.org@evil.example",
    "sun.example.org#evil.example",
    "[::1]",
    "127.0.0.1",
    "evil.example/https://sun.example.org",
)
