"""Says what a written value means, or why it is refused: addresses, numbers, choices, keys."""

import base64
import ipaddress
import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

KEY_BYTES: Final = 32
SHORTEST_CRON_SECRET: Final = 24
"""Characters: what 128 random bits need in base64. A shorter one is no reason to stop, but opens nothing."""

GET_ONE: Final = "`enalysis init` writes a good one"

_PRIVATE_NAMES: Final = (".home", ".home.arpa", ".internal", ".lan", ".local", ".localhost", ".test")
_HOST_NAME: Final = r"[a-z0-9_](?:[a-z0-9._-]*[a-z0-9])?"
_DATABASE: Final = re.compile(r"postgres(?:ql)?://(?:[^\s@/?#]*@)?(?P<hosts>[^\s@/?#]*)(?:/[^\s/?#]*)?(?:\?[^\s#]*)?")
_YES: Final = {"true", "1", "yes", "on"}
_NO: Final = {"false", "0", "no", "off"}

_FILL_IN: Final = r"|generate[_ -].*|(?:change|replace)[_ -]?(?:me|this|it|with)(?![a-z]).*|<.*>|\$\{.*|\{\{.*|x{4,}"
_SAMPLE: Final = re.compile(r"your[_ -].*" + _FILL_IN, re.IGNORECASE)
# A company may begin its name with "your", so a part of an address has to say more than that.
_SAMPLE_PART: Final = re.compile(
    r"your[_-].*[_-]here|your[_-](?:app|company|database|db|domain|host|name|password|project|secret|server|site"
    r"|url|user(?:name)?)(?:[._-].*)?" + _FILL_IN,
    re.IGNORECASE,
)
# Printed in public: the AES-256 keys of NIST SP 800-38A and of the GCM submission, and the Fernet
# specification's.
_PUBLISHED_KEYS: Final = {
    bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4"),
    bytes.fromhex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308"),
    base64.urlsafe_b64decode("cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4="),
}
# By chance, fewer different bytes or fewer different steps between them come less than once in 10^9 keys.
_FEWEST_BYTES: Final = 20
_FEWEST_STEPS: Final = 16


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as the documentation tells it; `default` is in words."""

    name: str
    meaning: str
    default: str
    secret: bool


class Wrong(Exception):
    """What is wrong with a value and what to do: ends a sentence that begins with the setting's name."""


def refuse_sample(text: str) -> None:
    """Raise Wrong if the text, or a part of it as an address, was copied from an example."""
    parts = re.split(r"[\s:/@?&=,]+", text) if "://" in text else []
    if _SAMPLE.fullmatch(text) or any(map(_SAMPLE_PART.fullmatch, parts)):
        raise Wrong("is still a sample value: put your own in its place")


def parse_database(text: str) -> str:
    """Return the address of a PostgreSQL database as libpq reads it."""
    match = _DATABASE.fullmatch(text)
    good = match is not None and all(map(_is_host_and_port, match["hosts"].split(",")))
    try:
        urlsplit(text)
    except ValueError:
        good = False
    if not good or re.search(r"%(?![0-9a-fA-F]{2})", text):
        raise Wrong(
            "is not the address of a PostgreSQL database: write postgresql://user:password@host:5432/name "
            "and percent-encode special characters of the password"
        )
    return text


def _is_host_and_port(text: str) -> bool:
    match = re.fullmatch(r"(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_.-]*)(?::(?P<port>[0-9]{1,5}))?", text)
    return match is not None and (match["port"] is None or 0 < int(match["port"]) <= 65_535)  # noqa: PLR2004 - TCP


def parse_origin(text: str) -> str:
    """Return scheme, host and port of an address, in small letters, without the scheme's own port."""
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
        is_ipv6 = ":" in host and ipaddress.ip_address(host) is not None
    except ValueError:
        raise Wrong("is not an address: write it like https://energy.example.org") from None
    if parts.scheme not in {"http", "https"}:
        raise Wrong("must begin with http:// or https://")
    if not is_ipv6 and not re.fullmatch(_HOST_NAME, host):
        raise Wrong("must name a host in plain letters and digits, a foreign script in its xn-- form")
    if parts.path not in {"", "/"} or parts.query or parts.fragment or "@" in parts.netloc:
        raise Wrong("must end after host and port: no path, no query and no user name")
    if port == 0 or host in {"0.0.0.0", "::"}:  # noqa: S104 - compared with, not listened on
        raise Wrong("must be an address that can be called: 0 stands for any")
    implied = port in {None, {"http": 80, "https": 443}[parts.scheme]}
    return f"{parts.scheme}://{f'[{host}]' if is_ipv6 else host}{'' if implied else f':{port}'}"


