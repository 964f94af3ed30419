"""The tree of errors, as its docstring draws it."""

import inspect
import re

import pytest

from enalysis.core import errors
from enalysis.core.errors import (
    EnalysisError,
    GrantDead,
    LoginNeeded,
    QuotaSpent,
    Unavailable,
    UnknownUnit,
    VendorError,
)

FOUND = {
    name: found for name, found in vars(errors).items() if inspect.isclass(found) and issubclass(found, EnalysisError)
}
VENDOR = [e for e in FOUND.values() if issubclass(e, VendorError)]


def test_the_drawn_tree_is_the_tree() -> None:
    """Each name of the drawing, with how deep it stands, is a class with as many bases of ours."""
    drawn = re.findall(r"^([ │]*)(?:[├└]── )?(\w+)(?:  .*)?$", errors.__doc__ or "", re.MULTILINE)
    depth = {name: (len(indent) // 4 + (name != "EnalysisError")) for indent, name in drawn if name in FOUND}
    assert set(depth) == set(FOUND)
    for name, found in FOUND.items():
        bases = [b for b in found.__mro__[1:] if issubclass(b, EnalysisError)]
        assert len(bases) == depth[name], name


def test_every_error_says_when_it_is_raised() -> None:
    assert [name for name, found in FOUND.items() if not inspect.getdoc(found)] == []


def test_states_are_told_apart() -> None:
    # A dead grant is a refused login that no renewal mends: the state and what people do are the same.
    own = [e for e in VENDOR if e is not GrantDead]
    assert len({e.state for e in own}) == len(own)
    assert GrantDead.state == LoginNeeded.state


@pytest.mark.parametrize("kind", VENDOR)
def test_a_vendor_error_carries_what_happened_and_to_whom(kind: type[VendorError]) -> None:
    error = kind("It broke.", vendor="acme", operation="energy", status=503, code="E7", request_id="r1")
    assert str(error) == error.message == "It broke."
    assert (error.vendor, error.operation, error.status, error.code, error.request_id) == (
        "acme",
        "energy",
        503,
        "E7",
        "r1",
    )


def test_what_to_do_next_is_unknown_until_said() -> None:
    assert Unavailable("x", vendor="a", operation="b").retry_after_s is None
    spent = QuotaSpent("x", vendor="a", operation="b")
    assert (spent.until, spent.window, spent.ours) == (None, None, False)


def test_one_error_does_not_change_another() -> None:
    first, second = (Unavailable("x", vendor="a", operation="b") for _ in range(2))
    first.retry_after_s = 5
    assert second.retry_after_s is None


def test_an_unknown_unit_is_quoted() -> None:
    assert str(UnknownUnit("furlong", "power")) == "unknown unit of power: 'furlong'"
