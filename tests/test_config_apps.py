"""The operator's app at a vendor comes whole from the settings of the vendor's card, or is refused by name."""

import re
import secrets
from pathlib import Path

import pytest

from enalysis.actions.vendors import OperatorApp
from enalysis.cli import credential
from enalysis.config import settings_table
from enalysis.config.apps import card_settings
from enalysis.connectors.registry import CONNECTORS
from enalysis.log import scrub
from enalysis.runtime import open_runtime
from tests.conftest import Base
from tests.settings import KEY, env_file, load, refusal
from tests.test_runtime import settings_for

ENPHASE = {
    "ENPHASE_CLIENT_ID": "client-4711",
    "ENPHASE_CLIENT_SECRET": "enphase-secret-4711",
    "ENPHASE_API_KEY": "enphase-api-key-4711",
}
FIELDS = {name.removeprefix("ENPHASE_").lower(): value for name, value in ENPHASE.items()}
SOLAREDGE = {"SOLAREDGE_CLIENT_ID": "client-4712", "SOLAREDGE_CLIENT_SECRET": "solaredge-secret-4712"}
CALLBACK = "/api/oauth/enphase/callback"


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_every_card_with_an_app_has_its_settings() -> None:
    names = {each.name for each in card_settings()}
    cards = {key: entry.spec.app for key, entry in CONNECTORS.items() if entry.spec.app is not None}
    assert {"enphase", "solaredge"} <= set(cards)
    for key, card in cards.items():
        parts = ("app_kind", "app_plan", "redirect_uri", *(each.name for each in card.fields))
        assert {f"{key}_{part}".upper() for part in parts} <= names
    assert {*ENPHASE, *SOLAREDGE, "SOLAREDGE_API_KEY"} <= names, "MISSION C2"
    assert len(names) == len(card_settings())


def test_no_app_is_made_of_nothing() -> None:
    settings = load()
    assert settings.apps == {}
    assert settings.vendor_keys == {}


def test_an_app_is_a_developers_with_the_smallest_plan() -> None:
    settings = load(ENPHASE | SOLAREDGE)
    assert settings.apps["enphase"] == OperatorApp("developer", "watt", FIELDS)
    assert (settings.apps["solaredge"].kind, settings.apps["solaredge"].plan) == ("developer", "free")


def test_kind_and_plan_may_be_told() -> None:
    told = load(ENPHASE, ENPHASE_APP_PLAN="Megawatt").apps["enphase"]
    assert (told.kind, told.plan) == ("developer", "megawatt")
    told = load(ENPHASE, ENPHASE_APP_KIND="Partner").apps["enphase"]
    assert (told.kind, told.plan) == ("partner", CONNECTORS["enphase"].spec.way("partner").plans[0].key)


@pytest.mark.parametrize("lacking", ENPHASE)
def test_half_an_app_is_refused_naming_the_rest(lacking: str) -> None:
    given = {name: value for name, value in ENPHASE.items() if name != lacking}
    (line,) = refusal(given).splitlines()[1:]
    assert line.startswith(f"- {lacking} must be set too, since {' and '.join(given)} alone make no app at Enphase")


def test_a_kind_alone_is_no_app() -> None:
    told = refusal(ENPHASE_APP_KIND="partner")
    assert "- ENPHASE_CLIENT_ID and ENPHASE_CLIENT_SECRET and ENPHASE_API_KEY must be set too, since" in told


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("ENPHASE_APP_KIND", "installer", "must be developer or partner"),
        ("ENPHASE_APP_PLAN", "gigawatt", "must be watt or kilowatt or megawatt for a developer app"),
        ("ENPHASE_APP_PLAN", "partner", "must be watt or kilowatt or megawatt for a developer app"),
        ("SOLAREDGE_APP_KIND", "partner", "must be developer"),
        ("ENPHASE_API_KEY", "two words-4711", "holds a space"),
        ("ENPHASE_API_KEY", "x-9" * 2000, "is longer than 4096 characters"),
        ("ENPHASE_API_KEY", "your_enphase_api_key_here", "is still a sample value"),
    ],
)
def test_what_no_app_has_is_refused(name: str, value: str, why: str) -> None:
    (line,) = refusal(ENPHASE | SOLAREDGE | {name: value}).splitlines()[1:]
    assert line.startswith(f"- {name} {why}")


