"""The parts of OAuth 2.0 that need no network: addresses to send people to, callbacks, and grants."""

import re
from datetime import timedelta
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest

from enalysis.connectors.oauth import (
    Grant,
    authorize_address,
    challenge,
    new_state,
    new_verifier,
    parse_callback,
    parse_grant,
)
from tests.connectors.test_oauth import ACCESS, APP, BACK, BASIC, CODE, FRESH, GOOD, JSON, NOW


@pytest.mark.parametrize(
    ("expires_in", "lives_s"),
    [
        (86399, 86399),
        ("3600", 3600),
        (3600.9, 3600),
        (1, 1),
        # Senseless: the card's figure.
        (None, 86400),
        (0, 86400),
        (-5, 86400),
        (0.2, 86400),
        (float("inf"), 86400),
        (float("nan"), 86400),
        ("1e400", 86400),
        ("soon", 86400),
        ("", 86400),
        (True, 86400),
        ([3600], 86400),
        ({}, 86400),
        # Never more than twice that.
        (10**9, 172800),
        ("9" * 300, 172800),
        (10**400, 86400),
        ("9" * 5000, 86400),
    ],
)
def test_lifetimes_are_counted_by_our_clock_and_believed_within_reason(expires_in: object, lives_s: int) -> None:
    grant = parse_grant(GOOD | {"expires_in": expires_in, "refresh_expires_in": expires_in}, BASIC, NOW)
    assert grant.expires_at == NOW + timedelta(seconds=lives_s)
    assert grant.refresh_expires_at is not None
    assert grant.refresh_expires_at - NOW <= timedelta(days=60)


def test_a_grant_without_its_optional_fields() -> None:
    grant = parse_grant({"access_token": ACCESS}, BASIC, NOW)
    assert grant == Grant(ACCESS, None, NOW + timedelta(days=1), None)
    full = parse_grant(GOOD, BASIC, NOW)
    assert (full.refresh_token, full.subject) == (FRESH, "3312345")
    assert full.refresh_expires_at == NOW + timedelta(days=30)
    assert (ACCESS in repr(full), FRESH in repr(full)) == (False, False)
    # An access token of a thousand letters is usual.
    assert parse_grant(GOOD | {"access_token": "x" * 1100}, BASIC, NOW).access_token == "x" * 1100


@pytest.mark.parametrize(
    ("told", "subject"),
    [("7", "7"), (7, "7"), ("", None), (None, None), (True, None), ([], None), ("x" * 500, "x" * 64)],
)
def test_whose_grant_it_is(told: object, subject: str | None) -> None:
    assert parse_grant(GOOD | {"enl_uid": told}, BASIC, NOW).subject == subject
    assert parse_grant(GOOD, JSON, NOW).subject is None


@pytest.mark.parametrize(
    ("told", "kept"),
    [("4101001", "4101001"), (4101001, "4101001"), ("a b", None), ("", None), ("x" * 65, None), (["7"], None)],
)
def test_what_is_kept_of_a_grant(told: object, kept: str | None) -> None:
    assert parse_grant(GOOD | {"site_id": told}, JSON, NOW).kept.get("site_id") == kept


@pytest.mark.parametrize(
    "wrong",
    [
        {"access_token": None},
        {"access_token": ""},
        {"access_token": 5},
        {"access_token": "two words"},
        {"access_token": "line\nbreak"},
        {"access_token": "umläut"},
        {"access_token": "x" * 9000},
        {"token_type": "mac"},
    ],
)
def test_an_answer_without_a_usable_token_is_no_grant(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="no bearer token"):
        parse_grant(GOOD | wrong, BASIC, NOW)


@pytest.mark.parametrize("kind", ["Bearer", "BEARER", "bearer", None, 5])
def test_a_bearer_by_any_spelling(kind: object) -> None:
    assert parse_grant(GOOD | {"token_type": kind}, BASIC, NOW).access_token == ACCESS


