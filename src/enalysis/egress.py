"""Makes every outgoing connection; a policy decides who may be called, and judges the address dialled."""

import ipaddress
import re
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NoReturn

import aiohttp
import httpx2
from aiohttp.abc import AbstractResolver, ResolveResult
from httpx_aiohttp.httpx2 import AiohttpTransport

from enalysis.core.errors import EnalysisError

# Sockets of one credential; keep-alive pays inside one poll, not between two.
_CONNECTIONS = 10
_KEEP_ALIVE_S = 15.0

_ORIGIN = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<path>(?:/[A-Za-z0-9._~-]+)*)"
)

# The judgement is made on the packed address: Python's own is_global and is_private are wrong for a dozen of
# these (3.11: 224.0.0.1 and 64:ff9b::7f00:1 are global, 100.64.0.1 is not private). First match decides.
_RANGES: tuple[tuple[str, str], ...] = (
    ("0.0.0.0/8", "unspecified"),
    ("10.0.0.0/8", "private"),
    ("100.64.0.0/10", "carrier"),
    ("127.0.0.0/8", "loopback"),
    ("168.63.129.16/32", "cloud platform"),
    ("169.254.0.0/16", "link-local"),
    ("172.16.0.0/12", "private"),
    ("192.0.0.0/24", "protocol"),
    ("192.0.2.0/24", "documentation"),
    ("192.88.99.0/24", "6to4"),
    ("192.168.0.0/16", "private"),
    ("198.18.0.0/15", "benchmark"),
    ("198.51.100.0/24", "documentation"),
    ("203.0.113.0/24", "documentation"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved"),
    ("::1/128", "loopback"),
    ("::ffff:0:0/96", "IPv4-mapped"),
    ("::/96", "IPv4-compatible"),
    ("64:ff9b::/96", "NAT64"),
    ("64:ff9b:1::/48", "NAT64"),
    ("2001::/32", "Teredo"),
    ("2001::/23", "protocol"),
    ("2001:db8::/32", "documentation"),
    ("2002::/16", "6to4"),
    ("3fff::/20", "documentation"),
    ("fd00:ec2::/32", "cloud platform"),
    ("fd20:ce::/32", "cloud platform"),
    ("fc00::/7", "private"),
    ("fe80::/10", "link-local"),
    ("fec0::/10", "site-local"),
    ("ff00::/8", "multicast"),
    # Of IPv6 only 2000::/3 is given out; what is left around it is nobody's.
    ("::/3", "reserved"),
    ("4000::/2", "reserved"),
    ("8000::/1", "reserved"),
)


def _packed_range(cidr: str, name: str) -> tuple[int, int, int, str]:
    """Return (bytes of an address, bits behind the prefix, the prefix as a number, name)."""
    network = ipaddress.ip_network(cidr)
    behind = network.max_prefixlen - network.prefixlen
    return network.max_prefixlen // 8, behind, int(network.network_address) >> behind, name


_TABLE = tuple(_packed_range(cidr, name) for cidr, name in _RANGES)


def name_range(packed: bytes) -> str | None:
    """Return the name of the special range a packed address (4 or 16 bytes) lies in, None if public."""
    number = int.from_bytes(packed)
    for width, behind, prefix, name in _TABLE:
        if len(packed) == width and number >> behind == prefix:
            return name
    return None


class EgressRefused(EnalysisError):
    """The policy forbids this call; `why` completes "the address is ..." and names no host and no URL."""

    def __init__(self, why: str) -> None:
        super().__init__(f"This server may not call that address: it is {why}.")
        self.why = why


class Fault(StrEnum):
    """How a line to another computer fails."""

    NO_NAME = "no_name"
    NO_CONNECTION = "no_connection"
    UNTRUSTED = "untrusted"
    BROKEN = "broken"
    GARBLED = "garbled"


class LineFault(httpx2.TransportError):
    """The line failed in the way `fault` names; unlike the libraries' own errors it carries no URL."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.value)
        self.fault = fault


class _Barred(PermissionError):
    """What socket and resolver raise; an OSError, because the dialler below knows how to carry those."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Whom one transport may call: exactly this scheme, host and port, at public addresses.

    Attributes:
        permits: names of special ranges that may be dialled all the same.
    """

    scheme: str
    host: str
    port: int
    permits: frozenset[str] = frozenset()

    def judge_url(self, url: httpx2.URL) -> None:
        """Raise EgressRefused unless the URL leads exactly where the policy allows."""
        port = url.port or {"http": 80, "https": 443}.get(url.scheme)
        host = url.raw_host.decode("ascii")
        if (url.scheme, host, port) != (self.scheme, self.host.strip("[]"), self.port) or url.userinfo:
            raise EgressRefused("not the one address this connector may call")

    def judge_address(self, host: str, port: int) -> None:
        """Raise an OSError unless `host` is a literal address that may be dialled on `port`."""
        try:
            packed = socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
        except OSError:
            raise _Barred("not a plain address") from None
        name = name_range(packed)
        if name is not None and name not in self.permits:
            raise _Barred(f"in the {name} range")
        if port != self.port:
            raise _Barred("on a port that is not the connector's")


class _JudgedResolver(AbstractResolver):
    """Asks the system, and refuses the whole answer if one address of it is forbidden."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._system = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return every address of `host`. Raises OSError if there is none or one of them is forbidden."""
        answers = await self._system.resolve(host, port, family)
        if not answers:
            raise socket.gaierror(socket.EAI_NONAME, "no address")
        for answer in answers:
            self._policy.judge_address(answer["host"], answer["port"])
        return answers

    async def close(self) -> None:
        """Close the system's resolver."""
        await self._system.close()


def _name_fault(error: Exception) -> Exception:
    """Return our own error for one of the libraries', which hold URLs and host names."""
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, _Barred):
        return EgressRefused(str(error.os_error))
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return LineFault(Fault.NO_NAME)
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return LineFault(Fault.UNTRUSTED)
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        return LineFault(Fault.NO_CONNECTION)
    if isinstance(error, aiohttp.ClientResponseError | aiohttp.InvalidURL):
        return LineFault(Fault.GARBLED)
    return LineFault(Fault.BROKEN)


