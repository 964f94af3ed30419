"""The other side: a vendor that counts by windows of its own and tells when more came than it allows."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from enalysis.core.quotas import Alignment, Quota, QuotaWindow

# Where a vendor does not say when its windows begin, it is several vendors at once, each with another beginning.
_OFFSETS = (timedelta(), timedelta(seconds=17), timedelta(days=9, seconds=41))
_LENGTH_S = {QuotaWindow.MINUTE: 60, QuotaWindow.HOUR: 3600, QuotaWindow.DAY: 86400}


@dataclass
class Vendor:
    """Counts calls; `violations` are those beyond a limit, which it would have answered with 429."""

    quotas: Sequence[Quota]
    calls: int = 0
    violations: int = 0
    most: dict[str, int] = field(default_factory=dict)
    _counts: Counter[tuple[str, int, int]] = field(default_factory=Counter)

    def take(self, at: datetime, cost: int) -> bool:
        """Count a call; False where it is beyond a limit."""
        self.calls += cost
        good = True
        for quota in self.quotas:
            offsets = _OFFSETS[:1] if quota.alignment is Alignment.CALENDAR else _OFFSETS
            for number, offset in enumerate(offsets):
                key = (quota.window.value, number, _number(quota.window, at - offset))
                self._counts[key] += cost
                self.most[quota.window.value] = max(self.most.get(quota.window.value, 0), self._counts[key])
                good = good and self._counts[key] <= quota.limit
        self.violations += 0 if good else cost
        return good


def _number(window: QuotaWindow, at: datetime) -> int:
    """Return which window of the vendor's an instant lies in."""
    if window is QuotaWindow.MONTH:
        utc = at.astimezone(UTC)
        return utc.year * 12 + utc.month
    return int(at.timestamp() // _LENGTH_S[window])
