"""Asks vendors over HTTP: bounded in time, bytes and repeats, and every failure is one of our own errors."""

import asyncio
import random
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from types import MappingProxyType, TracebackType
from typing import Any, Self, TypeVar, cast
from urllib.parse import unquote, urlencode

import httpx2

from enalysis.connectors.base import Ledger, TokenSource
from enalysis.connectors.calls import (
    NOTHING,
    Answer,
    Call,
    Explain,
    Head,
    HTTPLimits,
    Refusal,
    Reply,
    Seen,
    find_request_id,
)
from enalysis.connectors.verdicts import (
    BARRED,
    FAULTS,
    LATE,
    QUIET,
    RESTING,
    UNADDRESSABLE,
    UNFIT,
    UNSENDABLE,
    Patience,
    Verdict,
    find_verdict,
)
from enalysis.connectors.wire import Unfit, decode, fill, is_json, parse_date, parse_retry_after
from enalysis.core.breaker import Circuit
from enalysis.core.errors import Forbidden, LoginNeeded, QuotaSpent, Unavailable, VendorError
from enalysis.core.quotas import QuotaWindow
from enalysis.egress import Egress, EgressRefused, LineFault

T = TypeVar("T")

_OK, _UNAUTHORIZED = 200, 401
_CONNECT_S = 5.0
_REFUSAL_BYTES = 64 * 1024
# Where a vendor says "too many calls" and not for how long: a minute, doubled each time, at most one slot.
_FIRST_WAIT_S, _MOST_WAIT_S = 60.0, 900.0
# No "//", nothing that needs quoting, and no dots that climb: an id from a vendor cannot lead elsewhere.
_PATH = re.compile(r"/|(?:/[A-Za-z0-9._~!$&'()*+,;=:@%-]+)+/?")
_CLIMB = re.compile(r"/\.{1,2}(?:/|$)")
_RANDOM = random.SystemRandom()


