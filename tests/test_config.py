"""Settings mean what is documented, and are refused by name, with what to do, without telling a secret."""

import base64
import re
import secrets
from pathlib import Path

import pytest

from enalysis.config import Settings, settings_table
from enalysis.config.apps import card_settings
from tests.settings import CRON, DATABASES, KEY, NAMES, RAW, load, refusal


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_key_is_enough() -> None:
    settings = load()
    assert settings == Settings(
        encryption_key=RAW,
        enalysis_home=Path.cwd() / ".enalysis",
        allowed_hosts=("localhost", "127.0.0.1", "[::1]"),
    )
    assert settings.public_url == "http://localhost:3000"
    assert (settings.host, settings.port) == ("127.0.0.1", 3000)
    assert settings.database_urls() == {}


def test_every_setting_is_read() -> None:
    (Path.cwd() / "pg").mkdir()
    given = {
        "CRON_SECRET": CRON,
        "PUBLIC_URL": "HTTPS://Energy.Example.org:443/",
        "HOST": "::",
        "PORT": "8080",
        "ALLOWED_HOSTS": "Other.example, 10.0.0.5,[fd00::1]",
        "ENALYSIS_HOME": "kept/here",
        **DATABASES,
        "POSTGRES_BIN_DIR": "pg",
        "WORKER_CONCURRENCY": "4",
        "SANDBOX_URL": "http://sandbox:3100",
        "SANDBOX_ALLOWED": "Yes",
        "LOG_LEVEL": "DEBUG",
        "LOG_FORMAT": "json",
    }
    assert {"ENCRYPTION_KEY", *given, *(each.name for each in card_settings())} == set(NAMES)
    assert load(given) == Settings(
        encryption_key=RAW,
        cron_secret=CRON,
        public_url="https://energy.example.org",
        host="::",
        port=8080,
        allowed_hosts=(
            *("energy.example.org", "localhost", "127.0.0.1", "[::1]"),
            *("other.example", "10.0.0.5", "[fd00::1]"),
        ),
        enalysis_home=Path.cwd() / "kept/here",
        database_url=DATABASES["DATABASE_URL"],
        database_engine_url=DATABASES["DATABASE_ENGINE_URL"],
        database_jobs_url=DATABASES["DATABASE_JOBS_URL"],
        database_owner_url=DATABASES["DATABASE_OWNER_URL"],
        postgres_bin_dir=Path.cwd() / "pg",
        worker_concurrency=4,
        sandbox_url="http://sandbox:3100",
        sandbox_allowed=True,
        log_level="debug",
        log_format="json",
    )


def test_a_key_may_be_written_in_base64_base64url_or_hex() -> None:
    url = base64.urlsafe_b64encode(RAW).decode()
    for text in (KEY, KEY.rstrip("="), url, url.rstrip("="), RAW.hex(), RAW.hex().upper()):
        assert load(ENCRYPTION_KEY=text).encryption_key == RAW


def test_random_keys_are_never_taken_for_weak_ones() -> None:
    for _ in range(500):
        raw = secrets.token_bytes(32)
        for text in (base64.b64encode(raw), base64.urlsafe_b64encode(raw).rstrip(b"=")):
            assert load(ENCRYPTION_KEY=text.decode()).encryption_key == raw
        assert load(ENCRYPTION_KEY=raw.hex()).encryption_key == raw


BAD_KEYS = {
    "": "is not set",
    "   ": "is not set",
    base64.b64encode(RAW[:16]).decode(): "is too short: it holds 16 bytes",
    base64.b64encode(RAW[:31]).decode(): "is too short: it holds 31 bytes",
    base64.b64encode(RAW + b"x").decode(): "is too long: it holds 33 bytes",
    RAW[:16].hex(): "is too short: it holds 16 bytes",
    RAW.hex() * 2: "is too long",
    bytes(32).hex(): "is not random",
    "A" * 43: "is not random",
    "k" * 43: "is not random",
    (RAW[:4] * 8).hex(): "is not random",
    base64.b64encode(RAW[:16] * 2).decode(): "is not random",
    bytes(range(32)).hex(): "is not random",
    bytes(range(240, 176, -2)).hex(): "is not random",
    "0123456789abcdef" * 4: "is not random",
    base64.b64encode(b"correct horse battery staple 123").decode(): "is not random",
    base64.b64encode(b"Pack my box with 5 dozen jugs!?#").decode(): "is not random",
    "thequickbrownfoxjumpsoverthelazydogandrunsa": "is not random",
    "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4": "is printed in public documents",
    "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=": "is printed in public documents",
    "correct horse battery staple": "is neither base64 nor hex",
    KEY[:-1] + "!": "is neither base64 nor hex",
    f"{KEY} {KEY}": "is neither base64 nor hex",
    f"{KEY}\n{KEY}": "holds a sign that cannot be printed",
    "your_encryption_key_here": "is still a sample value",
    "generate-a-random-32-byte-key": "is still a sample value",
    "changeme": "is still a sample value",
    "change-me-please": "is still a sample value",
    "<your key>": "is still a sample value",
    "${ENCRYPTION_KEY}": "is still a sample value",
    "xxxxxxxxxxxxxxxx": "is still a sample value",
}


