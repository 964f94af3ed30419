"""One measured figure: ours, the reference's, and how the two compare."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, quantiles


@dataclass(frozen=True, slots=True)
class Figure:
    """What was measured of one thing.

    Attributes:
        unit: of `ours` and `reference`. reference: None where nothing does the same in a plainer way.
        n: how much one measurement held, or how many were made, as the figure's function says.
    """

    name: str
    ours: float
    reference: float | None
    unit: str
    n: int

    @property
    def ratio(self) -> float | None:
        """Ours divided by the reference, or None without one."""
        return None if self.reference is None else self.ours / self.reference

    def __str__(self) -> str:
        """Write the figure as one line of JSON, numbers to four digits."""
        return json.dumps(
            {
                "name": self.name,
                "ours": _short(self.ours),
                "reference": _short(self.reference),
                "ratio": _short(self.ratio),
                "unit": self.unit,
                "n": self.n,
            }
        )


def rate(count: int, times_s: Sequence[float]) -> float:
    """Return how many a second, from the median of the times that `count` took, s."""
    return count / median(times_s)


def p95_ms(times_s: Sequence[float]) -> float:
    """Return the time that 95 of 100 stay below, ms, of at least two times in s."""
    return quantiles(times_s, n=20, method="inclusive")[-1] * 1000


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
