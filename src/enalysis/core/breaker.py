"""Circuit breakers: who does not answer is left alone for a while, then asked once, and believed.

closed ──(n failures in a row)──▶ open until … ──(that time has come)──▶ half-open: one probe
   ▲                                ▲                                        │
   └────────── a good answer ───────┴────────── another failure, twice the wait ┘
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

OPENS_AFTER: Final = 5
FIRST_WAIT_S: Final = 30.0
LONGEST_WAIT_S: Final = 900.0
# A probe that nobody reported, because its process was stopped half-way, is given to another after so long.
PROBE_S: Final = 60.0
# Where so many operations of an account fail in a row it is the account, and so many accounts the host.
OPERATIONS, ACCOUNTS = 2, 3


class State(StrEnum):
    """Whether calls go through: all, none, or one to see."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(slots=True)
class Breaker:
    """Opens after `opens_after` failures in a row that came from at least `voices` different ones.

    Attributes:
        until: open before then. waits: how often it opened since the last good answer.
    """

    opens_after: int = OPENS_AFTER
    voices: int = 1
    until: datetime | None = None
    waits: int = 0
    _failed: int = 0
    _by: set[str] = field(default_factory=set)
    _probe: datetime | None = None

    def state(self, now: datetime) -> State:
        """Return the state; a wrong clock that was set back keeps nothing open for longer than the longest wait."""
        if self.until is None:
            return State.CLOSED
        if now < self.until <= now + timedelta(seconds=LONGEST_WAIT_S):
            return State.OPEN
        return State.HALF_OPEN

    def wait_s(self, now: datetime) -> float:
        """Return how long to wait before a call, s; 0: it may be made."""
        state = self.state(now)
        if state is State.OPEN and self.until is not None:
            return (self.until - now).total_seconds()
        if state is State.HALF_OPEN and self._probe is not None:
            gone_s = (now - self._probe).total_seconds()
            return PROBE_S - gone_s if 0 <= gone_s < PROBE_S else 0.0
        return 0.0

    def begin(self, now: datetime) -> None:
        """Note that a call is made: where the breaker is half-open, it is the one probe."""
        if self.state(now) is State.HALF_OPEN:
            self._probe = now

    def abandon(self) -> None:
        """Note that a call ended without a word: if it was the probe, the next one is."""
        self._probe = None

    def report(self, voice: str, now: datetime, jitter: float, *, good: bool) -> None:
        """Note how a call ended. `jitter` in [0, 1) takes up to a fifth off the wait: nobody marches in step."""
        was = self.state(now)
        self._probe = None
        if good:
            self.until, self.waits, self._failed = None, 0, 0
            self._by.clear()
            return
        self._failed += 1
        self._by.add(voice)
        # A call that was under way when it opened says nothing new.
        if was is State.HALF_OPEN or (was is State.CLOSED and self._is_enough()):
            wait_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** min(self.waits, 8)) * (1 - jitter / 5)
            self.until, self.waits = now + timedelta(seconds=wait_s), self.waits + 1

    def _is_enough(self) -> bool:
        return self._failed >= self.opens_after and len(self._by) >= self.voices


class Circuit:
    """What stands between a vendor account and its host: a breaker for each operation, the account and the host.

    One endpoint that fails is left alone without the others; the account where several of its operations fail
    in a row; the host where several accounts do. One account's trouble never blocks another.
    """

    def __init__(self, account: str, host: Breaker) -> None:
        self._name = account
        self._host = host
        self._account = Breaker(voices=OPERATIONS)
        self._operations: dict[str, Breaker] = {}

    def ask(self, operation: str, now: datetime) -> float:
        """Return how long to wait, s, or 0 and count the call as made: report or abandon it."""
        breakers = self._of(operation)
        wait_s = max(b.wait_s(now) for b in breakers)
        if wait_s <= 0:
            for breaker in breakers:
                breaker.begin(now)
        return wait_s

    def report(self, operation: str, now: datetime, jitter: float, *, good: bool) -> None:
        """Note how a call ended: `good` where the vendor answered, whatever it said."""
        own, account, host = self._of(operation)
        own.report(operation, now, jitter, good=good)
        account.report(operation, now, jitter, good=good)
        host.report(self._name, now, jitter, good=good)

    def abandon(self, operation: str) -> None:
        """Note that a call ended without a word."""
        for breaker in self._of(operation):
            breaker.abandon()

    def _of(self, operation: str) -> tuple[Breaker, Breaker, Breaker]:
        return self._operations.setdefault(operation, Breaker()), self._account, self._host


def host_breaker() -> Breaker:
    """Return a breaker that opens where several accounts fail in a row."""
    return Breaker(voices=ACCOUNTS)