@pytest.mark.parametrize("key", BAD_KEYS)
def test_a_bad_key_is_refused_and_not_repeated(key: str) -> None:
    (line,) = refusal(ENCRYPTION_KEY=key).splitlines()[1:]
    assert line.startswith(f"- ENCRYPTION_KEY {BAD_KEYS[key]}")


@pytest.mark.parametrize("name", [name for name in NAMES if name != "ENCRYPTION_KEY"])
def test_sample_values_are_refused_by_name(name: str) -> None:
    for sample in ("your_value_here", "generate-a-random-secret", "changeme123", "<value>"):
        assert f"- {name} is still a sample value" in refusal({name: sample})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "postgresql://enalysis:your_password_here@localhost:5432/enalysis"),
        ("DATABASE_URL", "postgresql://user:changeme@localhost/enalysis"),
        ("PUBLIC_URL", "https://your-domain.com"),
        ("PUBLIC_URL", "https://<your-host>"),
    ],
)
def test_a_sample_inside_an_address_is_refused(name: str, value: str) -> None:
    assert f"- {name} is still a sample value" in refusal({name: value})


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("DATABASE_URL", "localhost:5432", "is not the address of a PostgreSQL database"),
        ("DATABASE_URL", "mysql://app:pw-4711@db/x", "is not the address of a PostgreSQL database"),
        (
            "DATABASE_URL",
            "postgresql+psycopg://app:pw-4711@db/x",
            "is not the address of a PostgreSQL database",
        ),
        (
            "DATABASE_OWNER_URL",
            "postgresql://app:pw#4711@db/x",
            "is not the address of a PostgreSQL database",
        ),
        (
            "DATABASE_OWNER_URL",
            "postgresql://app:pw/4711@db/x",
            "is not the address of a PostgreSQL database",
        ),
        (
            "DATABASE_JOBS_URL",
            "postgresql://app:p%zz4711@db/x",
            "is not the address of a PostgreSQL database",
        ),
        ("DATABASE_JOBS_URL", "postgresql://app:p[4711@db/x", "is not the address of a PostgreSQL database"),
        ("DATABASE_ENGINE_URL", "postgresql://db:70000/x", "is not the address of a PostgreSQL database"),
        ("PUBLIC_URL", "energy.example.org", "must begin with http"),
        ("PUBLIC_URL", "ftp://energy.example.org", "must begin with http"),
        ("PUBLIC_URL", "https://energy.example.org/path", "must end after host and port"),
        ("PUBLIC_URL", "https://energy.example.org?x=1", "must end after host and port"),
        ("PUBLIC_URL", "https://me:secret-4711@energy.example.org", "must end after host and port"),
        ("PUBLIC_URL", "https://", "must name a host"),
        ("PUBLIC_URL", "https://enérgie.example", "must name a host"),
        ("PUBLIC_URL", "https://energy.example.org:99999", "is not an address"),
        ("PUBLIC_URL", "https://[::1", "is not an address"),
        ("PUBLIC_URL", "http://0.0.0.0:3000", "must be an address that can be called"),
        ("SANDBOX_URL", "http://localhost:3100/vendors", "must end after host and port"),
        ("HOST", "my-machine", "must be an IP address"),
        ("HOST", "127.0.0.1:3000", "must be an IP address"),
        ("PORT", "0", "must be a whole number from 1 to 65535"),
        ("PORT", "65536", "must be a whole number"),
        ("PORT", "http", "must be a whole number"),
        ("PORT", "30.5", "must be a whole number"),
        ("PORT", "\u0663\u0660\u0660\u0660", "must be a whole number"),
        ("WORKER_CONCURRENCY", "many", "must be a whole number"),
        ("WORKER_CONCURRENCY", "-1", "must be a whole number"),
        ("ALLOWED_HOSTS", "*", "must be host names"),
        ("ALLOWED_HOSTS", "https://energy.example.org", "must be host names"),
        ("ALLOWED_HOSTS", "energy.example.org:3000", "must be host names"),
        ("SANDBOX_ALLOWED", "maybe", "must be true or false"),
        ("LOG_LEVEL", "trace", "must be debug, info, warning or error"),
        ("LOG_FORMAT", "xml", "must be text or json"),
        ("CRON_SECRET", "with spaces in between, and long", "must be plain letters"),
        ("CRON_SECRET", "z" * 40, "is one sign repeated"),
        ("POSTGRES_BIN_DIR", "/nowhere/at/all", "names no folder"),
        ("ENALYSIS_HOME", "~nobody-of-this-name/x", "there is no such home folder"),
    ],
)
def test_malformed_values_are_refused_with_what_to_write(name: str, value: str, why: str) -> None:
    assert re.search(rf"- {name} .*{re.escape(why)}|- {name} {re.escape(why)}", refusal({name: value}))


