"""The simulated vendors that a runtime starts by itself: when, where, for whom, and until when."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from enalysis.core.errors import EnalysisError
from enalysis.egress import Egress, EgressRefused
from enalysis.sandbox import Child, Simulators, _plain_environment, simulators_of
from tests.settings import load


def test_the_egress_of_simulated_connections_is_one_port_of_this_machine() -> None:
    """They reach their simulators and nothing beside them, and what is real reaches nothing here."""
    origin = "http://127.0.0.1:8701"
    parts = urlsplit(origin)
    assert parts.port is not None
    policy = Egress(origin).policy(f"{origin}/anyone/api")
    assert (policy.host, policy.port) == ("127.0.0.1", parts.port)
    policy.judge_address("127.0.0.1", parts.port)
    with pytest.raises(PermissionError):
        policy.judge_address("127.0.0.1", parts.port + 1)
    with pytest.raises(PermissionError):
        policy.judge_address("169.254.169.254", parts.port)
    for other in (f"http://127.0.0.1:{parts.port + 1}", f"http://localhost:{parts.port}", "http://127.0.0.1"):
        with pytest.raises(EgressRefused):
            Egress(origin).policy(other)
    with pytest.raises(EgressRefused):
        Egress(None).policy(origin)


async def test_a_child_that_does_not_start_is_told_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no such program there is no origin, and the next who asks tries again."""
    monkeypatch.setattr("sys.executable", "/bin/false")
    made = Simulators(None)
    with pytest.raises(EnalysisError, match="did not start"):
        await made.origin()
    assert made.child is None
    with pytest.raises(EnalysisError, match="did not start"):
        await Child.start(1)


async def test_the_address_of_the_settings_is_used_where_there_is_one() -> None:
    """With SANDBOX_URL no child is started."""
    async with simulators_of(load(SANDBOX_URL="http://127.0.0.1:8700")) as made:
        assert made is not None
        assert await made.origin() == "http://127.0.0.1:8700"
        assert made.child is None


@pytest.mark.parametrize(
    ("environ", "allowed"),
    [
        ({}, True),
        ({"PUBLIC_URL": "https://solar.example.org"}, False),
        ({"PUBLIC_URL": "https://solar.example.org", "SANDBOX_ALLOWED": "true"}, True),
    ],
)
async def test_a_public_address_needs_the_operators_word(environ: dict[str, str], allowed: bool) -> None:
    """Simulated figures on a public server are allowed by SANDBOX_ALLOWED only."""
    async with simulators_of(load(environ)) as made:
        assert (made is not None) is allowed


def test_the_child_gets_none_of_our_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither the operator's key nor a database's password reaches a process that needs none."""
    monkeypatch.setenv("ENCRYPTION_KEY", "a key")
    monkeypatch.setenv("ENCRYPTION_KEY_FILE", str(tmp_path / "key"))
    monkeypatch.setenv("DATABASE_URL", "postgresql://somebody")
    assert not {"ENCRYPTION_KEY", "ENCRYPTION_KEY_FILE", "DATABASE_URL"} & _plain_environment().keys()
    assert "PATH" in _plain_environment()
