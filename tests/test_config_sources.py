"""Settings are read from the environment, from files and from `.env`; strange names there are told apart."""

import base64
import os
import re
import secrets
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from enalysis.config import load_settings, settings_table, write_env
from enalysis.core.errors import ConfigError, Refused
from tests.settings import CRON, DATABASES, KEY, NAMES, RAW, ROOT, env_file, load, refusal

# What stands in the environment of real machines: shells, desktops, containers, clusters, tools, neighbours.
FOREIGN = re.findall(
    r"\w+",
    """
    HOME PATH PWD OLDPWD USER LOGNAME SHELL SHLVL TERM LANG LC_ALL TZ EDITOR PAGER MAIL TMPDIR
    COLUMNS LINES HOSTNAME HOSTTYPE OSTYPE MACHTYPE DISPLAY XDG_RUNTIME_DIR XDG_DATA_HOME
    SSH_AUTH_SOCK SSH_CONNECTION SUDO_USER DBUS_SESSION_BUS_ADDRESS PUBLIC_IP PUBLIC_KEY LOG_DIR
    LOG_FILE LOGLEVEL LOG_PATH VIRTUAL_ENV PYTHONPATH PYTHONUNBUFFERED PIP_INDEX_URL UV_CACHE_DIR
    NODE_ENV NODE_PATH npm_config_loglevel NPM_TOKEN CI GITHUB_TOKEN GITHUB_ENV DOCKER_HOST
    COMPOSE_PROJECT_NAME KUBERNETES_SERVICE_HOST KUBERNETES_PORT ENALYSIS_PORT
    ENALYSIS_PORT_3000_TCP ENALYSIS_SERVICE_HOST ENALYSIS_SERVICE_PORT ENALYSIS_PAYLOADS PGHOST
    PGPORT PGDATABASE PGPASSWORD PGDATA DATABASE_HOST DATABASE_PORT DATABASE_NAME DATABASE_USER
    DATABASE_PASSWORD SQLALCHEMY_DATABASE_URL POSTGRES_PASSWORD POSTGRES_USER POSTGRES_DB
    POSTGRES_DATA_DIR REDIS_URL SENTRY_DSN ENCRYPTION_ENABLED CRON_TZ CRON_ENABLED SECRET_KEY
    AWS_REGION AWS_SECRET_ACCESS_KEY HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy host port HOSTS
    PORTS PROMPT WORKERS WEB_CONCURRENCY CONCURRENCY SANDBOX SANDBOX_DIR VENDOR_KEY ALLOWED_ORIGINS
    DEBUG GOPATH JAVA_HOME CARGO_HOME RUSTUP_HOME SYSTEMD_EXEC_PID INVOCATION_ID JOURNAL_STREAM
    """,
)


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_all_problems_are_told_at_once() -> None:
    told = refusal(ENCRYPTION_KEY="changeme", PORT="x", PUBLC_URL="http://a.example", ENCRYPTION_SECRET="s" * 32)
    assert len(told.splitlines()) == 1 + 4


@pytest.mark.parametrize(
    ("name", "successor"),
    [
        ("ENCRYPTION_SECRET", "ENCRYPTION_KEY"),
        ("ENCRYPTION_SECRET_FILE", "ENCRYPTION_KEY"),
        ("UPSTASH_REDIS_REST_URL", "REDIS_URL"),
        ("UPSTASH_REDIS_REST_TOKEN", "REDIS_URL"),
    ],
)
def test_former_names_are_refused_naming_the_successor(name: str, successor: str) -> None:
    assert re.search(rf"- {name} is not used here: {successor} takes its place", refusal({name: "value-4711"}))
    assert load({name: ""}).encryption_key == RAW


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        *(
            ("ENCRYPTON_KEY", "ENCRYPTION_KEY"),
            ("ENCRYPTION_KEYS", "ENCRYPTION_KEY"),
            ("ENCRPYTION_KEY", "ENCRYPTION_KEY"),
        ),
        *(("DATABSE_URL", "DATABASE_URL"), ("DATABASE_URI", "DATABASE_URL"), ("DATABASEURL", "DATABASE_URL")),
        *(("PUBLIC_ULR", "PUBLIC_URL"), ("PUBLICURL", "PUBLIC_URL"), ("PUBLIC_URI", "PUBLIC_URL")),
        *(("CRON_SECERT", "CRON_SECRET"), ("CRON_SECRETS", "CRON_SECRET"), ("CRONSECRET", "CRON_SECRET")),
        *(("LOG_LEVL", "LOG_LEVEL"), ("LOG_FROMAT", "LOG_FORMAT"), ("SANDBOX_ALOWED", "SANDBOX_ALLOWED")),
        *(
            ("SANBOX_URL", "SANDBOX_URL"),
            ("ALOWED_HOSTS", "ALLOWED_HOSTS"),
            ("ENALYSIS_HOMES", "ENALYSIS_HOME"),
        ),
        *(("DATABASE_JOB_URL", "DATABASE_JOBS_URL"), ("DATABASE_OWNR_URL", "DATABASE_OWNER_URL")),
        *(("ENCRYPTON_KEY_FILE", "ENCRYPTION_KEY"), ("ENALYSIS_DATABSE_URL", "DATABASE_URL")),
        *(("database_url", "DATABASE_URL"), ("ENALYSIS_ENCRYPTION_KEY", "ENCRYPTION_KEY")),
        *(("ENALYSIS_HOST", "HOST"), ("Encryption_Key", "ENCRYPTION_KEY")),
    ],
)
def test_names_that_nearly_are_ours_are_refused(name: str, meant: str) -> None:
    assert re.search(rf"- {name} is no setting.* {meant}\b", refusal({name: "value-4711"}))


