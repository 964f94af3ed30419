"""Roles and scopes."""

import itertools
from uuid import uuid4

import pytest

from enalysis.core.access import Role, Scope, platform
from enalysis.core.errors import Refused

# Written out once more on purpose: the highest first.
ORDER = [Role.OWNER, Role.ADMIN, Role.OPERATOR, Role.VIEWER]


def test_the_order_names_every_role() -> None:
    assert set(ORDER) == set(Role)


@pytest.mark.parametrize(("has", "needs"), list(itertools.product(ORDER, ORDER)))
def test_a_role_includes_those_below_it_and_no_other(has: Role, needs: Role) -> None:
    scope = Scope(uuid4(), uuid4(), has)
    if ORDER.index(has) <= ORDER.index(needs):
        scope.allow(needs)
        return
    with pytest.raises(Refused) as caught:
        scope.allow(needs)
    assert needs.value in str(caught.value)
    assert has.value in str(caught.value)


def test_nobody_gets_more_than_reading_by_default() -> None:
    with pytest.raises(Refused):
        Scope(uuid4()).allow(Role.OPERATOR)


def test_the_platform_acts_for_one_organization_and_no_person() -> None:
    organization = uuid4()
    scope = platform(organization)
    scope.allow(Role.OWNER)
    assert (scope.organization, scope.user) == (organization, None)


def test_a_scope_cannot_be_turned_into_another() -> None:
    scope = Scope(uuid4())
    with pytest.raises(AttributeError):
        scope.organization = uuid4()  # type: ignore[misc]  # the point of the test
