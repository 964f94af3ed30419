"""Finds the values of the settings in the environment, in files and in `.env`, and refuses what is unsafe."""

import base64
import difflib
import os
import re
import secrets
import shlex
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from enalysis.config.apps import read_cards
from enalysis.config.settings import Settings, setting_fields, settings_table
from enalysis.config.values import GET_ONE, KEY_BYTES, SHORTEST_CRON_SECRET, Wrong, is_public, refuse_sample
from enalysis.core.errors import ConfigError, Refused

_ENV_FILE: Final = ".env"
_LARGEST_FILE: Final = 65_536
_NAMES: Final = tuple(each.name for each in settings_table())
_SECRETS: Final = {each.name for each in settings_table() if each.secret}

# A former name, or the beginning of several, and what to do about it.
_SUCCESSORS: Final = {
    "ENCRYPTION_SECRET": f"ENCRYPTION_KEY takes its place, 32 random bytes ({GET_ONE}); remove it",
    "UPSTASH_": "REDIS_URL takes its place where Redis is used, and nothing here needs Redis; remove it",
}
# Variables of other programs that look like ours. The second is what a cluster calls the port of a service
# named like this product. In `.env`, which is ours, they are misspelt.
_FOREIGN: Final = {"LOGLEVEL", "ENALYSIS_PORT"}
# One letter wrong, missing, doubled or swapped in LOG_LEVEL reaches this, DATABASE_USER does not. Names of up
# to five letters resemble too much else, and are compared in `.env` only.
_ALIKE: Final = 0.885
_SHORT: Final = 5
_LONG_NAMES: Final = [name for name in _NAMES if len(name) > _SHORT]
_SHORT_NAMES: Final = [name for name in _NAMES if len(name) <= _SHORT]

_ASSIGNMENT: Final = re.compile(
    r"""(?:export\s+)?(?P<name>[A-Za-z_]\w*)\s*=\s*(?:
        '(?P<single>[^']*)'\s*(?:\#.*)?
        | "(?P<double>(?:[^"\\]|\\.)*)"\s*(?:\#.*)?
        | (?P<bare>(?:[^'"].*)?)
    )""",
    re.VERBOSE | re.ASCII,
)


def load_settings(environ: Mapping[str, str] | None = None, folder: Path | None = None) -> Settings:
    """Return the settings: from the environment, else from `.env`; NAME_FILE names a file that holds NAME.

    `.env` is looked for in the folder, then in ENALYSIS_HOME. Relative paths are seen from the folder.

    Args: environ: None is this process's environment. folder: None is the working folder.
    Raises: ConfigError: names every setting that is missing, malformed, weak, a sample or misspelt, each with
        what to do, and tells no value.
    """
    reader = _Reader(os.environ if environ is None else environ, (folder or Path.cwd()).absolute())
    found = reader.values()
    if reader.problems:
        listed = "\n".join(f"- {problem}." for problem in reader.problems)
        raise ConfigError(f"Enalysis does not start, because of its settings:\n{listed}")
    return Settings(**found)


def write_env(folder: Path) -> Path:
    """Write `.env` with a fresh ENCRYPTION_KEY and CRON_SECRET, for its owner's eyes only; return its path.

    Raises: Refused: there is one already, and it was left as it is. OSError: it cannot be written.
    """
    path = folder / _ENV_FILE
    text = (
        "# Written by `enalysis init`. Keep a copy of ENCRYPTION_KEY apart from the database: nothing that\n"
        "# it sealed can be read without it. The other settings are explained in .env.example.\n"
        f"ENCRYPTION_KEY={base64.urlsafe_b64encode(secrets.token_bytes(KEY_BYTES)).decode()}\n"
        f"CRON_SECRET={secrets.token_urlsafe(KEY_BYTES)}\n"
    )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise Refused(f"{path} is there already and was left as it is; move it away to get a new one.") from None
    try:
        with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 - a descriptor has no path
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        path.unlink()
        raise
    return path