def test_variables_of_other_programs_are_left_alone() -> None:
    assert len(FOREIGN) > 100
    assert load(dict.fromkeys(FOREIGN, "value")) == load()


@pytest.mark.parametrize("name", ["HOTS", "PROT", "HOSTS", "LOGLEVEL", "ENALYSIS_PORT", "port"])
def test_in_our_own_file_short_names_are_compared_too(name: str) -> None:
    env_file(f"{name}=value")
    assert f"- {name} is no setting" in refusal()


def test_other_programs_lines_in_our_own_file_are_left_alone() -> None:
    compared = {"LOGLEVEL", "ENALYSIS_PORT", "host", "port", "HOSTS", "PORTS"}
    env_file("".join(f"{name}=value\n" for name in FOREIGN if name not in compared))
    assert load().port == 3000


@pytest.fixture
def mounted(tmp_path: Path) -> Path:
    path = tmp_path / "mounted-secret"
    path.write_text(f"{KEY}\r\n\n")
    path.chmod(0o444)
    return path


def test_a_setting_may_stand_in_a_file(mounted: Path) -> None:
    assert load_settings({"ENCRYPTION_KEY_FILE": str(mounted)}, Path.cwd()).encryption_key == RAW
    assert load_settings({"ENCRYPTION_KEY_FILE": mounted.name}, mounted.parent).encryption_key == RAW
    env_file(f"ENCRYPTION_KEY_FILE={mounted}")
    assert load_settings({}, Path.cwd()).encryption_key == RAW


@pytest.mark.parametrize("wrong", ["missing", "folder", "empty", "huge", "binary", "pipe", "secret"])
def test_a_file_that_cannot_be_read_is_refused_without_its_path(tmp_path: Path, wrong: str) -> None:
    path = tmp_path / "mounted-secret"
    if wrong == "folder":
        path.mkdir()
    elif wrong == "pipe":
        os.mkfifo(path)
    elif wrong != "missing":
        path.write_bytes({"empty": b"\n", "huge": b"x" * 70_000, "binary": RAW + b"\xff"}.get(wrong, b"x"))
    named = KEY if wrong == "secret" else str(path)
    told = refusal(ENCRYPTION_KEY="", ENCRYPTION_KEY_FILE=named)
    assert "- ENCRYPTION_KEY cannot be read from the file that ENCRYPTION_KEY_FILE names: " in told


def test_a_setting_given_both_ways_is_refused(mounted: Path) -> None:
    assert "- ENCRYPTION_KEY and ENCRYPTION_KEY_FILE are both set" in refusal(ENCRYPTION_KEY_FILE=str(mounted))


def test_the_environment_counts_before_the_file() -> None:
    env_file(f"PORT=4000\nENCRYPTION_KEY={base64.b64encode(secrets.token_bytes(32)).decode()}\nLOG_LEVEL=error")
    settings = load(PORT="5000")
    assert (settings.port, settings.encryption_key, settings.log_level) == (5000, RAW, "error")
    assert settings.public_url == "http://localhost:5000"


def test_the_file_stands_in_the_working_folder_or_in_the_data_folder(tmp_path: Path) -> None:
    env_file("PORT=4001", tmp_path / ".enalysis")
    assert load().port == 4001
    env_file("PORT=4002", tmp_path / "elsewhere")
    assert load(ENALYSIS_HOME="elsewhere").port == 4002
    env_file("PORT=4003")
    assert load(ENALYSIS_HOME="elsewhere").port == 4003


def test_lines_of_the_file_may_be_quoted_and_commented() -> None:
    env_file(
        "\ufeff# a comment\n\n  export PORT=4000  # the port\n"
        "LOG_LEVEL='error'\nLOG_FORMAT = \"json\" # lines\n"
        f'CRON_SECRET="{CRON}\\"#\'"\nHOST=\nALLOWED_HOSTS=a.example,b.example\r\nOTHER=$PORT\n'
    )
    settings = load()
    assert (settings.port, settings.log_level, settings.log_format) == (4000, "error", "json")
    assert settings.cron_secret == f"{CRON}\"#'"
    assert settings.host == "127.0.0.1"
    assert settings.allowed_hosts[-2:] == ("a.example", "b.example")


