"""OAuth at simulated vendors, over real HTTP: tokens, renewal, reuse, expiry, installers, apps, switches."""

import base64
import json
import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from enalysis.simulators.oauth import Ageing, App, AppState, Rotation, Standing
from enalysis.simulators.server import CONTROL_HEADER
from tests.simulators.enphase_bench import (
    CALLBACK,
    TOKEN,
    Place,
    code_of,
    consent,
    control,
    exchange,
    link,
    pair,
    refresh,
)

# -- tokens


async def test_tokens_have_the_documented_form(enphase: Place) -> None:
    tokens = await pair(enphase)
    assert tokens.keys() == {
        *("access_token", "token_type", "refresh_token", "expires_in", "scope", "enl_uid", "enl_cid"),
        *("enl_password_last_changed", "is_internal_app", "app_type", "app_Id", "jti"),
    }
    assert (tokens["token_type"], tokens["expires_in"], tokens["enl_cid"]) == ("bearer", 86399, "")
    assert (tokens["app_type"], tokens["is_internal_app"], tokens["scope"]) == ("system", False, "read write")
    for name in ("access_token", "refresh_token"):
        assert 850 <= len(tokens[name]) <= 1200
        head, claims, _ = tokens[name].split(".")
        assert json.loads(base64.urlsafe_b64decode(head + "==")) == {"alg": "RS256"}
        told_ = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
        assert told_["user_name"] == enphase.account("household").login["username"]
        lives_s = told_["exp"] - int(enphase.clock().timestamp())
        assert lives_s == {"access_token": 86_400, "refresh_token": 2_629_746}[name]
        assert told_.get("ati") == (tokens["jti"] if name == "refresh_token" else None)


async def test_parameters_may_stand_in_the_form(enphase: Place) -> None:
    app = enphase.account("household").app
    data = {"grant_type": "authorization_code", "code": await code_of(enphase), "redirect_uri": CALLBACK}
    url, auth = f"{enphase.root}/oauth/token", (app["client_id"], app["client_secret"])
    assert (await enphase.client.post(url, data=data, auth=auth)).status_code == 200
    assert (await enphase.client.get(url, params=data, auth=auth)).status_code == 405


async def test_strict_renewal_kills_the_old_token_and_its_reuse_the_family(enphase: Place) -> None:
    first = await pair(enphase)
    second = (await refresh(enphase, first["refresh_token"])).json()
    assert second["refresh_token"] != first["refresh_token"]
    third = (await refresh(enphase, second["refresh_token"])).json()
    enphase.tokens["household"] = third["access_token"]
    assert (await enphase.ask("household", "systems")).status_code == 200
    reused = await refresh(enphase, first["refresh_token"])
    assert (reused.status_code, reused.json()["error"]) == (400, "invalid_grant")
    assert (await refresh(enphase, third["refresh_token"])).json()["error"] == "invalid_grant"
    assert (await enphase.ask("household", "systems")).status_code == 401
    # Another consent of the same owner is another family.
    other = await pair(enphase)
    assert (await refresh(enphase, other["refresh_token"])).status_code == 200


async def test_lenient_renewal_leaves_the_old_token_alive(enphase: Place) -> None:
    enphase.cloud.auth.rotation = Rotation.LENIENT
    first = await pair(enphase)
    second = (await refresh(enphase, first["refresh_token"])).json()
    assert (await refresh(enphase, first["refresh_token"])).status_code == 200
    assert (await refresh(enphase, second["refresh_token"])).status_code == 200
    enphase.clock.forward(seconds=2_629_746)
    assert (await refresh(enphase, first["refresh_token"])).json()["error"] == "invalid_token"


async def test_tokens_expire_and_renewal_starts_a_new_month(enphase: Place) -> None:
    tokens = await pair(enphase)
    enphase.tokens["household"] = tokens["access_token"]
    enphase.clock.forward(seconds=86_399)
    assert (await enphase.ask("household", "systems")).status_code == 200
    enphase.clock.forward(seconds=1)
    refused = await enphase.ask("household", "systems")
    assert refused.status_code == 401
    assert refused.json() == {"message": "Not Authorized", "details": "User is not authorized", "code": 401}
    enphase.clock.forward(days=28)
    tokens = (await refresh(enphase, tokens["refresh_token"])).json()
    enphase.clock.forward(days=28)
    tokens = (await refresh(enphase, tokens["refresh_token"])).json()
    enphase.clock.forward(days=31)
    late = await refresh(enphase, tokens["refresh_token"])
    assert (late.status_code, late.json()["error"]) == (401, "invalid_token")
    assert tokens["refresh_token"] in late.json()["error_description"]