class _Reader:
    """Reads every setting once, and collects what is wrong with any."""

    def __init__(self, environ: Mapping[str, str], folder: Path) -> None:
        self.problems: list[str] = []
        self._folder = folder
        self._environ = {name: text.strip() for name, text in environ.items() if text.strip()}
        self._written = self._env_file()
        self._given: set[str] = set()

    def values(self) -> dict[str, Any]:
        """Return what to build Settings from; with problems it may be incomplete."""
        for source, is_ours in ((self._environ, False), (self._written, True)):
            for name in source:
                if why := _strange(name, is_ours=is_ours):
                    self.problems.append(f"{name} {why}")
        found: dict[str, Any] = {}
        for each in setting_fields():
            value = self._read(each.name.upper(), each.metadata["parse"])
            if value is not None:
                found[each.name] = value
        self._complete(found)
        cards = read_cards(self._read, self._given, found["public_url"])
        found |= {"apps": cards.apps, "vendor_keys": cards.keys}
        self.problems += [*_contradictions(found, self._given), *cards.problems]
        return found

    def _read(self, name: str, parse: Callable[[str], object]) -> object | None:
        """Return what a setting was read as; None where it is unset, or wrong, which is a problem then."""
        try:
            text = self._text(name)
            if text is not None:
                self._given.add(name)
                if not text.isprintable():
                    raise Wrong("holds a sign that cannot be printed, or a second line: remove it")
                refuse_sample(text)
                return parse(text)
            if name == "ENCRYPTION_KEY":
                raise Wrong(f"is not set: {GET_ONE}")
        except Wrong as wrong:
            self.problems.append(f"{name} {wrong}")
        return None

    def _text(self, name: str) -> str | None:
        for source in (self._environ, self._written):
            if name in source and f"{name}_FILE" in source:
                raise Wrong(f"and {name}_FILE are both set: remove one of them")
            if name in source:
                return source[name]
            if f"{name}_FILE" in source:
                return self._content(name, source[f"{name}_FILE"])
        return None

    def _content(self, name: str, named: str) -> str:
        # The path is not told: somebody may have put the secret itself in its place.
        try:
            text = _read(self._folder / Path(named).expanduser())[0].strip()
        except (OSError, ValueError, RuntimeError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else "not a small text file"
            raise Wrong(f"cannot be read from the file that {name}_FILE names: {why.lower()}") from None
        if not text:
            raise Wrong(f"cannot be read from the file that {name}_FILE names: it is empty")
        return text

    def _env_file(self) -> dict[str, str]:
        home = os.path.expanduser(self._environ.get("ENALYSIS_HOME", ".enalysis"))  # noqa: PTH111 - never raises
        for place in (self._folder, self._folder / home):
            path = place / _ENV_FILE
            try:
                text, mode = _read(path)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except (OSError, ValueError):
                self.problems.append(f"{path} cannot be read as a small text file")
                return {}
            found = self._assignments(path, text)
            if mode & 0o077 and any(name.removesuffix("_FILE") in _SECRETS for name in found):
                quoted = shlex.quote(str(path))
                self.problems.append(f"{path} holds secrets and others may read it: run chmod 600 {quoted}")
            return found
        return {}

    def _assignments(self, path: Path, text: str) -> dict[str, str]:
        found: dict[str, str] = {}
        for number, line in enumerate(text.splitlines(), start=1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            match = _ASSIGNMENT.fullmatch(line.strip())
            if match is None:
                # The line is not told: it may hold a secret.
                self.problems.append(f"{path}, line {number}, is not NAME=value")
                continue
            name, value = match["name"], _unquoted(match)
            if name in found:
                self.problems.append(f"{name} stands twice in {path}: remove one of them")
            if value.strip():
                found[name] = value.strip()
        return found

    def _complete(self, found: dict[str, Any]) -> None:
        if "public_url" not in found and "port" in found:
            found["public_url"] = f"http://localhost:{found['port']}"
        defaults: dict[str, Any] = {each.name: each.default for each in setting_fields()}
        found.setdefault("public_url", defaults["public_url"])
        own = urlsplit(found["public_url"]).netloc
        names = (re.sub(r":\d+$", "", own), *defaults["allowed_hosts"], *found.get("allowed_hosts", ()))
        found["allowed_hosts"] = tuple(dict.fromkeys(names))
        found["enalysis_home"] = self._folder / found.get("enalysis_home", defaults["enalysis_home"])
        if found["enalysis_home"].exists() and not found["enalysis_home"].is_dir():
            self.problems.append("ENALYSIS_HOME names something that is not a folder: name one, or a new one")
        if "postgres_bin_dir" in found:
            found["postgres_bin_dir"] = self._folder / found["postgres_bin_dir"]
            if not found["postgres_bin_dir"].is_dir():
                self.problems.append("POSTGRES_BIN_DIR names no folder: correct it, or remove it")
        if len(found.get("cron_secret", "")) in range(1, SHORTEST_CRON_SECRET):
            del found["cron_secret"]
            found["notices"] = (f"CRON_SECRET is too short, so scheduler calls answer 401: {GET_ONE}.",)


def _read(path: Path) -> tuple[str, int]:
    # Asked before it is opened: opening a pipe could wait for ever.
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("not a file")
    with path.open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        raw = file.read(_LARGEST_FILE + 1)
    if len(raw) > _LARGEST_FILE:
        raise ValueError("too large")
    return raw.decode("utf-8-sig"), mode


def _unquoted(match: re.Match[str]) -> str:
    if match["single"] is not None:
        return match["single"]
    if match["double"] is not None:
        return re.sub(r"\\(.)", r"\1", match["double"])
    return re.sub(r"(?:^|\s+)#.*", "", match["bare"])


def _strange(name: str, *, is_ours: bool) -> str | None:
    bare = name.removesuffix("_FILE")
    if bare in _NAMES or (bare in _FOREIGN and not is_ours):
        return None
    for former, advice in _SUCCESSORS.items():
        if bare == former or (former.endswith("_") and bare.startswith(former)):
            return f"is not used here: {advice}"
    spelt = bare.upper()
    plain = spelt.removeprefix("ENALYSIS_")
    if plain in _NAMES and (is_ours or len(spelt) > _SHORT):
        return f"is no setting: {plain} is, in capitals and without a prefix"
    alike = [near for each in (spelt, plain) for near in difflib.get_close_matches(each, _LONG_NAMES, 1, _ALIKE)]
    if is_ours:
        alike += difflib.get_close_matches(spelt, _SHORT_NAMES, 1, _ALIKE)
        alike += [name for name in _SHORT_NAMES if sorted(name) == sorted(spelt)]
    return f"is no setting and looks like {alike[0]}: correct, rename or remove it" if alike else None


def _contradictions(found: Mapping[str, Any], given: set[str]) -> Iterator[str]:
    needed = ("DATABASE_URL", "DATABASE_ENGINE_URL", "DATABASE_JOBS_URL")
    databases = [name for name in _NAMES if name.startswith("DATABASE_") and name in given]
    missing = [name for name in needed if name not in given]
    if databases and missing:
        yield (
            f"{' and '.join(missing)} must be set too, since {' and '.join(databases)} alone cannot run a "
            "database of your own: set all three, or none for the embedded PostgreSQL"
        )
    logins: dict[str, str] = {}
    for name in databases:
        user = urlsplit(found.get(name.lower(), "")).username
        if user and user in logins:
            yield f"{name} and {logins[user]} name the same login: each has its own, so that none can do all"
        elif user:
            logins[user] = name
    public_host = urlsplit(found.get("public_url", "")).hostname or ""
    if "SANDBOX_URL" in given and not found.get("sandbox_allowed") and is_public(public_host):
        yield (
            "SANDBOX_URL is set while PUBLIC_URL is public, where people would take simulated figures for "
            "real: remove SANDBOX_URL, or set SANDBOX_ALLOWED=true"
        )
