"""The simulated vendors that a runtime starts by itself: when, where, for whom, and until when."""

import asyncio
import os
import signal
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import psutil
import pytest

from enalysis.core.errors import EnalysisError
from enalysis.egress import Egress, EgressRefused
from enalysis.sandbox import Child, Simulators, _plain_environment, simulators_of
from tests.settings import load

WORDS = ("vendor", "key", "label", "credentials")


async def test_the_child_starts_when_needed_is_replaced_when_dead_and_ends_with_us() -> None:
    """One child serves all who ask; killed, it is started again with the same accounts; closed, it is gone."""
    made = Simulators(None)
    origins = await asyncio.gather(*(made.origin() for _ in range(3)))
    assert len(set(origins)) == 1
    first = made.child
    assert first is not None
    async with httpx2.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"{origins[0]}/nobody")).status_code == 404
        assert (await client.get(f"{origins[0]}/_sandbox/state")).status_code == 401
    os.kill(first.pid, signal.SIGKILL)
    for _ in range(500):
        if not first.alive:
            break
        await asyncio.sleep(0.01)
    again = await made.origin()
    second = made.child
    assert second is not None
    assert second.pid != first.pid
    assert [[a[w] for w in WORDS] for a in second.told["accounts"]] == [
        [a[w] for w in WORDS] for a in first.told["accounts"]
    ]
    only_that_origin(again)
    await made.close()
    assert not psutil.pid_exists(second.pid)
    await first.end()


def only_that_origin(origin: str) -> None:
    """Hold the egress of simulated connections to one port of this machine, and that of real ones to none."""
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