async def test_one_app_has_tokens_that_live_shorter(enphase: Place) -> None:
    tokens = (await exchange(enphase, await code_of(enphase, "expiring"), "expiring")).json()
    assert tokens["expires_in"] == 329
    enphase.tokens["expiring"] = tokens["access_token"]
    enphase.clock.forward(minutes=15)
    assert (await enphase.ask("expiring", "systems")).status_code == 401
    tokens = (await refresh(enphase, tokens["refresh_token"], "expiring")).json()
    enphase.tokens["expiring"] = tokens["access_token"]
    assert (await enphase.ask("expiring", "systems")).status_code == 200


async def test_the_token_endpoint_refuses(enphase: Place) -> None:
    app, url = enphase.account("household").app, f"{enphase.root}/oauth/token"
    right = (app["client_id"], app["client_secret"])
    token = (await pair(enphase))["refresh_token"]
    for auth in (("", ""), (app["client_id"], "wrong"), ("nobody", app["client_secret"])):
        answer = await enphase.client.post(url, params={"grant_type": "refresh_token"}, auth=auth)
        assert (answer.status_code, answer.json()["error"]) == (401, "unauthorized")
    for params, error in (
        ({"grant_type": "client_credentials"}, "unsupported_grant_type"),
        ({}, "invalid_request"),
        ({"grant_type": "refresh_token"}, "invalid_grant"),
        ({"grant_type": "refresh_token", "refresh_token": "made-up"}, "invalid_grant"),
        ({"grant_type": "password", **enphase.account("household").login}, "invalid_client"),
    ):
        assert (await enphase.client.post(url, params=params, auth=right)).json()["error"] == error
    # A refresh token is good for its own app only, and trying it elsewhere does it no harm.
    assert (await refresh(enphase, token, "lapsed")).json()["error"] == "invalid_grant"
    assert (await refresh(enphase, token)).status_code == 200


# -- installers


async def test_an_installer_gives_name_and_password(enphase: Place) -> None:
    login = enphase.account("portfolio").credentials
    assert login == enphase.account("portfolio").login
    answer = (await enphase.token("portfolio", grant_type="password", **login)).json()
    assert answer["app_type"] == "partner"
    assert answer["enl_cid"] != ""
    enphase.tokens["portfolio"] = answer["access_token"]
    assert (await enphase.read("portfolio", "systems"))["total"] == 8
    wrong = await enphase.token("portfolio", grant_type="password", username=login["username"], password="guess")
    assert (wrong.status_code, wrong.json()["error_description"]) == (400, "Bad credentials")
    assert (await enphase.client.get(link(enphase, "portfolio"))).status_code == 403


async def test_an_app_that_waits_for_approval_gets_tokens_and_no_data(enphase: Place) -> None:
    login = enphase.account("pending").login
    tokens = (await enphase.token("pending", grant_type="password", **login)).json()
    enphase.tokens["pending"] = tokens["access_token"]
    refused = await enphase.ask("pending", "systems")
    assert (refused.status_code, refused.json()["message"]) == (401, "Not Authorized")
    approved = await control(enphase, "apps", vendor="enphase", app="pending", state="verified")
    assert approved.json()["state"] == "verified"
    assert (await enphase.read("pending", "systems"))["total"] == 2


async def test_a_suspended_app_gets_nothing(enphase: Place) -> None:
    token = (await pair(enphase))["refresh_token"]
    headers = enphase.headers("household")
    client_id = enphase.account("household").app["client_id"]
    await control(enphase, "apps", vendor="enphase", app=client_id, state="suspended")
    assert (await enphase.ask("household", "systems")).status_code == 401
    assert (await refresh(enphase, token)).status_code == 401
    assert (await enphase.client.get(link(enphase))).status_code == 403
    await control(enphase, "apps", vendor="enphase", app="household", state="verified")
    assert (await enphase.ask("household", "systems")).status_code == 200
    assert headers == enphase.headers("household")


# -- switches


async def test_grants_are_aged_by_the_switches(enphase: Place) -> None:
    tokens = await pair(enphase)
    enphase.tokens["household"] = tokens["access_token"]
    enphase.headers("lapsed")
    aged = await control(enphase, "grants", vendor="enphase", account="household", do="expire_access")
    assert aged.json() == {"changed": 1}
    assert (await enphase.ask("household", "systems")).status_code == 401
    tokens = (await refresh(enphase, tokens["refresh_token"])).json()
    enphase.tokens["household"] = tokens["access_token"]
    await control(enphase, "grants", vendor="enphase", account="household", do="expire_refresh")
    assert (await enphase.ask("household", "systems")).status_code == 200
    assert (await refresh(enphase, tokens["refresh_token"])).json()["error"] == "invalid_token"
    await control(enphase, "grants", vendor="enphase", account="household", do="revoke")
    assert (await enphase.ask("household", "systems")).status_code == 401
    assert (await refresh(enphase, tokens["refresh_token"])).json()["error"] == "invalid_grant"
    assert (await enphase.ask("lapsed", "systems")).status_code == 200


