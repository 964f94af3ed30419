"""Loads settings for tests, and holds every refusal to the same promises."""

import base64
import hashlib
import re
from pathlib import Path

import pytest

from enalysis.config import Settings, load_settings, settings_table
from enalysis.core.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]
RAW = hashlib.sha256(b"a key for tests: the same in every process, so that tests have the same names").digest()
KEY = base64.b64encode(RAW).decode()
CRON = base64.urlsafe_b64encode(hashlib.sha256(b"a scheduler's secret for tests").digest()).decode().rstrip("=")
NAMES = [each.name for each in settings_table()]

DATABASES = {
    f"DATABASE_{part}URL": f"postgresql://{login}:pw-{login}-4711@db.internal:5432/enalysis"
    for part, login in (("", "app"), ("ENGINE_", "engine"), ("JOBS_", "jobs"), ("OWNER_", "owner"))
}


def load(environ: dict[str, str] | None = None, **more: str) -> Settings:
    """Load with a good key and nothing else unless given."""
    return load_settings({"ENCRYPTION_KEY": KEY, **(environ or {}), **more}, Path.cwd())


def refusal(environ: dict[str, str] | None = None, **more: str) -> str:
    """Return what a refusal says, one problem a line, held to tell no value that was given."""
    given = {"ENCRYPTION_KEY": KEY, **(environ or {}), **more}
    with pytest.raises(ConfigError) as error:
        load_settings(given, Path.cwd())
    told = str(error.value)
    assert told.startswith("Enalysis does not start, because of its settings:\n- ")
    assert all(re.fullmatch(r"- [A-Za-z/].*[^.]\.", line) for line in told.splitlines()[1:]), told
    assert error.value.__cause__ is None
    for name, value in given.items():
        assert len(value) < 8 or value not in told, name
    return told


def env_file(text: str, folder: Path | None = None, mode: int = 0o600) -> Path:
    """Write `.env` into the working folder, or into another."""
    path = (folder or Path.cwd()) / ".env"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path