@pytest.mark.parametrize(
    ("params", "state", "code", "error"),
    [
        ({"state": "s1", "external_id": "s1", "code": CODE}, "s1", CODE, None),
        ({"state": "s1", "code": CODE}, "s1", CODE, None),
        ({"external_id": "s1", "code": CODE}, "s1", CODE, None),
        ({"external_id": "s1", "state": "", "code": CODE}, "s1", CODE, None),
        # They differ, or neither is there: no state, so nobody's.
        ({"state": "s1", "external_id": "s2", "code": CODE}, None, CODE, None),
        ({"code": CODE}, None, CODE, None),
        ({"state": "", "external_id": "", "code": CODE}, None, CODE, None),
        ({"state": "s1", "error": "access_denied"}, "s1", None, "access_denied"),
        ({"state": "s1", "error": "access_denied", "code": CODE}, "s1", None, "access_denied"),
        ({"state": "s1", "error": "<script>alert(1)</script>"}, "s1", None, "unknown"),
        ({"state": "s1", "error": ""}, "s1", None, "unknown"),
        ({"state": "s1", "error": "x" * 500}, "s1", None, "unknown"),
        ({"state": "s1"}, "s1", None, "no_code"),
        ({"state": "s1", "code": ""}, "s1", None, "no_code"),
        ({"state": "s1", "code": "x" * 9000}, "s1", None, "no_code"),
        ({"state": "s1", "code": "a\r\nb"}, "s1", None, "no_code"),
    ],
)
def test_callbacks(params: dict[str, str], state: str | None, code: str | None, error: str | None) -> None:
    back = parse_callback(JSON, params)
    assert (back.state, back.code, back.error, back.kept) == (state, code, error, {})
    assert not code or code not in repr(back)


@pytest.mark.parametrize(
    ("told", "kept"),
    [("4101001", {"site_id": "4101001"}), ("../1", {}), ("a b", {}), ("", {}), ("x" * 65, {}), ("7\n", {})],
)
def test_what_is_kept_of_a_callback(told: str, kept: dict[str, str]) -> None:
    assert parse_callback(JSON, {"code": CODE, "state": "s", "site_id": told, "other": "x"}).kept == kept
    assert parse_callback(BASIC, {"code": CODE, "state": "s", "site_id": told}).kept == {}


def test_a_state_under_another_vendors_name_is_none() -> None:
    assert parse_callback(BASIC, {"code": CODE, "external_id": "s1"}).state is None


def test_where_a_person_is_sent() -> None:
    assert BASIC.authorize_url is not None
    address = urlsplit(authorize_address(BASIC, BASIC.authorize_url, APP, BACK, "st/ate+1", None))
    assert (address.scheme, address.netloc, address.path) == ("https", "api.acme.example", "/oauth/authorize")
    assert dict(parse_qsl(address.query, strict_parsing=True)) == {
        "response_type": "code",
        "client_id": APP.client_id,
        "redirect_uri": BACK,
        "state": "st/ate+1",
    }
    assert JSON.authorize_url is not None
    address = urlsplit(authorize_address(JSON, JSON.authorize_url, APP, BACK, "s1", "verifier"))
    # What the pinned address carried is gone, a space is never a plus.
    assert "+" not in address.query
    assert parse_qs(address.query, strict_parsing=True) == {
        "response_type": ["code"],
        "client_id": [APP.client_id],
        "redirect_uri": [BACK],
        "scope": ["SITE_DATA DEVICE_DATA"],
        "state": ["s1"],
        "external_id": ["s1"],
        "access_duration": ["24"],
        "code_challenge": [challenge("verifier")],
        "code_challenge_method": ["S256"],
    }


def test_the_challenge_is_that_of_the_standard() -> None:
    # RFC 7636, appendix B.
    assert challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk") == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def test_states_and_verifiers_are_random_and_fit_for_addresses() -> None:
    states, verifiers = {new_state() for _ in range(100)}, {new_verifier() for _ in range(100)}
    assert (len(states), len(verifiers)) == (100, 100)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", s) for s in states)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43,128}", v) for v in verifiers)
