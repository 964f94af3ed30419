"""One line of the month for each scenario, and what its figures mean."""

import asyncio
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict

from tests.plan_month.fixed import Fixed, poll_fixed
from tests.plan_month.month import Addresses, Outcome, simulate
from tests.plan_month.scenarios import DAYS, Scenario

NOTES = """\
age: of the newest closed interval of PV, over every minute of every site in which PV may produce (the sun above
  -1 degree, half an hour around it); the first day is left out.
best: one even pace for all streams in their own hours with every call of the quota, each poll at its best moment,
  each day completed after dusk. missed: how much older than that; less people: than the same without the 5 % that
  scheduled polls leave to people and renewal.
Quota is reserved in a real PostgreSQL, once for each batch of polls (at most 100, in the first moment of a tick of
  20 or 60 s): 1.5 million single reservations would take an hour. Commits do not wait for the disk.
Two workers share the work; both are restarted three times a day, and now and then one is lost after it reserved and
  before it called. Tokens are renewed daily where the vendor has them, and people click every other day.
fixed: every stream every 15 min, one call each half second; violations are calls beyond a limit."""


def measure(scenario: Scenario, addresses: Addresses) -> tuple[Outcome, Fixed]:
    """Simulate one scenario both ways, in a process of its own."""
    ours = asyncio.run(simulate(scenario, addresses, tell, days=DAYS))
    tell(f"{scenario.key}: {ours.calls:,} calls, {ours.violations} violations; now with fixed polling")
    return ours, poll_fixed(scenario, days=DAYS)


def document(scenario: Scenario, ours: Outcome, fixed: Fixed) -> dict[str, object]:
    """Return a scenario's line for machines, ages in min; what never happened is null."""
    told = asdict(ours) | {"missed_pct": ours.missed_pct, "missed_kept_pct": ours.missed_kept_pct}
    plain = {name: None if isinstance(v, float) and math.isnan(v) else v for name, v in asdict(fixed).items()}
    return {"key": scenario.key, "title": scenario.title, "planned": told, "fixed": plain}


def draw(rows: Sequence[tuple[Scenario, Outcome, Fixed]]) -> str:
    """Return the table for people."""
    head = (
        *("scenario", "calls", "quota", "age mean", "p95", "best", "missed", "less people", "violations"),
        *("fixed: calls", "spent on day", "age before", "after", "violations"),
    )
    lines = [head]
    for scenario, ours, fixed in rows:
        lines.append(
            (
                scenario.title,
                f"{ours.calls:,}",
                f"{ours.quota:,}",
                f"{ours.mean_min:.0f} min",
                f"{ours.p95_min:.0f} min",
                f"{ours.best_min:.0f} min",
                f"{ours.missed_pct:+.1f} %",
                f"{ours.missed_kept_pct:+.1f} %",
                f"{ours.violations:,}",
                f"{fixed.calls:,}",
                "never" if fixed.spent_day is None else f"{fixed.spent_day:.1f}",
                f"{fixed.before_min:.0f} min",
                "–" if math.isnan(fixed.after_min) else f"{fixed.after_min / 1440:.1f} days",
                f"{fixed.violations:,}",
            )
        )
    widths = [max(len(line[n]) for line in lines) for n in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(w) if n == 0 else cell.rjust(w) for n, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def tell(line: str) -> None:
    """Say how far it has come, beside the table."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - progress
