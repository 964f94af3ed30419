"""A real `enalysis run` over a database, a scripted vendor it calls, and a browser that keeps all it is told."""

import asyncio
import os
import re
import secrets
import socket
import sys
import tempfile
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
from psycopg.conninfo import conninfo_to_dict

from enalysis.actions import accounts
from enalysis.core.access import Scope
from enalysis.store import accounts as account_rows
from enalysis.store.pool import Database
from enalysis.store.secrets import Keyring
from tests.databases import Base
from tests.oauth_bench import Bench, opened, real_clock

ROOT = Path(__file__).resolve().parents[2]
EMAIL = "ada@example.org"


@dataclass
class Visitor:
    """A browser over real HTTP: cookies, the form token, and every answer it ever got."""

    origin: str
    cookies: dict[str, str] = field(default_factory=dict)
    token: str = ""
    answers: list[httpx2.Response] = field(default_factory=list)

    async def ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        **more: Any,  # noqa: ANN401 - as httpx2
    ) -> httpx2.Response:
        """Send one request with our cookies, follow nothing."""
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        sent = {"Accept": "text/html"} | ({"Cookie": cookies} if cookies else {}) | dict(headers or {})
        async with httpx2.AsyncClient(base_url=self.origin, timeout=30, trust_env=False) as client:
            answer = await client.request(method, path, headers=sent, **more)
        self.answers.append(answer)
        for line in answer.headers.get_list("set-cookie"):
            for name, morsel in SimpleCookie(line).items():
                self.cookies[name] = morsel.value
        found = re.search(r'name="csrf" value="([0-9a-f]{64})"', answer.text)
        self.token = found[1] if found else self.token
        return answer

    async def call(self, method: str, path: str, body: object = None, **headers: str) -> httpx2.Response:
        """Call the API as a script of a page of ours."""
        said = {"Origin": self.origin, "Sec-Fetch-Site": "same-origin", "X-CSRF-Token": self.token}
        return await self.ask(method, path, {"Accept": "application/json", **said, **headers}, json=body)


@dataclass
class House:
    """What runs: the bench shares its database and organization; `secrets` are what nobody may be told, by slot."""

    bench: Bench
    visitor: Visitor
    folder: Path
    process: asyncio.subprocess.Process
    secrets: dict[str, str]
    said: list[bytes] = field(default_factory=list)

    async def cli(self, *words: str) -> bytes:
        """Run another command beside the server and return all it says."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.bar.exposed", *words),
            cwd=self.folder,
            env=_bare(self.folder),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await process.communicate()
        return out

    async def stop(self) -> bytes:
        """End the server as an operator does and return all it said."""
        if self.process.returncode is None:
            self.process.terminate()
        await self.process.wait()
        await asyncio.sleep(0.2)
        return b"".join(self.said)

    async def consent(self, uid: str = "owner-1") -> httpx2.Response:
        """Click through a consent; return the callback's answer."""
        begun = await self.visitor.call("POST", "/api/oauth/acme/authorize", {"app": str(self.bench.app)})
        assert begun.status_code == 200, begun.text
        params = self.bench.vendor.consent(begun.json()["address"], uid)
        self.secrets |= {f"state {uid}": params["state"], f"code {uid}": params["code"]}
        query = "&".join(f"{name}={quote(value)}" for name, value in params.items())
        return await self.visitor.ask("GET", f"/api/oauth/acme/callback?{query}")


def _bare(folder: Path) -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(ROOT), "TMPDIR": str(folder / "tmp")}


def _free_port() -> int:
    with socket.socket() as line:
        line.bind(("127.0.0.1", 0))
        return int(line.getsockname()[1])


@asynccontextmanager
async def housed(base: Base) -> AsyncIterator[House]:
    """Set up an organization with its owner, start the server at DEBUG, and sign the owner in."""
    key, port = secrets.token_bytes(32), _free_port()
    known = {"ENCRYPTION_KEY": b64encode(key).decode(), "CRON_SECRET": secrets.token_urlsafe(32)}
    password = known["password of the owner"] = f"pw-{secrets.token_urlsafe(18)}"
    passwords = base.cluster.passwords
    known |= {f"password of {login}": text for login, text in passwords.items()}
    with tempfile.TemporaryDirectory(prefix="enalysis-house-") as name:
        folder = Path(name)
        (folder / "tmp").mkdir()
        async with Database(base.app, base.engine) as db:
            scope, session = await _set_up(db, Keyring(key), password)
            known["session"] = session
            async with opened(db, key=key, scope=scope) as bench:
                known |= {"client secret": bench.fields["client_secret"], "app's key": bench.fields["api_key"]}
                lines = {
                    "ENCRYPTION_KEY": known["ENCRYPTION_KEY"],
                    "CRON_SECRET": known["CRON_SECRET"],
                    "PUBLIC_URL": f"http://localhost:{port}",
                    "PORT": str(port),
                    "DATABASE_URL": _url(base.app),
                    "DATABASE_ENGINE_URL": _url(base.engine),
                    "DATABASE_JOBS_URL": _url(base.jobs),
                    "SANDBOX_URL": bench.vendor.origin,
                    "LOG_LEVEL": "debug",
                    "ENALYSIS_HOME": str(folder / "home"),
                }
                env = folder / ".env"
                env.write_text("".join(f"{n}={v}\n" for n, v in lines.items()), encoding="utf-8")
                env.chmod(0o600)
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "tests.bar.exposed", "run"),
                    cwd=folder,
                    env=_bare(folder),
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.STDOUT,
                    limit=2**26,
                )
                visitor = Visitor(f"http://localhost:{port}", {"__Host-enalysis": session})
                house = House(bench, visitor, folder, process, known)
                reading = asyncio.create_task(_read(house))
                try:
                    await _answers(house)
                    yield house
                finally:
                    if process.returncode is None:
                        process.terminate()
                    await reading
                    await process.wait()


async def _read(house: House) -> None:
    assert house.process.stdout is not None
    async for line in house.process.stdout:
        house.said.append(line)


async def _set_up(db: Database, keyring: Keyring, password: str) -> tuple[Scope, str]:
    async with db.world() as conn:
        await account_rows.add_instance(conn, keyring.canary())
    secret = await accounts.begin_setup(db)
    assert secret is not None
    now = real_clock()
    token = await accounts.set_up(
        db, keyring, secret=secret, organization="House", name="Ada", email=EMAIL, password=password, now=now
    )
    person = await accounts.who(db, token, now)
    assert person is not None
    return person.scope, token


async def _answers(house: House) -> None:
    """Wait for the server and look at a page, whose forms carry the session's token."""
    for _ in range(300):
        if house.process.returncode is not None:
            break
        try:
            await house.visitor.ask("GET", "/connections")
        except httpx2.TransportError:
            await asyncio.sleep(0.1)
        else:
            assert house.visitor.token, "the owner is not signed in"
            return
    raise RuntimeError(f"the server does not answer: {b''.join(house.said)[-2000:]!r}")


def _url(conninfo: str) -> str:
    """Write a conninfo as the address that settings take."""
    parts = conninfo_to_dict(conninfo)
    host = quote(str(parts.get("host", "")), safe="")
    return (
        f"postgresql://{parts['user']}:{quote(str(parts['password']), safe='')}@"
        f"{'' if host.startswith('%2F') else host}:{parts.get('port', 5432)}/{parts['dbname']}"
        + (f"?host={host}" if host.startswith("%2F") else "")
    )