async def _send_once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Pass a request on and rename its failure.

    aiohttp sends a GET a second time by itself where a kept connection breaks, unseen by the quota's ledger;
    it does so for its own errors only, so ours end that too.
    """
    try:
        return await handler(request)
    except (aiohttp.ClientError, OSError) as error:
        fault = _name_fault(error)
    # Raised outside of the handler, so that the original is not kept as the context of ours.
    raise fault


class _PlainStream(httpx2.AsyncByteStream):
    """A body in the making whose failures are LineFaults."""

    def __init__(self, inner: httpx2.AsyncByteStream) -> None:
        self._inner = inner
        self._chunks: AsyncIterator[bytes] = aiter(inner)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await anext(self._chunks)
        except (httpx2.TransportError, aiohttp.ClientError, OSError):
            pass
        raise LineFault(Fault.BROKEN)

    async def aclose(self) -> None:
        """Give the connection back, or end it where the body was not read to its end."""
        if isinstance(self._chunks, AsyncGenerator):
            await self._chunks.aclose()
        await self._inner.aclose()


class GuardedTransport(AiohttpTransport):
    """An httpx2 transport over one aiohttp session of its own, which can dial only what its policy allows.

    It keeps no cookies, follows no redirects, and reads no proxies, no netrc and no sockets from the
    environment. Its failures are LineFault and EgressRefused.
    """

    def __init__(self, policy: Policy, context: ssl.SSLContext) -> None:
        super().__init__(verify=context, trust_env=False, client=self._open_session)
        self._policy = policy

    def _open_session(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            ssl=self.ssl_context,
            resolver=_JudgedResolver(self._policy),
            socket_factory=self._open_socket,
            use_dns_cache=False,
            limit=_CONNECTIONS,
            keepalive_timeout=_KEEP_ALIVE_S,
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            middlewares=(_send_once,),
        )

    def _open_socket(self, address: tuple[Any, ...]) -> socket.socket:
        """Make a socket for an address as getaddrinfo tells it, if that may be dialled.

        This is the last look before the call leaves: a literal address never passes the resolver.
        """
        family, kind, protocol, _, target = address
        self._policy.judge_address(target[0], target[1])
        return socket.socket(family, kind, protocol)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request and return the answer's head. Raises LineFault, EgressRefused."""
        self._policy.judge_url(request.url)
        response = await super().handle_async_request(request)
        if not isinstance(response.stream, httpx2.AsyncByteStream):
            raise TypeError("the transport below answers with another kind of stream")
        response.stream = _PlainStream(response.stream)
        return response


def _read_authorities() -> ssl.SSLContext:
    """Return a context that trusts whom the system trusts, or SSL_CERT_FILE where that is set."""
    context = httpx2.create_ssl_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _refuse(why: str) -> NoReturn:
    raise EgressRefused(why)


class Egress:
    """Gives out transports; `sandbox_origin` is the one origin that may be http, on any port and local."""

    def __init__(self, sandbox_origin: str | None = None) -> None:
        self._sandbox = None if sandbox_origin is None else self._read_origin(sandbox_origin.rstrip("/"))
        # Reading the authorities takes tens of milliseconds, which no call should wait for.
        self._context = None if self._sandbox else _read_authorities()

    @staticmethod
    def _read_origin(origin: str) -> tuple[str, str, int]:
        match = _ORIGIN.fullmatch(origin)
        if match is None:
            _refuse("not written as a web address")
        port = int(match["port"] or {"http": 80, "https": 443}[match["scheme"]])
        return match["scheme"], match["host"], port

    def policy(self, origin: str) -> Policy:
        """Return what may be called under an origin (scheme, host, path prefix; no slash at the end).

        Raises: EgressRefused: it is not https on port 443 of a named host, nor the sandbox.
        """
        scheme, host, port = self._read_origin(origin)
        if (scheme, host, port) == self._sandbox:
            return Policy(scheme, host, port, frozenset({"loopback", "private"}))
        if scheme != "https":
            _refuse("not https")
        if port != 443:  # noqa: PLR2004 - the port of https, and the only one a vendor may use
            _refuse("not on port 443")
        if not host.rpartition(".")[2][:1].isalpha():
            _refuse("a number, not a name")
        return Policy(scheme, host, port)

    def transport(self, origin: str) -> httpx2.AsyncBaseTransport:
        """Return a new transport that can call this origin and nothing else; the caller closes it.

        Raises: EgressRefused: as `policy`.
        """
        policy = self.policy(origin)
        if policy.scheme == "http":
            # It is never asked, trusts nobody, and costs nothing.
            return GuardedTransport(policy, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        self._context = self._context or _read_authorities()
        return GuardedTransport(policy, self._context)