@pytest.mark.parametrize(
    "url",
    [
        "postgres://app@db/enalysis",
        "postgresql://app:p%40ss%2Fw@10.0.0.5:5433/enalysis?sslmode=require",
        "postgresql://app@/enalysis?host=/var/run/postgresql",
        "postgresql://app:pw-4711@one:5432,two:5433/enalysis?target_session_attrs=read-write",
        "postgresql://app@[fd00::5]:5432/enalysis",
    ],
)
def test_what_libpq_takes_is_taken(url: str) -> None:
    assert load({**DATABASES, "DATABASE_URL": url}).database_url == url


def test_a_database_of_ones_own_needs_its_logins() -> None:
    del (lonely := dict(DATABASES))["DATABASE_JOBS_URL"]
    assert "- DATABASE_JOBS_URL must be set too" in refusal(lonely)
    owner = {"DATABASE_OWNER_URL": DATABASES["DATABASE_OWNER_URL"]}
    assert "- DATABASE_URL and DATABASE_ENGINE_URL and DATABASE_JOBS_URL must be set too" in refusal(owner)
    del (migrated := dict(DATABASES))["DATABASE_OWNER_URL"]
    assert load(migrated).database_owner_url is None


def test_two_logins_are_not_the_same() -> None:
    same = {**DATABASES, "DATABASE_OWNER_URL": DATABASES["DATABASE_URL"].replace("4711", "4712")}
    assert "- DATABASE_OWNER_URL and DATABASE_URL name the same login" in refusal(same)


@pytest.mark.parametrize(
    ("url", "public", "secure"),
    [
        ("http://localhost:3000", False, True),
        ("http://127.0.0.1:3000", False, True),
        ("http://[::1]:3000", False, True),
        ("http://192.168.1.10:3000", False, False),
        ("http://[fd00::1]", False, False),
        ("http://100.64.0.7", False, False),
        ("http://raspberry:3000", False, False),
        ("http://energy.home.arpa", False, False),
        ("http://energy.local", False, False),
        ("http://energy.example.org", True, False),
        ("https://energy.example.org", True, True),
        ("https://8.8.8.8", True, True),
        ("https://local.example.org", True, True),
    ],
)
def test_a_sandbox_needs_leave_on_a_public_address(url: str, public: bool, secure: bool) -> None:
    settings = load(PUBLIC_URL=url)
    assert (settings.is_public, settings.has_secure_origin) == (public, secure)
    sandbox = {"PUBLIC_URL": url, "SANDBOX_URL": "http://localhost:3100"}
    assert load(sandbox, SANDBOX_ALLOWED="true").sandbox_url == "http://localhost:3100"
    if public:
        assert "- SANDBOX_URL is set while PUBLIC_URL is public" in refusal(sandbox)
        assert "- SANDBOX_URL is set while PUBLIC_URL is public" in refusal(sandbox, SANDBOX_ALLOWED="false")
    else:
        assert load(sandbox).sandbox_url == "http://localhost:3100"


def test_a_short_cron_secret_opens_nothing_and_is_told() -> None:
    for short in ("a", CRON[:23]):
        settings = load(CRON_SECRET=short)
        assert settings.cron_secret is None
        assert settings.notices == (
            "CRON_SECRET is too short, so scheduler calls answer 401: `enalysis init` writes a good one.",
        )
    assert load(CRON_SECRET=CRON[:24]).cron_secret == CRON[:24]
    assert load(CRON_SECRET=CRON).notices == ()


def test_settings_do_not_show_their_secrets() -> None:
    settings = load({**DATABASES, "CRON_SECRET": CRON})
    told = set(settings.secret_values())
    for secret in (KEY.rstrip("="), RAW.hex(), CRON, "pw-app-4711", "pw-owner-4711"):
        assert secret in told
        assert secret not in repr(settings)
    assert repr(RAW)[2:-1] not in repr(settings)
    cards = {each.name for each in card_settings()}
    assert {each.name for each in settings_table() if each.secret} - cards == {
        "ENCRYPTION_KEY",
        "CRON_SECRET",
        *DATABASES,
    }
