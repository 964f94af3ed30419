"""Proves that nothing forbidden is ever dialled, however it is spelled and whatever a name leads to."""

import asyncio
import ipaddress
import socket
import ssl

import aiohttp
import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enalysis.egress import Egress, EgressRefused, Fault, GuardedTransport, LineFault, Policy, name_range
from tests.addresses import FORBIDDEN, LOCAL, PUBLIC
from tests.vendor import Vendor, answer

# Where no tunnel leads anywhere, a call that nobody forbids takes seconds to fail.
TUNNELS = ("[::127", "[64:", "[200")
NAME = "api.acme.example"
LOOK_UP = socket.getaddrinfo


def pack(host: str) -> bytes:
    """Return an address as the kernel holds it."""
    return ipaddress.ip_address(host).packed


@pytest.mark.parametrize("host", FORBIDDEN)
def test_a_special_range_is_known(host: str) -> None:
    assert name_range(pack(host)) is not None


@pytest.mark.parametrize("host", PUBLIC)
def test_a_public_address_passes(host: str) -> None:
    assert name_range(pack(host)) is None
    Policy("https", NAME, 443).judge_address(host, 443)


@given(number=st.integers(0, 2**32 - 1) | st.integers(0, 2**128 - 1))
def test_nothing_passes_that_the_standard_library_calls_private(number: int) -> None:
    address = ipaddress.ip_address(number)
    if name_range(address.packed) is None:
        assert address.is_global
        assert not address.is_private
        assert not address.is_multicast


async def dial(transport: httpx2.AsyncBaseTransport, url: str) -> int | Exception:
    """Ask once; return the status or the error."""
    try:
        response = await transport.handle_async_request(httpx2.Request("GET", url))
    except (EgressRefused, LineFault, httpx2.InvalidURL) as error:
        return error
    else:
        await response.aclose()
        return response.status_code
    finally:
        await transport.aclose()


@pytest.fixture(scope="module")
def cloud() -> Egress:
    """Return the egress of a server without a sandbox."""
    return Egress()


def look_up_here(host: str, port: int, family: int = 0, kind: int = 0, protocol: int = 0, flags: int = 0) -> object:
    """Ask the system as ever, but for names it can tell by itself: no name server is asked in a test."""
    numeric = 0 if "localhost" in host.lower() else socket.AI_NUMERICHOST
    return LOOK_UP(host, port, family, kind, protocol, flags | numeric)


async def test_no_spelling_of_this_computer_is_dialled(monkeypatch: pytest.MonkeyPatch, cloud: Egress) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", look_up_here)
    async with Vendor(answer()) as trap:
        for host in LOCAL:
            for origin in (f"https://{host}", f"http://{host}:{trap.port}", f"https://{host}:{trap.port}"):
                try:
                    transport = cloud.transport(origin)
                except EgressRefused:
                    continue
                assert host in {"localhost", "ip6-localhost"}, origin
                assert isinstance(await dial(transport, origin), EgressRefused | LineFault), origin
            for policy, url in talked_into(host, trap.port):
                nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                end = await dial(GuardedTransport(policy, nobody), url)
                assert isinstance(end, EgressRefused | LineFault), url
        assert trap.connects == 0
        assert len(LOCAL) + len(FORBIDDEN) >= 60
        # The trap does see what plain sockets and the system's resolver let through.
        near = [host for host in LOCAL if not host.startswith(TUNNELS)]
        caught = [host for host in near if await is_reached(host, trap.port)]
        assert trap.connects == len(caught) >= 15, caught


def talked_into(host: str, port: int) -> list[tuple[Policy, str]]:
    """Return policies that let this spelling pass as a host, so that the layers behind must refuse it."""
    url = f"http://{host}:{port}/"
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL:
        return []
    return [(Policy("http", name, port), url) for name in {host, parsed.host, parsed.raw_host.decode()}]


