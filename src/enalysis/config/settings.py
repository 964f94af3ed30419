"""Lists every setting: its meaning, its default, how it is read, and whether it is a secret."""

import base64
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from enalysis.actions.vendors import OperatorApp
from enalysis.config import apps, values
from enalysis.config.values import Setting


def _read_by(parse: Callable[[str], object], meaning: str, default: str = "") -> dict[str, Any]:
    """Return what a field tells about its setting; `default` in words where its value says too little."""
    return {"parse": parse, "meaning": meaning, "default": default}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every setting, checked; a field's name in capitals is the name of its environment variable.

    `apps` and `vendor_keys`, by vendor, come from the settings that the connectors' cards bring.

    A secret has `repr=False`. `allowed_hosts` holds every name this server answers to, the derived ones too.
    `cron_secret` is None where it is unfit for use. `notices` are sentences for the log about what is allowed
    and still worth a word.
    """

    encryption_key: bytes = field(
        repr=False,
        metadata=_read_by(
            values.parse_key,
            "The operator's key, which seals every credential: 32 random bytes in base64 or hex. Keep a copy "
            "apart from the database, for nothing sealed can be read without it.",
            "none: it is required",
        ),
    )
    cron_secret: str | None = field(
        default=None,
        repr=False,
        metadata=_read_by(
            values.parse_bearer,
            "What an external scheduler sends as `Authorization: Bearer` to start collecting. Every such "
            f"call answers 401 while this is unset or shorter than {values.SHORTEST_CRON_SECRET} characters.",
        ),
    )
    public_url: str = field(
        default="http://localhost:3000",
        metadata=_read_by(
            values.parse_origin,
            "The address at which browsers reach this server; vendors' sign-in pages send people back to it.",
            "`http://localhost:3000`, with PORT's number where that differs",
        ),
    )
    host: str = field(
        default="127.0.0.1",
        metadata=_read_by(values.parse_host, "The IP address to listen on; `0.0.0.0` means every interface."),
    )
    port: int = field(default=3000, metadata=_read_by(values.whole_number(1, 65_535), "The TCP port to listen on."))
    allowed_hosts: tuple[str, ...] = field(
        default=("localhost", "127.0.0.1", "[::1]"),
        metadata=_read_by(
            values.parse_hosts,
            "Further host names to answer to, with commas between them.",
            "the host of PUBLIC_URL, localhost, 127.0.0.1 and [::1], which always count",
        ),
    )
    enalysis_home: Path = field(
        default=Path(".enalysis"),
        metadata=_read_by(
            values.parse_folder,
            "The data folder: it holds the embedded PostgreSQL, and `.env` if the working folder has none.",
            "`.enalysis` in the working folder",
        ),
    )
    database_url: str | None = field(
        default=None,
        repr=False,
        metadata=_read_by(
            values.parse_database,
            "The app's login to a PostgreSQL of your own; it sees one organization at a time.",
            "unset: the embedded PostgreSQL",
        ),
    )
    database_engine_url: str | None = field(
        default=None,
        repr=False,
        metadata=_read_by(
            values.parse_database,
            "The planner's login to the same database. Required with DATABASE_URL.",
        ),
    )
    database_jobs_url: str | None = field(
        default=None,
        repr=False,
        metadata=_read_by(
            values.parse_database,
            "The job queue's login to the same database. Required with DATABASE_URL.",
        ),
    )
    database_owner_url: str | None = field(
        default=None,
        repr=False,
        metadata=_read_by(
            values.parse_database,
            "The owner's login to the same database, which migrates it and creates the other logins. Needed "
            "for nothing else.",
        ),
    )
    postgres_bin_dir: Path | None = field(
        default=None,
        metadata=_read_by(
            values.parse_folder,
            "The PostgreSQL installation to run as the embedded one, version 15 or newer.",
            "unset: the first that is found",
        ),
    )
    worker_concurrency: int = field(
        default=10,
        metadata=_read_by(values.whole_number(1, 256), "How many jobs one worker runs at the same time."),
    )
    sandbox_url: str | None = field(
        default=None,
        metadata=_read_by(
            values.parse_origin,
            "Where simulated vendors answer in place of the real ones; what they tell is marked as sandbox.",
        ),
    )
    sandbox_allowed: bool = field(
        default=False,
        metadata=_read_by(
            values.parse_yes_or_no,
            "Whether vendors may be simulated although PUBLIC_URL is public: all of them by SANDBOX_URL, or those "
            "of connections that wait for a vendor's approval.",
            "`false`",
        ),
    )
    log_level: str = field(
        default="info",
        metadata=_read_by(
            values.choice("debug", "info", "warning", "error"),
            "The least important lines to log: `debug`, `info`, `warning` or `error`.",
        ),
    )
    log_format: str = field(
        default="text",
        metadata=_read_by(
            values.choice("text", "json"),
            "How lines are written: `text` for people, or `json` for one object a line.",
        ),
    )
    apps: Mapping[str, OperatorApp] = field(default_factory=dict)
    vendor_keys: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)
    notices: tuple[str, ...] = ()

    @property
    def is_public(self) -> bool:
        """Whether PUBLIC_URL names a host that the internet may reach, as far as its name tells."""
        return values.is_public(urlsplit(self.public_url).hostname or "")

    @property
    def has_secure_origin(self) -> bool:
        """Whether browsers keep the Secure cookies of PUBLIC_URL: it is https, or this machine."""
        host = urlsplit(self.public_url).hostname or ""
        return self.public_url.startswith("https:") or values.is_loopback(host)

    def database_urls(self) -> dict[str, str]:
        """Return the database addresses that are set, by the name of their setting."""
        urls = {
            "DATABASE_URL": self.database_url,
            "DATABASE_ENGINE_URL": self.database_engine_url,
            "DATABASE_JOBS_URL": self.database_jobs_url,
            "DATABASE_OWNER_URL": self.database_owner_url,
        }
        return {name: url for name, url in urls.items() if url}

    def secret_values(self) -> Iterator[str]:
        """Yield every secret in the settings, in the forms in which somebody might print it."""
        yield base64.b64encode(self.encryption_key).decode().rstrip("=")
        yield base64.urlsafe_b64encode(self.encryption_key).decode().rstrip("=")
        yield self.encryption_key.hex()
        yield self.encryption_key.hex().upper()
        if self.cron_secret:
            yield self.cron_secret
        for url in self.database_urls().values():
            if password := urlsplit(url).password:
                yield password
                yield unquote(password)
        yield from apps.secrets_of(self.apps, self.vendor_keys)


def setting_fields() -> list[Field[Any]]:
    """Return the fields of Settings that are settings, in the order in which they are documented."""
    return [each for each in fields(Settings) if "parse" in each.metadata]


def settings_table() -> list[Setting]:
    """Return every setting, in the order in which they are documented."""
    own = [
        Setting(
            name=each.name.upper(),
            meaning=each.metadata["meaning"],
            default=each.metadata["default"] or ("unset" if each.default is None else f"`{each.default}`"),
            secret=not each.repr,
        )
        for each in setting_fields()
    ]
    return [*own, *apps.card_settings()]
