"""Where this server is reached: its origin, the hosts it answers to, what that means for cookies. Pure."""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_DEFAULT_PORTS = {"http": 80, "https": 443}
_LAST_PORT = 65535


@dataclass(frozen=True, slots=True)
class Address:
    """The public address.

    Attributes:
        scheme: http or https. host: lower case, without port. port: as written or the scheme's own.
        hosts: every host name a request may carry, lower case, without ports.
    """

    scheme: str
    host: str
    port: int
    hosts: frozenset[str]

    @property
    def origin(self) -> str:
        """Return scheme, host and port as a browser writes them in the Origin header."""
        return origin_of(self.scheme, self.host, self.port)

    @property
    def https(self) -> bool:
        """Tell whether browsers reach us encrypted."""
        return self.scheme == "https"

    @property
    def sealed(self) -> bool:
        """Tell whether browsers keep Secure cookies for us: over https, and over http on loopback."""
        return self.https or is_loopback(self.host)

    def admits(self, host_header: str) -> bool:
        """Tell whether a request with this Host header is meant for us."""
        host = host_of(host_header)
        return host is not None and host in self.hosts

    def same_origin(self, origin: str, host_header: str) -> bool:
        """Tell whether a request with these Origin and Host headers was sent by a page of ours.

        Our public origin is; and, for hosts on the allow-list, the very host the request went to.
        """
        if origin == self.origin:
            return True
        host = host_of(host_header)
        if host is None or host not in self.hosts:
            return False
        schemes = {self.scheme, "http"} if is_loopback(host) else {self.scheme}
        return any(origin == f"{scheme}://{host_header.lower()}" for scheme in schemes)


def address_of(public_url: str, more_hosts: Iterable[str] = ()) -> Address:
    """Read a public address; loopback names are always answered to. Raises ValueError where it is none."""
    parts = urlsplit(public_url)
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        msg = "the public address must begin with http:// or https:// and name a host"
        raise ValueError(msg)
    hosts = frozenset({parts.hostname.lower(), *_LOOPBACK_NAMES, *(h.lower().strip("[]") for h in more_hosts)})
    port = parts.port or _DEFAULT_PORTS[parts.scheme]
    return Address(parts.scheme, parts.hostname.lower(), port, hosts)


def origin_of(scheme: str, host: str, port: int) -> str:
    """Write an origin; the scheme's own port is left out, IPv6 addresses stand in brackets."""
    name = f"[{host}]" if ":" in host else host
    return f"{scheme}://{name}" if port == _DEFAULT_PORTS.get(scheme) else f"{scheme}://{name}:{port}"


def host_of(header: str) -> str | None:
    """Return the host of a Host header in lower case, without its port; None where it is malformed."""
    if not header or any(c in header for c in "/\\@?#, \t") or not header.isascii():
        return None
    try:
        parts = urlsplit(f"//{header}")
        port = parts.port
    except ValueError:
        return None
    if not parts.hostname or (port is not None and not 0 < port <= _LAST_PORT):
        return None
    return parts.hostname.lower()


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine itself."""
    if host in _LOOPBACK_NAMES or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def local_path(target: str | None) -> str:
    """Return a path of ours to go on to, or "/" for anything that could lead elsewhere (BAR A4)."""
    if not target or not target.startswith("/") or target.startswith(("//", "/\\")):
        return "/"
    if not target.isascii() or not target.isprintable() or "\\" in target or " " in target:
        return "/"
    parts = urlsplit(target)
    return "/" if parts.scheme or parts.netloc else target
