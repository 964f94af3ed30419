"""Measures speed and appetite: `python -m tests.bench [FIGURE…]` prints one line of JSON a figure."""

import sys
from collections.abc import Callable, Iterator, Sequence

from tests.bench import days, ingest, processes
from tests.bench.figure import Figure

# Is given where to tell of its progress.
Measure = Callable[[Callable[[str], None]], Iterator[Figure]]
# Each measure with the figures it yields; those of one measure come out of one run.
MEASURES: dict[tuple[str, ...], Measure] = {
    ("ingest_slot", "ingest_slot_indexed", "ingest_slot_one_per_stream"): ingest.figures,
    ("site_day_p95",): days.figures,
    ("ready_s", "ready_warm_s"): processes.ready_figures,
    ("peak_memory_mb",): processes.memory_figures,
}
NAMES = tuple(name for names in MEASURES for name in names)


def main(wanted: Sequence[str]) -> int:
    """Measure the wanted figures, all where none is named, and print them.

    Returns: the exit code: 0, or 2 where there is no such figure. What cannot be measured raises.
    """
    unknown = [name for name in wanted if name not in NAMES]
    if unknown:
        _tell(f"No such figure: {', '.join(unknown)}. There are {', '.join(NAMES)}.")
        return 2
    for names, measure in MEASURES.items():
        if wanted and not set(names) & set(wanted):
            continue
        for figure in measure(_tell):
            if not wanted or figure.name in wanted:
                print(figure, flush=True)  # noqa: T201 - the line this command is for
    return 0


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - progress, beside the figures


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
