"""The table of errors: every one has its place, and none tells what it should not."""

from datetime import UTC, datetime, timedelta

import pytest

from enalysis.core import errors
from enalysis.core.errors import EnalysisError, QuotaSpent, Unavailable
from enalysis.web.errors import TABLE, fault_of, wait_of

NOW = datetime(2026, 6, 2, 12, 0, tzinfo=UTC)
OURS = {errors.ConfigError, errors.UnknownUnit}


def all_errors(base: type[EnalysisError] = EnalysisError) -> set[type[EnalysisError]]:
    """Return every error the core may raise."""
    below = {c for c in base.__subclasses__() if c.__module__ == errors.__name__}
    return below.union(*(all_errors(c) for c in below))


def made(kind: type[EnalysisError]) -> EnalysisError:
    """Make an error of a kind without running its constructor."""
    return kind.__new__(kind)


def test_every_error_of_the_core_is_told_or_counts_as_our_mistake() -> None:
    assert len(all_errors()) >= 10
    assert {kind for kind in all_errors() if fault_of(made(kind)).status == 500} == OURS


def test_an_unknown_child_is_told_like_its_parent() -> None:
    class Odd(errors.QuotaSpent):
        pass

    assert fault_of(made(Odd)).slug == "vendor-quota"
    assert fault_of(ValueError("x")).slug == "internal"


def test_types_and_titles_tell_errors_apart() -> None:
    slugs = [fault.slug for fault in TABLE.values()]
    assert len(set(slugs)) == len(slugs)
    assert TABLE[errors.LoginNeeded].slug != "sign-in"


@pytest.mark.parametrize(
    ("until", "seconds"),
    [(timedelta(seconds=90), 91), (timedelta(seconds=-5), 1), (timedelta(days=40), 86400), (None, None)],
)
def test_a_spent_quota_says_when_to_come_back(until: timedelta | None, seconds: int | None) -> None:
    spent = QuotaSpent("spent", vendor="acme", operation="sites")
    spent.until = None if until is None else NOW + until
    assert wait_of(spent, NOW) == seconds


def test_an_unavailable_vendor_says_when_to_come_back() -> None:
    away = Unavailable("away", vendor="acme", operation="sites")
    assert wait_of(away, NOW) is None
    away.retry_after_s = 30.0
    assert wait_of(away, NOW) == 31
    assert wait_of(errors.NotFound("x"), NOW) is None