def test_each_may_stand_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mounted"
    path.write_text(f"{ENPHASE['ENPHASE_API_KEY']}\n")
    given = {name: value for name, value in ENPHASE.items() if name != "ENPHASE_API_KEY"}
    assert load(given, ENPHASE_API_KEY_FILE=str(path)).apps["enphase"].fields == FIELDS
    assert "- ENPHASE_API_KEY and ENPHASE_API_KEY_FILE are both set" in refusal(ENPHASE, ENPHASE_API_KEY_FILE=str(path))


def test_a_file_that_holds_a_secret_of_an_app_is_for_its_owner_only() -> None:
    env_file("\n".join(f"{name}={value}" for name, value in ENPHASE.items()), mode=0o644)
    assert "holds secrets and others may read it" in refusal()
    env_file("\n".join(f"{name}={value}" for name, value in ENPHASE.items()))
    assert load().apps["enphase"].fields == FIELDS


@pytest.mark.parametrize(
    "name",
    ["ENPHASE_CLIENTID", "ENPHASE_CLIENT_SECERT", "ENPHASE_APIKEY", "ENPHASE_REDIRECT_URL", "enphase_client_id"],
)
def test_names_that_nearly_are_a_cards_are_refused(name: str) -> None:
    assert re.search(rf"- {name} is no setting.* ENPHASE_", refusal({name: "value-4711"}))


@pytest.mark.parametrize("public", [None, "http://localhost:3000", "https://energy.example.org"])
def test_a_redirect_address_is_ours_or_the_start_is_refused(public: str | None) -> None:
    base = {} if public is None else {"PUBLIC_URL": public}
    right = (public or "http://localhost:3000") + CALLBACK
    assert load(base, ENPHASE_REDIRECT_URI=right).apps == {}, "it may stand without the operator's own app"
    assert load(base | ENPHASE, ENPHASE_REDIRECT_URI=right).apps["enphase"].fields == FIELDS
    for wrong in (
        f"{right}/",
        f"{right}?x=1",
        right.replace("enphase", "solaredge"),
        f"http://other.example{CALLBACK}",
    ):
        (line,) = refusal(ENPHASE, ENPHASE_REDIRECT_URI=wrong).splitlines()[1:]
        assert line.startswith(f"- ENPHASE_REDIRECT_URI must equal PUBLIC_URL followed by {CALLBACK}")


def test_with_another_port_the_redirect_address_follows() -> None:
    assert load(PORT="4000", ENPHASE_REDIRECT_URI=f"http://localhost:4000{CALLBACK}").port == 4000
    assert "- ENPHASE_REDIRECT_URI must equal PUBLIC_URL" in refusal(
        PORT="4000", ENPHASE_REDIRECT_URI=f"http://localhost:3000{CALLBACK}"
    )


def test_secrets_of_apps_are_known_as_secrets() -> None:
    settings = load(ENPHASE, SOLAREDGE_API_KEY="fleet-key-4711")
    told = set(settings.secret_values())
    for secret in (ENPHASE["ENPHASE_CLIENT_SECRET"], ENPHASE["ENPHASE_API_KEY"], "fleet-key-4711"):
        assert secret in told
        assert secret not in repr(settings)
    assert ENPHASE["ENPHASE_CLIENT_ID"] not in told, "it stands in the address of every consent"
    secret_names = {each.name for each in settings_table() if each.secret}
    assert {"ENPHASE_CLIENT_SECRET", "ENPHASE_API_KEY", "SOLAREDGE_CLIENT_SECRET", "SOLAREDGE_API_KEY"} <= secret_names
    assert not {"ENPHASE_CLIENT_ID", "ENPHASE_APP_KIND", "ENPHASE_REDIRECT_URI"} & secret_names


async def test_the_runtime_offers_the_operators_app(base: Base, tmp_path: Path) -> None:
    env_file("\n".join(f"{name}={value}" for name, value in ENPHASE.items()), tmp_path)
    async with open_runtime(settings_for(base, tmp_path, secrets.token_bytes(32))) as runtime:
        assert runtime.vendors.operator_apps == {"enphase": OperatorApp("developer", "watt", FIELDS)}
    assert ENPHASE["ENPHASE_API_KEY"] not in scrub(f"a line with {ENPHASE['ENPHASE_API_KEY']} in it")


def test_the_command_line_takes_the_operators_key(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = CONNECTORS["solaredge"].spec
    monkeypatch.setenv("ENCRYPTION_KEY", KEY)
    monkeypatch.setenv("SOLAREDGE_API_KEY", "fleet-key-4711")
    assert credential.read(spec, spec.way("fleet_key"), None, None) == {"api_key": "fleet-key-4711"}
    given = credential.read(spec, spec.way("fleet_key"), ["api_key=another-4711"], None)
    assert given == {"api_key": "another-4711"}