@pytest.mark.parametrize(
    ("what", "body"),
    [
        ("grants", {"vendor": "enphase", "account": "household", "do": "burn"}),
        ("grants", {"vendor": "enphase", "account": "nobody", "do": "revoke"}),
        ("grants", {"vendor": "nobody", "account": "household", "do": "revoke"}),
        ("grants", {}),
        ("apps", {"vendor": "enphase", "app": "nobody", "state": "verified"}),
        ("apps", {"vendor": "enphase", "app": "household", "state": "golden"}),
        ("apps", {"vendor": "enphase", "app": "household"}),
    ],
)
async def test_what_is_no_switch_is_refused(enphase: Place, what: str, body: dict[str, str]) -> None:
    assert (await control(enphase, what, **body)).status_code == 422
    bare = await enphase.client.post(f"{enphase.origin}/_sandbox/{what}", json=body)
    assert bare.status_code == 401


async def test_an_address_is_registered_by_the_switches(enphase: Place) -> None:
    uri = "https://solar.example.org/back?x=1"
    assert (await enphase.client.get(link(enphase, redirect_uri=uri))).status_code == 400
    await control(enphase, "apps", vendor="enphase", app="household", redirect_uri=uri)
    back = await consent(enphase.client, link(enphase, redirect_uri=uri), enphase.account("household").login)
    assert back.headers["location"].startswith(f"{uri}&code=")


async def test_the_state_tells_how_to_connect(enphase: Place) -> None:
    state = await enphase.client.get(f"{enphase.origin}/_sandbox/state", headers={CONTROL_HEADER: TOKEN})
    accounts = {a["key"]: a for a in state.json()["accounts"]}
    assert accounts.keys() == {"household", "portfolio", "lapsed", "expiring", "pending", "slim"}
    for account in accounts.values():
        assert account["app"].keys() == {"client_id", "client_secret", "api_key"}
        assert account["login"].keys() == {"username", "password"}
        assert account["app_label"]
        assert account["credentials"] == (account["login"] if account["way"] == "partner" else {})
    assert (accounts["portfolio"]["way"], accounts["household"]["way"]) == ("partner", "developer")
    assert (accounts["pending"]["app_state"], accounts["slim"]["app_state"]) == ("pending", "verified")
    assert all(f["documented"] for f in state.json()["figures"] if "calls a" in f["what"])


def test_a_grant_can_be_given_lifetimes_of_its_own(enphase: Place) -> None:
    now = datetime(2026, 6, 2, 12, tzinfo=UTC)
    auth = enphase.cloud.auth
    issued = auth.issue("household", now, access_s=60, refresh_s=120)
    assert issued.as_text().keys() == {"access_token", "refresh_token", "expires_at", "refresh_expires_at"}
    assert auth.look(issued.access.text, now + timedelta(seconds=59))[0] is Standing.VALID
    assert auth.look(issued.access.text, now + timedelta(seconds=60))[0] is Standing.EXPIRED
    assert auth.look(issued.refresh.text, now)[0] is Standing.UNKNOWN
    assert auth.revoke(issued.refresh.text)
    assert auth.look(issued.access.text, now)[0] is Standing.REVOKED
    assert not auth.revoke("made-up")
    assert auth.age("household", Ageing.REVOKE, now) == 0
    with pytest.raises(KeyError):
        auth.issue("nobody", now)


async def test_no_secret_reaches_a_log_or_a_repr(enphase: Place, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="enalysis")
    tokens = await pair(enphase)
    await refresh(enphase, tokens["refresh_token"])
    app: App = enphase.cloud.auth.apps[enphase.account("household").app["client_id"]]
    assert replace(app, state=AppState.PENDING).state is AppState.PENDING
    _, grant = enphase.cloud.auth.look(tokens["access_token"], enphase.clock())
    shown = repr(app) + repr(grant) + "".join(r.getMessage() for r in caplog.records if r.name.startswith("enalysis"))
    for secret in (app.client_secret, app.api_key, tokens["access_token"], tokens["refresh_token"]):
        assert secret not in shown
