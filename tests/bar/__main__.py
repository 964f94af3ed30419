"""Measures the bar: `python -m tests.bar [ID…]` prints a line a requirement, then how many passed.

`--procs 6 --secs 60` and the like set what a measure tries on how much; others do not know of it.
"""

import asyncio
import contextlib
import importlib
import inspect
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.bar.row import Row
from tests.databases import Base, Cluster, fresh_base, temporary_cluster

FOLDER = Path(__file__).resolve().parent
# Where each requirement is measured: function `b1` of `rows_secrets.py`, and so on.
PLACES = {
    "A1": "rows_oauth_consent",
    "A2": "rows_oauth_consent",
    "A4": "rows_oauth_web",
    "A5": "rows_oauth_web",
    "A6": "rows_oauth_renewal",
    "A7": "rows_oauth_renewal",
    "A8": "rows_oauth_replies",
    "A9": "rows_oauth_replies",
    "A10": "rows_oauth_end",
    "B1": "rows_secrets",
    "B2": "rows_secrets",
    "B5": "rows_canary",
    "C1": "rows_canary",
    "C2": "rows_secrets",
    "C3": "rows_http",
    "E1": "rows_store",
    "E2": "rows_store",
    "E3": "rows_store",
    "E4": "rows_store",
    "E5": "rows_store",
    "E8": "rows_oauth_end",
    "I3": "rows_store",
    "I4": "rows_engine",
    "I5": "rows_http",
    "I6": "rows_http",
    "I7": "rows_engine",
    "K1": "rows_web",
}
ROW_TIME_LIMIT_S = 240.0

# Answers a Row, at once or awaited; what answers anything else fails as its own row.
Measure = Callable[..., object]


class Unmeasured(Exception):
    """A requirement has no measure, or its measure answered something else than its row."""


def find(name: str) -> Measure:
    """Return the function that measures a requirement. Raises Unmeasured naming the file that lacks it."""
    place = PLACES[name]
    file = FOLDER / f"{place}.py"
    if not file.is_file():
        raise Unmeasured(f"tests/bar/{file.name} is missing")
    found = getattr(importlib.import_module(f"tests.bar.{place}"), name.lower(), None)
    if found is None:
        raise Unmeasured(f"tests/bar/{file.name} has no function {name.lower()}")
    measure: Measure = found
    return measure


class Parts:
    """What measures may ask for by the names of their parameters; PostgreSQL starts when the first does."""

    def __init__(self, stack: ExitStack, sizes: Mapping[str, float] | None = None) -> None:
        self._stack = stack
        self._sizes = dict(sizes or {})
        self._cluster: Cluster | None = None

    def cluster(self) -> Cluster:
        """Return the PostgreSQL that all rows of a run share."""
        if self._cluster is None:
            self._cluster = self._stack.enter_context(temporary_cluster())
        return self._cluster

    @contextmanager
    def for_measure(self, measure: Measure) -> Iterator[dict[str, Cluster | Base | float]]:
        """Lend the arguments a measure names: `cluster`, or `base`, a fresh database of its own; sizes as told.

        Raises: Unmeasured for any other parameter without a default.
        """
        with ExitStack() as own:
            lent: dict[str, Cluster | Base | float] = {}
            for parameter in inspect.signature(measure).parameters.values():
                if parameter.name == "cluster":
                    lent["cluster"] = self.cluster()
                elif parameter.name == "base":
                    lent["base"] = own.enter_context(fresh_base(self.cluster()))
                elif parameter.name in self._sizes:
                    told = self._sizes[parameter.name]
                    lent[parameter.name] = int(told) if isinstance(parameter.default, int) else told
                elif parameter.default is parameter.empty:
                    raise Unmeasured(f"nothing here is called {parameter.name}; a row may ask for cluster or base")
            yield lent


def measured(name: str, search: Callable[[str], Measure], parts: Parts) -> Row:
    """Measure one requirement; whatever goes wrong inside is its row's failure and nobody else's."""
    try:
        measure = search(name)
        # Standard output belongs to the rows.
        with parts.for_measure(measure) as lent, contextlib.redirect_stdout(sys.stderr):
            row = measure(**lent)
            if inspect.isawaitable(row):
                row = asyncio.run(_within_limit(row))
        if not isinstance(row, Row) or row.req != name:
            raise Unmeasured(f"its measure answered {row}")
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - a row may raise anything, an exit and pytest's own refusals too
        sentence = " ".join(str(error).split())[:300]
        return Row(name, 0, 1, 1, {"error": f"{type(error).__name__}: {sentence}"})
    return row


async def _within_limit(found: Awaitable[object]) -> object:
    async with asyncio.timeout(ROW_TIME_LIMIT_S):
        return await found


def main(wanted: Sequence[str], search: Callable[[str], Measure] = find) -> int:
    """Measure the wanted requirements, all where none is named, one after the other.

    Returns: the exit code: 0 where every row passed, 1 where one failed, 2 where an id is unknown.
    """
    wanted, sizes = _sizes(wanted)
    names = list(dict.fromkeys(name.upper() for name in wanted)) or list(PLACES)
    unknown = [name for name in names if name not in PLACES]
    if unknown:
        _tell(f"No such requirement: {', '.join(unknown)}. There are {', '.join(PLACES)}.")
        return 2
    passed = 0
    with ExitStack() as stack:
        parts = Parts(stack, sizes)
        for number, name in enumerate(names, start=1):
            _tell(f"[{number}/{len(names)}] {name} …")
            begun = time.monotonic()
            row = measured(name, search, parts)
            # A row that tried nothing has proved nothing, whatever its floor.
            good = row.ok and row.n > 0
            passed += good
            _tell(f"    {'passed' if good else 'FAILED'} in {time.monotonic() - begun:.1f} s")
            print(row, flush=True)  # noqa: T201 - the line this command is for
    print(f"{passed} passed, {len(names) - passed} failed", flush=True)  # noqa: T201 - likewise
    return 0 if passed == len(names) else 1


def _sizes(told: Sequence[str]) -> tuple[list[str], dict[str, float]]:
    """Part `--secs 60` and the like from the requirements' ids."""
    names: list[str] = []
    sizes: dict[str, float] = {}
    rest = iter(told)
    for word in rest:
        if word.startswith("--"):
            sizes[word[2:].replace("-", "_")] = float(next(rest, "nan"))
        else:
            names.append(word)
    return names, sizes


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - progress, beside the rows


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
