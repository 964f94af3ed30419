"""One line of the bar: a requirement, on how much it was tried, and what went wrong."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Row:
    """What a requirement's test found.

    Attributes:
        n: things tried. bad: those that broke the requirement. floor: fewest tries that prove anything.
    """

    req: str
    n: int
    bad: int
    floor: int
    facts: Mapping[str, str | float | int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """True if nothing went wrong and enough was tried."""
        return self.bad == 0 and self.n >= self.floor

    def __str__(self) -> str:
        """Write the row as one line, a short figure for each number."""
        facts = (
            f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}" for key, value in self.facts.items()
        )
        few = [f"floor={self.floor}"] if self.n < self.floor else []
        return " ".join([self.req, f"n={self.n}", f"bad={self.bad}", *few, *facts])