class VendorHTTP:
    """One vendor account's way out: reserves each attempt in the ledger, asks, and names what went wrong.

    It has connections of its own and keeps no cookies. Where an account has several of it, give them the same
    `patience` and `circuit`: else each has its own advance of repeats, and none knows of another's troubles.
    """

    def __init__(
        self,
        *,
        vendor: str,
        label: str,
        origin: str,
        ledger: Ledger,
        egress: Egress,
        clock: Callable[[], datetime],
        limits: HTTPLimits | None = None,
        patience: Patience | None = None,
        tokens: TokenSource | None = None,
        circuit: Circuit | None = None,
        proven: bool = False,
    ) -> None:
        self.vendor = vendor
        self.label = label
        self.origin = origin
        self.ledger = ledger
        self.limits = limits or HTTPLimits()
        self._egress = egress
        self._clock = clock
        self._patience = patience or Patience()
        self._tokens = tokens
        self._circuit = circuit
        # The token that last got an answer: refusing it later says something of the call, not of the token.
        self._proven: str | None = None
        self._begins_proven = proven
        # How often a refused token was renewed here.
        self.renewals = 0
        self._transport: httpx2.AsyncBaseTransport | None = None
        # How far our clock is ahead of the vendor's, s, by its last answer; None: it told no time.
        self.clock_ahead_s: float | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections; no call may follow."""
        if self._transport is not None:
            await self._transport.aclose()

    async def get(
        self,
        operation: str,
        path: str,
        *,
        into: type[T],
        params: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] = MappingProxyType({}),
        cost: int = 1,
        subject: str | None = None,
        explain: Explain | None = None,
        seen: Seen | None = None,
    ) -> Answer[T]:
        """GET `path`, quoted and with a slash in front, below the origin; decode it strictly as `into`.

        With a token source the call carries its token, and is repeated once with a renewed one where a token
        that never got an answer here is refused.

        Args: operation: our name of the call. cost: what each attempt takes from the ledger. subject: a
            site's ref. explain: asked first about every whole answer that is not `into`, status 200 included.
        Raises: VendorError; QuotaSpent from the ledger among them. A cancelled attempt is not recorded, and
            what it reserved stays spent.
        """

        async def ask(sent: Mapping[str, str]) -> Answer[T]:
            call = self._call(operation, path, params, sent, into, cost, subject, explain, seen)
            self._patience.budget.earn()
            return await self._ask(call, self.limits.attempts)

        if self._tokens is None:
            return await ask(headers)
        token = await self._tokens.current()
        if self._begins_proven:
            self._proven, self._begins_proven = token, False
        try:
            answer = await ask({**headers, "authorization": f"Bearer {token}"})
        except LoginNeeded as refused:
            if refused.status != _UNAUTHORIZED or token == self._proven:
                raise
            token = await self._tokens.renew(token)
            self.renewals += 1
            answer = await ask({**headers, "authorization": f"Bearer {token}"})
        self._proven = token
        return answer

    def distrust(self) -> None:
        """Let the next refusal be about the token again, whatever it was good for before."""
        self._proven, self._begins_proven = None, False

    async def post(
        self,
        operation: str,
        path: str,
        *,
        body: bytes,
        content_type: str,
        into: type[T],
        headers: Mapping[str, str] = MappingProxyType({}),
        cost: int = 1,
        explain: Explain | None = None,
    ) -> Answer[T]:
        """POST a body once, never again by itself: what it does at the vendor may be done. Raises as `get`."""
        sent = {**headers, "content-type": content_type}
        call = self._call(operation, path, (), sent, into, cost, None, explain, None)
        return await self._ask(replace(call, body=body), 1)

    def _call(
        self,
        operation: str,
        path: str,
        params: Sequence[tuple[str, str]],
        headers: Mapping[str, str],
        into: type[T],
        cost: int,
        subject: str | None,
        explain: Explain | None,
        seen: Seen | None,
    ) -> Call:
        sent = {"accept": "application/json", "user-agent": "Enalysis"}
        sent |= {name.lower(): value for name, value in headers.items()}
        sent["accept-encoding"] = "gzip"
        deadline = asyncio.get_running_loop().time() + self.limits.deadline_s
        call = Call(operation, path, tuple(params), sent, into, cost, subject, explain, seen, deadline)
        self._check(call)
        return call

    async def _ask(self, call: Call, attempts: int) -> Answer[Any]:
        attempt = 0
        said: VendorError | None = None
        while True:
            attempt += 1
            await self._keep_quiet(call)
            resting = self._resting(call)
            if resting is not None:
                # What the vendor said itself tells more than that it is left alone from now on.
                raise said or resting from None
            outcome, passing = await self._through_circuit(call)
            if isinstance(outcome, Answer):
                return outcome
            said = outcome
            if attempt >= attempts or not passing or not await self._pause(call, attempt):
                raise said from None

    def _check(self, call: Call) -> None:
        """Refuse what cannot be sent before it costs a call; a library would print the value in its error."""
        if not all(value.isascii() and value.isprintable() for value in call.headers.values()):
            raise self._error(call, UNSENDABLE)
        plain = unquote(call.path)
        texts = (plain, *(value for _, value in call.params))
        if not _PATH.fullmatch(call.path) or _CLIMB.search(plain) or not all(map(str.isprintable, texts)):
            raise self._error(call, UNADDRESSABLE)
        why = ""
        if self._transport is None:
            try:
                self._transport = self._egress.transport(self.origin)
            except EgressRefused as refused:
                why = refused.why
        if why:
            raise self._error(call, BARRED, why=why)

    async def _keep_quiet(self, call: Call) -> None:
        """Wait as long as the vendor last asked for. Raises Unavailable where the deadline is earlier."""
        loop = asyncio.get_running_loop()
        while (quiet_s := self._patience.quiet_until - loop.time()) > 0:
            if self._patience.quiet_until >= call.deadline:
                raise self._away(call, QUIET, quiet_s)
            await asyncio.sleep(quiet_s)

    async def _pause(self, call: Call, attempt: int) -> bool:
        """Wait before another attempt, or return False where there must be none."""
        now = asyncio.get_running_loop().time()
        longest_s = min(self.limits.backoff_cap_s, self.limits.backoff_s * 2 ** (attempt - 1))
        delay_s = _RANDOM.uniform(0, longest_s)
        if max(now + delay_s, self._patience.quiet_until) >= call.deadline or not self._patience.budget.spend():
            return False
        await asyncio.sleep(delay_s)
        return True

    def _resting(self, call: Call) -> VendorError | None:
        """Return why no call may be made while the vendor is left alone, or None and count it as made."""
        wait_s = 0.0 if self._circuit is None else self._circuit.ask(call.operation, self._clock())
        return self._away(call, RESTING, wait_s) if wait_s > 0 else None

    async def _through_circuit(self, call: Call) -> tuple[Answer[Any] | VendorError, bool]:
        if self._circuit is None:
            return await self._attempt(call)
        try:
            outcome, passing = await self._attempt(call)
        except BaseException:
            # Cancelled, or the ledger had nothing left: that says nothing of the vendor.
            self._circuit.abandon(call.operation)
            raise
        self._circuit.report(call.operation, self._clock(), _RANDOM.random(), good=not isinstance(outcome, Unavailable))
        return outcome, passing

    async def _attempt(self, call: Call) -> tuple[Answer[Any] | VendorError, bool]:
        """Ask once; return what came of it and whether the same call may do better in a moment."""
        await self.ledger.take(call.operation, call.cost)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        reply = await self._exchange(call)
        ms = (loop.time() - begun) * 1000
        outcome, passing = self._judge(call, reply)
        if isinstance(outcome, QuotaSpent) and outcome.until is not None:
            window = QuotaWindow(outcome.window) if outcome.window in set(QuotaWindow) else None
            await self.ledger.hold(window, outcome.until)
        if call.seen is not None and reply.head is not None:
            await call.seen(reply.head.headers)
        state = outcome.state if isinstance(outcome, VendorError) else "ok"
        await self.ledger.record(call.operation, call.cost, state, ms)
        return outcome, passing

    async def _exchange(self, call: Call) -> Reply:
        """Send the request and read the answer; what went wrong stands in the reply."""
        reply = Reply()
        try:
            async with asyncio.timeout_at(call.deadline):
                await self._speak(call, reply)
        except LineFault as fault:
            reply.failure = FAULTS[fault.fault]
        except EgressRefused as refused:
            reply.failure, reply.why = BARRED, refused.why
        except Unfit as unfit:
            reply.failure, reply.why = UNFIT, str(unfit)
        except TimeoutError:
            reply.failure = LATE
        return reply

    async def _speak(self, call: Call, reply: Reply) -> None:
        limits, transport = self.limits, cast("httpx2.AsyncBaseTransport", self._transport)
        timeout = {"connect": min(_CONNECT_S, limits.deadline_s)}
        url = self.origin + call.path + ("?" + urlencode(call.params) if call.params else "")
        method = "GET" if call.body is None else "POST"
        request = httpx2.Request(method, url, headers=call.headers, content=call.body, extensions={"timeout": timeout})
        response = await transport.handle_async_request(request)
        try:
            headers = {name.lower(): value for name, value in response.headers.items()}
            reply.head = Head(response.status_code, headers, self._clock())
            stream = cast("httpx2.AsyncByteStream", response.stream)
            encoding = headers.get("content-encoding", "")
            if response.status_code != _OK:
                # The status speaks for itself: a broken or endless text about it changes nothing.
                with suppress(Unfit, LineFault):
                    await fill(reply.body, stream, encoding, _REFUSAL_BYTES, _REFUSAL_BYTES)
                return
            await fill(reply.body, stream, encoding, limits.max_wire_bytes, limits.max_decoded_bytes)
            if not is_json(headers.get("content-type", "")):
                raise Unfit("not marked as JSON")
            reply.data = await decode(reply.body, call.into, limits.max_depth)
        finally:
            await response.aclose()

    def _judge(self, call: Call, reply: Reply) -> tuple[Answer[Any] | VendorError, bool]:
        """Return the answer, or the error which the vendor's file or the shared table makes of the reply."""
        head = reply.head
        if head is None:
            return self._error(call, reply.failure, why=reply.why), reply.failure.passing
        vendor_now = parse_date(head.headers.get("date"))
        if vendor_now is not None:
            self.clock_ahead_s = (head.at - vendor_now).total_seconds()
        if reply.data is not NOTHING:
            self._patience.spent_in_a_row = 0
            ahead_s = None if vendor_now is None else (head.at - vendor_now).total_seconds()
            return Answer(reply.data, head.headers, ahead_s), False
        wait_s = parse_retry_after(head.headers.get("retry-after"), vendor_now or head.at)
        verdict = reply.failure if head.status == _OK else find_verdict(head.status)
        error = None
        # What broke off half-way is not the vendor's word.
        if call.explain is not None and (head.status != _OK or verdict is UNFIT):
            body = bytes(memoryview(reply.body)[:_REFUSAL_BYTES])
            error = call.explain(Refusal(call.operation, head.status, head.headers, body, head.at, call.subject))
        if error is None:
            until = self._find_end(head, wait_s) if verdict.error is QuotaSpent else None
            error = self._error(call, verdict, status=head.status, why=reply.why, until=until)
        self._complete(call, head, error, wait_s)
        return error, verdict.passing and isinstance(error, Unavailable)

    def _complete(self, call: Call, head: Head, error: VendorError, wait_s: float | None) -> None:
        """Write into the error what the head of the answer tells, where the vendor's file did not."""
        error.status = error.status or head.status
        error.request_id = error.request_id or find_request_id(call, head)
        if isinstance(error, QuotaSpent) and error.until is None:
            error.until = self._find_end(head, wait_s)
        if isinstance(error, Unavailable) and wait_s is not None:
            error.retry_after_s = error.retry_after_s or wait_s
            self._patience.quiet_until = max(self._patience.quiet_until, asyncio.get_running_loop().time() + wait_s)

    def _find_end(self, head: Head, wait_s: float | None) -> datetime:
        """Return when calls may go on: as the vendor says, else after a wait that doubles each time."""
        if wait_s is None:
            wait_s = min(_MOST_WAIT_S, _FIRST_WAIT_S * 2 ** min(self._patience.spent_in_a_row, 8))
            wait_s = _RANDOM.uniform(wait_s / 2, wait_s)
            self._patience.spent_in_a_row += 1
        return head.at + timedelta(seconds=wait_s)

    def _away(self, call: Call, verdict: Verdict, wait_s: float) -> VendorError:
        error = self._error(call, verdict)
        if isinstance(error, Unavailable):
            error.retry_after_s = wait_s
        return error

    def _error(
        self,
        call: Call,
        verdict: Verdict,
        *,
        status: int | None = None,
        why: str = "",
        until: datetime | None = None,
    ) -> VendorError:
        message = verdict.sentence.format(
            label=self.label,
            status=status,
            what="this site" if call.subject else "what was asked for",
            why=why,
            until=f"{until:%Y-%m-%d %H:%M} UTC" if until else "later",
        )
        error = verdict.error(message, vendor=self.vendor, operation=call.operation, status=status)
        if isinstance(error, Forbidden):
            error.subject = call.subject
        elif isinstance(error, QuotaSpent):
            error.until = until
        return error
