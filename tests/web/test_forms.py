"""Forms drawn from a vendor's card, and what pasting brings along."""

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from enalysis.connectors.base import APIStatus, Auth, Check, Field, Plan, Spec, Way
from enalysis.core.quotas import Quota, QuotaScope, QuotaWindow
from enalysis.web import forms
from enalysis.web.errors import Unfit

MONTH = Quota(QuotaScope.ACCOUNT, QuotaWindow.MONTH, 2000)
GUESSED = Quota(QuotaScope.APP, QuotaWindow.HOUR, 1, chosen=True)
SPEC = Spec(
    key="acme",
    label="Acme",
    origin="https://acme.example",
    hosts=("acme.example",),
    docs_url="https://acme.example/docs",
    ways=(
        Way(
            "key",
            "API key",
            Auth.API_KEY,
            (Plan("free", "Free", (MONTH,)), Plan("paid", "Paid", (MONTH, GUESSED), "A note.")),
            (
                Field("api_key", "API key", "From the portal.", secret=True),
                Field("site", "Site number", "", required=False),
            ),
        ),
    ),
    streams=(),
)
WAY = SPEC.ways[0]


@pytest.mark.parametrize(
    ("pasted", "auth", "kept"),
    [
        ("  ABC-123\r\n", Auth.API_KEY, "ABC-123"),
        ("ABC 123\t456", Auth.API_KEY, "ABC123456"),
        ("\ufeffABC\u200b-\u00ad123\u00a0", Auth.API_KEY, "ABC-123"),
        (" 192.168.1.5 ", Auth.ADDRESS, "192.168.1.5"),
        (" my pass  word ", Auth.LOGIN, "my pass word"),
        (None, Auth.API_KEY, ""),
    ],
)
def test_pasted_credentials_lose_what_nobody_typed(pasted: str | None, auth: Auth, kept: str) -> None:
    assert forms.secret(pasted, auth) == kept


@pytest.mark.parametrize("text", ["a\x00b", "a\x07", "\x1b[31m", "\x7f"])
def test_control_characters_are_refused_without_repeating_them(text: str) -> None:
    with pytest.raises(Unfit) as caught:
        forms.line(text)
    assert text not in str(caught.value)


def test_only_the_cards_fields_are_read_and_the_required_ones_missed() -> None:
    given = forms.credential(WAY, {"field-api_key": " ", "field-site": "7", "field-else": "x", "api_key": "y"})
    assert given == {"api_key": "", "site": "7"}
    assert forms.missing(WAY.fields, given) == {"api_key": "Enter the API key."}
    assert forms.missing(WAY.fields, {"api_key": "k", "site": ""}) == {}


def test_plans_say_which_figures_are_the_vendors() -> None:
    free, paid = forms.plans(WAY, "paid")
    assert (free.checked, paid.checked) == (False, True)
    assert free.quotas == (("2,000 calls a month per account", False),)
    assert paid.quotas[1] == ("1 call an hour per app", True)
    assert [p.checked for p in forms.plans(WAY, None)] == [True, False]
    assert forms.plan_of(WAY, "paid").key == "paid"
    assert forms.plan_of(WAY, "").key == "free"
    with pytest.raises(Unfit):
        forms.plan_of(WAY, "gold")


def test_cards_put_what_cannot_be_used_last() -> None:
    gone = replace(SPEC, key="b", label="Aardvark", status=APIStatus.RETIRED)
    soon = replace(SPEC, key="c", label="Zebra", status=APIStatus.RETIRING, status_until=date(2027, 3, 1))
    shown = forms.cards({s.key: s for s in (gone, soon, SPEC)})
    assert [(c.label, c.usable) for c in shown] == [("Acme", True), ("Zebra", True), ("Aardvark", False)]
    assert "1 Mar 2027" in shown[1].note
    assert shown[0].asks == ("API key: API key",), shown[0].asks
    assert [c.label for c in forms.cards({s.key: s for s in (gone, soon, SPEC)}, " zeb ")] == ["Zebra"]
    assert forms.cards({SPEC.key: SPEC}, "acme nothing") == ()


@pytest.mark.parametrize(
    ("check", "words"),
    [
        (
            Check(3, 9800.0, last_update=datetime(2026, 6, 2, tzinfo=UTC)),
            "3 sites, 9.80 kWp, last data 4 min ago",
        ),
        (Check(1), "1 site, no data seen yet"),
        (Check(0), "no site is behind this credential yet"),
        (Check(1, None, 0.0, 0.0), "1 site, 0 W now, 0 Wh today, no data seen yet"),
    ],
)
def test_a_test_is_told_in_words(check: Check, words: str) -> None:
    assert forms.check_words(check, "4 min ago") == words