async def is_reached(host: str, port: int) -> bool:
    """Whether an unguarded caller reaches the trap."""
    try:
        _, writer = await asyncio.open_connection(host.strip("[]"), port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


class Names:
    """Answers each look-up with the next list of addresses; the last stays."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    def __call__(self, *question: object) -> list[tuple[object, ...]]:
        """Take the place of socket.getaddrinfo."""
        port = question[1]
        found = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (answer, port, 0, 0))
            if ":" in answer
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (answer, port))
            for answer in found
        ]


@pytest.fixture
def dialled(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Write down every address a socket is made for, through the door that makes them."""
    addresses: list[object] = []
    make = GuardedTransport._open_socket

    def note(self: GuardedTransport, address: tuple[object, ...]) -> socket.socket:
        line = make(self, address)
        addresses.append(address[4])
        return line

    monkeypatch.setattr(GuardedTransport, "_open_socket", note)
    return addresses


async def test_one_forbidden_answer_spoils_a_name(
    monkeypatch: pytest.MonkeyPatch, dialled: list[object], cloud: Egress
) -> None:
    for host in (*FORBIDDEN, "127.0.0.1"):
        for answers in ([host], ["8.8.8.8", host], [host, "2606:4700:4700::1111"]):
            names = Names(answers)
            monkeypatch.setattr(socket, "getaddrinfo", names)
            end = await dial(cloud.transport(f"https://{NAME}"), f"https://{NAME}/")
            assert isinstance(end, EgressRefused), answers
            assert (names.asked, dialled) == (1, []), answers
            assert host not in str(end)
            assert end.__context__ is None


async def test_a_name_that_flips_is_judged_each_time_and_dialled_as_judged(
    monkeypatch: pytest.MonkeyPatch, dialled: list[object]
) -> None:
    async with Vendor(answer(), answer()) as vendor:
        origin = f"http://sandbox.example:{vendor.port}"
        names = Names(["127.0.0.1"], ["169.254.169.254"], ["127.0.0.1", "168.63.129.16"], [])
        monkeypatch.setattr(socket, "getaddrinfo", names)
        egress = Egress(origin)
        ends = [await dial(egress.transport(origin), f"{origin}/{number}") for number in range(4)]
        assert ends[0] == 200
        assert [type(end) for end in ends[1:]] == [EgressRefused, EgressRefused, LineFault]
        assert isinstance(ends[3], LineFault)
        assert ends[3].fault is Fault.NO_NAME
        # Looked up once for each call: what was judged is what was dialled.
        assert names.asked == 4
        assert dialled == [("127.0.0.1", vendor.port)]
        assert vendor.connects == 1


async def test_the_sandbox_is_one_origin_and_no_other() -> None:
    async with Vendor(answer()) as sandbox, Vendor(answer()) as other:
        egress = Egress(sandbox.origin + "/")
        assert await dial(egress.transport(sandbox.origin + "/v2"), sandbox.origin + "/v2/sites") == 200
        for origin in (
            other.origin,
            sandbox.origin.replace("http:", "https:"),
            sandbox.origin.replace("127.0.0.1", "localhost"),
            sandbox.origin.replace("127.0.0.1", "127.0.0.2"),
        ):
            with pytest.raises(EgressRefused):
                egress.transport(origin)
            end = await dial(egress.transport(sandbox.origin), f"{origin}/")
            assert isinstance(end, EgressRefused), origin
        assert (sandbox.connects, other.connects) == (1, 0)


@pytest.mark.parametrize("host", ["169.254.169.254", "168.63.129.16", "fd00:ec2::254", "0.0.0.1", "224.0.0.1"])
def test_the_sandbox_may_not_be_the_platforms_own_services(host: str) -> None:
    written = f"[{host}]" if ":" in host else host
    origin = f"http://{written}:8080"
    with pytest.raises(OSError, match="range"):
        Egress(origin).policy(origin).judge_address(host, 8080)
    for fine in ("127.0.0.1", "10.1.2.3", "fd12::1"):
        Egress(origin).policy(origin).judge_address(fine, 8080)


@pytest.mark.parametrize(
    "origin",
    [
        "http://api.acme.example",
        "https://api.acme.example:8443",
        "https://api.acme.example/",
        "https://API.acme.example",
        "https://api.acme.example/a/../b?c",
        "https://user:password@api.acme.example",
        "https://8.8.8.8",
        "https://[2606:4700:4700::1111]",
        "https://1.1",
        "https://0x8.8",
        "ftp://api.acme.example",
        "file:///etc/passwd",
        "http+unix://%2Frun%2Fdocker.sock",
        "unix:///run/docker.sock",
        "//api.acme.example",
        "",
        "https://",
        "https://api.acme.example\n",
    ],
)
def test_an_origin_that_is_no_vendors_is_refused(origin: str) -> None:
    with pytest.raises(EgressRefused):
        Egress().transport(origin)


@pytest.mark.parametrize(
    "url",
    [
        f"http://{NAME}/",
        f"https://{NAME}:444/",
        f"https://www.{NAME}/",
        f"https://{NAME}./",
        f"https://{NAME}.evil.example/",
        f"https://key@{NAME}/",
        f"https://evil.example/{NAME}",
        "https://127.0.0.1/",
        "ws://127.0.0.1/",
        "/relative",
    ],
)
async def test_a_transport_leads_nowhere_else(dialled: list[object], cloud: Egress, url: str) -> None:
    assert isinstance(await dial(cloud.transport(f"https://{NAME}"), url), EgressRefused)
    assert dialled == []


def test_a_spelling_in_capitals_is_the_same_host() -> None:
    Policy("https", NAME, 443).judge_url(httpx2.URL(f"HTTPS://{NAME.upper()}:443/"))


def test_an_address_is_judged_with_its_port_and_only_when_it_is_one() -> None:
    policy = Policy("https", NAME, 443)
    for host, port in (("8.8.8.8", 80), (NAME, 443), ("fe80::1%lo", 443), ("8.8.8.8\x00", 443), ("", 443)):
        with pytest.raises((OSError, ValueError)):
            policy.judge_address(host, port)


async def test_closing_twice_or_before_the_first_call_is_fine() -> None:
    transport = Egress().transport(f"https://{NAME}")
    await transport.aclose()
    await transport.aclose()


async def test_no_session_is_shared_and_none_keeps_cookies() -> None:
    async with Vendor(answer()) as vendor:
        egress = Egress(vendor.origin)
        one, two = egress.transport(vendor.origin), egress.transport(vendor.origin)
        for transport in (one, two):
            await transport.handle_async_request(httpx2.Request("GET", vendor.origin))
        assert isinstance(one, GuardedTransport)
        assert isinstance(two, GuardedTransport)
        assert isinstance(one.client, aiohttp.ClientSession)
        assert isinstance(two.client, aiohttp.ClientSession)
        assert one.client is not two.client
        assert one.client.connector is not two.client.connector
        assert isinstance(one.client.cookie_jar, aiohttp.DummyCookieJar)
        assert not one.client.trust_env
        await one.aclose()
        await two.aclose()