def test_a_hash_inside_a_value_is_no_comment() -> None:
    env_file(f"CRON_SECRET={CRON}#{CRON}")
    assert load().cron_secret == f"{CRON}#{CRON}"


@pytest.mark.parametrize("line", [CRON, f"CRON SECRET={CRON}", f"CRON_SECRET='{CRON}", f'CRON_SECRET="{CRON}" x'])
def test_a_line_that_cannot_be_read_is_told_by_its_number(line: str) -> None:
    path = env_file(f"PORT=4000\n{line}\n")
    told = refusal()
    assert f"- {path}, line 2, is not NAME=value" in told
    assert CRON not in told


def test_a_name_that_stands_twice_is_refused() -> None:
    path = env_file("PORT=4000\nPORT=4001")
    assert f"- PORT stands twice in {path}" in refusal()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o666])
def test_a_file_of_secrets_that_others_may_read_is_refused(mode: int) -> None:
    path = env_file(f"CRON_SECRET={CRON}", mode=mode)
    assert f"- {path} holds secrets and others may read it: run chmod 600 {path}." in refusal()


def test_a_file_without_secrets_may_be_read_by_all() -> None:
    env_file("PORT=4000", mode=0o644)
    assert load().port == 4000


def test_a_folder_in_place_of_the_file_is_told() -> None:
    (Path.cwd() / ".env").mkdir()
    assert "cannot be read as a small text file" in refusal()


def test_init_writes_a_file_that_is_enough(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        path = write_env(tmp_path / "new" / "folder")
    finally:
        os.umask(before)
    assert path == tmp_path / "new" / "folder" / ".env"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    settings = load_settings({}, path.parent)
    assert settings.cron_secret
    assert len(settings.cron_secret) >= 43
    other = load_settings({}, write_env(tmp_path).parent)
    assert other.encryption_key != settings.encryption_key
    assert other.cron_secret != settings.cron_secret


def test_init_changes_no_file_that_is_there(tmp_path: Path) -> None:
    path = env_file("PORT=4000\n")
    with pytest.raises(Refused, match="is there already and was left as it is"):
        write_env(tmp_path)
    assert path.read_text() == "PORT=4000\n"
    path.unlink()
    path.symlink_to(tmp_path / "target")
    with pytest.raises(Refused):
        write_env(tmp_path)
    assert not (tmp_path / "target").exists()


def test_of_many_inits_at_once_one_writes(tmp_path: Path) -> None:
    written: list[Path] = []
    barrier = threading.Barrier(8)

    def init() -> None:
        barrier.wait()
        try:
            written.append(write_env(tmp_path))
        except Refused:
            return

    threads = [threading.Thread(target=init) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert written == [tmp_path / ".env"]
    assert load_settings({}, tmp_path).cron_secret


def example_lines() -> Iterator[tuple[str, str]]:
    for line in (ROOT / ".env.example").read_text(encoding="utf-8").splitlines():
        if match := re.fullmatch(r"#?([A-Z_]+)=(.*)", line):
            yield match[1], match[2]


def test_the_example_lists_every_setting_once() -> None:
    names = [name for name, _ in example_lines()]
    assert sorted(names) == sorted(NAMES)


def test_the_example_as_it_stands_is_refused_and_filled_in_is_taken(tmp_path: Path) -> None:
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    env_file(text)
    with pytest.raises(ConfigError) as error:
        load_settings({}, tmp_path)
    assert [line.split()[1] for line in str(error.value).splitlines()[1:]] == [
        "ENCRYPTION_KEY",
        "CRON_SECRET",
    ]
    fresh = {
        "ENCRYPTION_KEY": KEY,
        "CRON_SECRET": CRON,
        "POSTGRES_BIN_DIR": str(tmp_path),
        "SANDBOX_ALLOWED": "false",
    }
    env_file("".join(f"{name}={fresh.get(name, value)}\n" for name, value in example_lines()))
    settings = load_settings({}, tmp_path)
    assert set(settings.database_urls()) == set(DATABASES)
    assert (settings.public_url, settings.port) == ("http://localhost:3000", 3000)


def test_every_setting_is_documented_and_nothing_else() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([A-Z_]+)`( \(secret\))? \| (.+) \| (.+) \|$", text, re.MULTILINE)
    assert rows == [
        (each.name, " (secret)" if each.secret else "", each.meaning, each.default) for each in settings_table()
    ]


def test_no_usable_key_stands_in_the_documentation() -> None:
    pages = [ROOT / ".env.example", *ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    found = [key for page in pages for key in re.findall(r"ENCRYPTION_KEY[=:] ?(\S+)", page.read_text("utf-8"))]
    assert found
    for key in found:
        assert "- ENCRYPTION_KEY" in refusal(ENCRYPTION_KEY=key)
