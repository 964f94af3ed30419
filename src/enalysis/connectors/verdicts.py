"""The table all vendors share: what a status or a broken line means, what to say, and how often to retry."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from enalysis.core.errors import (
    BadPayload,
    Forbidden,
    LoginNeeded,
    QuotaSpent,
    Retired,
    Unavailable,
    VendorError,
)
from enalysis.egress import Fault


@dataclass(frozen=True, slots=True)
class Verdict:
    """An error and its sentence, which may name {label}, {status}, {what} was asked for, {until} and {why}.

    `passing`: the same call may do better in a moment.
    """

    error: type[VendorError]
    sentence: str
    passing: bool = False


_AGAIN = "Enalysis tries again by itself."
_STATUSES: Mapping[int, Verdict] = {
    401: Verdict(LoginNeeded, "{label} refused the credential: enter it again, or make a new one at {label}."),
    403: Verdict(Forbidden, "{label} does not let this credential read {what}: allow it at {label}."),
    404: Verdict(
        BadPayload,
        "{label} does not know this address: {what} may be gone there. If not, update Enalysis.",
    ),
    408: Verdict(Unavailable, f"{{label}} gave up waiting for the call. {_AGAIN}", passing=True),
    410: Verdict(Retired, "{label} has switched this API off for good: update Enalysis."),
    429: Verdict(QuotaSpent, "{label} allows no more calls until {until}: collecting goes on by itself then."),
}
_FAMILIES: Mapping[int, Verdict] = {
    3: Verdict(
        BadPayload,
        "{label} redirects this call (status {status}), and no credential may follow: update Enalysis.",
    ),
    4: Verdict(BadPayload, "{label} did not accept the call (status {status}): update Enalysis."),
    5: Verdict(Unavailable, f"{{label}} cannot answer now (status {{status}}). {_AGAIN}", passing=True),
}
_OTHERWISE = Verdict(BadPayload, "{label} answered with status {status}, which carries no reading: update Enalysis.")

FAULTS: Mapping[Fault, Verdict] = {
    Fault.NO_NAME: Verdict(
        Unavailable, f"{{label}} was not found by its name: check the DNS here. {_AGAIN}", passing=True
    ),
    Fault.NO_CONNECTION: Verdict(
        Unavailable,
        f"{{label}} could not be reached: check the internet connection here. {_AGAIN}",
        passing=True,
    ),
    Fault.UNTRUSTED: Verdict(
        Unavailable,
        "What answered for {label} did not prove to be it, so no credential was sent: "
        "check the clock here, and the network for a device that opens TLS.",
    ),
    Fault.BROKEN: Verdict(
        Unavailable, f"The connection to {{label}} broke before the answer was whole. {_AGAIN}", passing=True
    ),
    Fault.GARBLED: Verdict(
        Unavailable, "What answered for {label} does not speak proper HTTP: check the network between."
    ),
}

LATE = Verdict(Unavailable, f"{{label}} did not answer in time. {_AGAIN}")
QUIET = Verdict(Unavailable, f"{{label}} asked for a pause. {_AGAIN}")
RESTING = Verdict(
    Unavailable,
    f"{{label}} failed to answer several calls in a row and is left alone for a while; no call is spent. {_AGAIN}",
)
BARRED = Verdict(
    Unavailable,
    "This server may not call the address of {label}, it is {why}: check the DNS here, and SANDBOX_URL.",
)
UNFIT = Verdict(BadPayload, "The answer of {label} cannot be used, it is {why}: if that lasts, update Enalysis.")
UNSENDABLE = Verdict(
    LoginNeeded, "The credential for {label} holds characters that none of its kind has: enter it again."
)
UNADDRESSABLE = Verdict(BadPayload, "{label} gave an id that cannot stand in an address: update Enalysis.")


class RetryBudget:
    """Lets repeats be at most a tenth of the calls; the first two are an advance on the first twenty calls.

    However long all went well, no more than ten repeats are saved up: an outage is not met by a flood.
    """

    _PRICE, _ADVANCE, _MOST = 10, 20, 100

    def __init__(self) -> None:
        self._calls = 0
        self._saved = self._ADVANCE

    def earn(self) -> None:
        """Count one call."""
        self._calls += 1
        if self._calls > self._ADVANCE:
            self._saved = min(self._saved + 1, self._MOST)

    def spend(self) -> bool:
        """Take one repeat from the budget; False if there is none."""
        if self._saved < self._PRICE:
            return False
        self._saved -= self._PRICE
        return True


@dataclass(slots=True)
class Patience:
    """What is remembered of an account from call to call; everyone who calls for it shares one.

    Attributes:
        quiet_until: no call before then, s of the event loop's clock: the vendor asked for a pause.
        spent_in_a_row: answers since the last good one that said "too many calls" and not for how long.
    """

    budget: RetryBudget = field(default_factory=RetryBudget)
    quiet_until: float = 0.0
    spent_in_a_row: int = 0


def find_verdict(status: int) -> Verdict:
    """Return what a status other than 200 means."""
    return _STATUSES.get(status) or _FAMILIES.get(status // 100, _OTHERWISE)
