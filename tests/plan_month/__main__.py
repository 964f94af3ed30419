"""Simulates the month: `python -m tests.plan_month [--json] [KEY…]` prints one table, or one JSON document."""

import json
import multiprocessing
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack

from tests.bar.tenancy import superuser
from tests.databases import fresh_base, temporary_cluster
from tests.plan_month.month import Addresses
from tests.plan_month.scenarios import SCENARIOS
from tests.plan_month.table import NOTES, document, draw, measure, tell


def main(arguments: Sequence[str]) -> int:
    """Simulate the scenarios, two at a time; return 1 where one of them broke a quota."""
    known = {s.key: s for s in SCENARIOS}
    if set(arguments) - known.keys() - {"--json"}:
        tell(f"There are {', '.join(known)}, and --json.")
        return 2
    wanted = [known[a] for a in arguments if a in known] or list(SCENARIOS)
    begun = time.monotonic()
    with temporary_cluster() as cluster, ExitStack() as stack:
        pool = stack.enter_context(ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")))
        running = {}
        # The longest first, so that both processes end at about the same time.
        for scenario in sorted(wanted, key=lambda s: -s.sites):
            base = stack.enter_context(fresh_base(cluster))
            with superuser(base) as admin:
                admin.execute(f"alter database {base.name} set synchronous_commit = off")
            running[scenario.key] = pool.submit(measure, scenario, Addresses(base.app, base.engine))
        found = {s.key: running[s.key].result() for s in wanted}
        pool.shutdown()
    took_s = time.monotonic() - begun
    if "--json" in arguments:
        _say(json.dumps({"scenarios": [document(known[k], *pair) for k, pair in found.items()], "took_s": took_s}))
    else:
        _say(draw([(known[key], *pair) for key, pair in found.items()]))
        _say(f"\n{NOTES}\n\nSimulated in {took_s:.0f} s.")
    return int(any(ours.violations for ours, _ in found.values()))


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - what this command is for


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
