"""Which hosts we answer to, which origins are ours, and where a sign-in may lead."""

import pytest

from enalysis.web.address import Address, address_of, host_of, local_path

PUBLIC = address_of("https://energy.example.org")
HOME = address_of("http://localhost:3000", ("localhost", "127.0.0.1", "[::1]", "pi.lan"))
LAN = address_of("http://192.168.1.5:3000")


@pytest.mark.parametrize(
    ("header", "host"),
    [
        ("Energy.Example.org", "energy.example.org"),
        ("energy.example.org:443", "energy.example.org"),
        ("[::1]:3000", "::1"),
        ("", None),
        ("a b", None),
        ("energy.example.org@evil.example", None),
        ("energy.example.org/..", None),
        ("energy.example.org:0", None),
        ("energy.example.org:99999", None),
        ("energy.example.org:http", None),
        ("evil.example#energy.example.org", None),
        ("[::1", None),
        ("пример.org", None),
    ],
)
def test_hosts_are_read_strictly(header: str, host: str | None) -> None:
    assert host_of(header) == host


@pytest.mark.parametrize(
    ("header", "welcome"),
    [
        ("energy.example.org", True),
        ("localhost:3000", True),
        ("[::1]", True),
        ("evil.example", False),
        ("energy.example.org.evil.example", False),
        ("energy.example.org.", False),
        ("127.0.0.2", False),
    ],
)
def test_only_listed_hosts_are_answered(header: str, *, welcome: bool) -> None:
    assert PUBLIC.admits(header) is welcome


@pytest.mark.parametrize(
    ("address", "origin", "host", "ours"),
    [
        (PUBLIC, "https://energy.example.org", "energy.example.org", True),
        # A proxy may rewrite the Host; the browser's Origin tells the truth.
        (PUBLIC, "https://energy.example.org", "127.0.0.1:3000", True),
        (PUBLIC, "http://energy.example.org", "energy.example.org", False),
        (PUBLIC, "https://energy.example.org:8443", "energy.example.org", False),
        (PUBLIC, "https://evil.example", "energy.example.org", False),
        (PUBLIC, "https://evil.example", "evil.example", False),
        (PUBLIC, "null", "energy.example.org", False),
        (PUBLIC, "http://localhost:3000", "localhost:3000", True),
        (HOME, "http://127.0.0.1:3000", "127.0.0.1:3000", True),
        (HOME, "http://pi.lan:3000", "pi.lan:3000", True),
        (HOME, "http://localhost:8000", "localhost:3000", False),
        (HOME, "http://127.0.0.1:3000", "localhost:9999", False),
        (LAN, "http://192.168.1.5:3000", "192.168.1.5:3000", True),
    ],
)
def test_origins(address: Address, origin: str, host: str, *, ours: bool) -> None:
    assert address.same_origin(origin, host) is ours


def test_cookies_are_sealed_where_browsers_keep_them() -> None:
    assert [a.sealed for a in (PUBLIC, HOME, LAN)] == [True, True, False]
    assert [a.https for a in (PUBLIC, HOME, LAN)] == [True, False, False]
    assert address_of("http://[::1]:3000").origin == "http://[::1]:3000"


@pytest.mark.parametrize("url", ["ftp://x", "energy.example.org", "https://", "//x"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="public address"):
        address_of(url)


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/sites/1?day=2026-06-02", "/sites/1?day=2026-06-02"),
        ("/", "/"),
        (None, "/"),
        ("", "/"),
        ("https://evil.example", "/"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("/a\\b", "/"),
        ("/\t/evil.example", "/"),
        ("\t//evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("/a\r\nSet-Cookie: x=1", "/"),
        ("sites", "/"),
        ("/ evil", "/"),
    ],
)
def test_a_sign_in_leads_to_a_path_of_ours_only(target: str | None, path: str) -> None:
    assert local_path(target) == path