def parse_host(text: str) -> str:
    """Return an IP address to listen on, or localhost."""
    if text != "localhost":
        try:
            ipaddress.ip_address(text)
        except ValueError:
            raise Wrong("must be an IP address to listen on, such as 127.0.0.1, 0.0.0.0 or ::") from None
    return text


def parse_hosts(text: str) -> tuple[str, ...]:
    """Return host names that were written with commas between them."""
    names = tuple(name.strip().lower() for name in text.split(",") if name.strip())
    if not all(re.fullmatch(rf"\[[0-9a-f:.]+\]|{_HOST_NAME}", name) for name in names):
        raise Wrong("must be host names with commas between them, without http://, ports or *")
    return names


def whole_number(least: int, most: int) -> Callable[[str], int]:
    """Return a parser of whole numbers within bounds."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or not least <= int(text) <= most:
            raise Wrong(f"must be a whole number from {least} to {most}")
        return int(text)

    return parse


def choice(*words: str) -> Callable[[str], str]:
    """Return a parser that takes one of these words, in any case."""

    def parse(text: str) -> str:
        if text.lower() not in words:
            several = f"{', '.join(words[:-1])} or " if len(words) > 1 else ""
            raise Wrong(f"must be {several}{words[-1]}")
        return text.lower()

    return parse


def parse_yes_or_no(text: str) -> bool:
    """Return whether the text says yes."""
    if text.lower() not in _YES | _NO:
        raise Wrong("must be true or false")
    return text.lower() in _YES


def parse_folder(text: str) -> Path:
    """Return a path, with ~ made the home folder; whether it is there is seen where it is used."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise Wrong("begins with ~, and there is no such home folder: write the whole path") from None


def parse_bearer(text: str) -> str:
    """Return a secret that fits a header and is more than one sign repeated."""
    if not re.fullmatch(r"[!-~]+", text):
        raise Wrong(f"must be plain letters, digits and signs without spaces: {GET_ONE}")
    if len(set(text)) == 1 and len(text) >= SHORTEST_CRON_SECRET:
        raise Wrong(f"is one sign repeated: {GET_ONE}")
    return text


def parse_key(text: str) -> bytes:
    """Return the 32 bytes of a key written in base64, base64url or hex."""
    try:
        if re.fullmatch(r"(?:[0-9a-fA-F]{2})+", text):
            key = bytes.fromhex(text)
        else:
            coded = text.translate(str.maketrans("-_", "+/")).rstrip("=")
            key = base64.b64decode(coded + "=" * (-len(coded) % 4), validate=True)
    except ValueError:
        raise Wrong(f"is neither base64 nor hex: {GET_ONE}") from None
    if len(key) != KEY_BYTES:
        size = "short" if len(key) < KEY_BYTES else "long"
        raise Wrong(f"is too {size}: it holds {len(key)} bytes and must hold {KEY_BYTES} random ones; {GET_ONE}")
    if key in _PUBLISHED_KEYS:
        raise Wrong(f"is printed in public documents, where everybody finds it: {GET_ONE}")
    if _is_no_accident(key, text):
        raise Wrong(f"is not random: it has a pattern or was made of words; {GET_ONE}")
    return key


def _is_no_accident(key: bytes, text: str) -> bool:
    steps = {(after - before) % 256 for before, after in itertools.pairwise(key)}
    typed = key.isascii() and key.decode("ascii").isprintable()
    # 43 random letters of base64 are never all small or all capital; hex has 64 and may be.
    one_case = len(text) < 2 * KEY_BYTES and text in {text.lower(), text.upper()}
    return len(set(key)) < _FEWEST_BYTES or len(steps) < _FEWEST_STEPS or typed or one_case


def is_loopback(host: str) -> bool:
    """Whether a host name or IP address means this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def is_public(host: str) -> bool:
    """Whether the internet may reach a host name or IP address, as far as the name tells; in doubt it may."""
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return "." in host and not host.endswith(_PRIVATE_NAMES)
