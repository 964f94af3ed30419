"""The bar's rows on secrets: sealed values stay shut, bad keys do not start, and the log tells none."""

import base64
import http.server
import itertools
import json
import logging
import os
import secrets
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import quote
from uuid import UUID, uuid4

import httpx2
import uvicorn
from starlette.responses import PlainTextResponse

from enalysis.log import configure, register_secret
from enalysis.store.secrets import Keyring, OrganizationKey, SealBroken
from tests.bar.row import Row

ROOT = Path(__file__).resolve().parents[2]

# What a child process needs besides what is tested, and nothing of this machine's settings.
_BARE = {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}


def b1() -> Row:
    """B1: a sealed value opens in its own place only, no changed byte is accepted, no nonce comes twice."""
    keyring = Keyring(secrets.token_bytes(32))
    wrapped = {organization: keyring.new_organization_key(organization) for organization in _ids(4)}
    keys = {
        organization: keyring.open_organization_key(organization, wrapped[organization]) for organization in wrapped
    }
    cells = list(itertools.product(wrapped, _ids(3), ("api_key", "refresh_token", "password")))
    sealed = {cell: keys[cell[0]].seal(cell[1], cell[2], f"canary {cell}") for cell in cells}
    opened = sum(keys[cell[0]].unseal(cell[1], cell[2], sealed[cell]) == f"canary {cell}" for cell in cells)
    decrypted = sum(
        _opens(partial(keys[there[0]].unseal, there[1], there[2], sealed[here]))
        for here, there in itertools.permutations(cells, 2)
    )
    decrypted += sum(
        _opens(partial(keyring.open_organization_key, there, wrapped[here]))
        for here, there in itertools.permutations(wrapped, 2)
    )
    swaps = len(cells) * (len(cells) - 1) + len(wrapped) * (len(wrapped) - 1)

    cell, organization, canary = cells[0], cells[0][0], keyring.canary()
    attempts: list[tuple[bytes, Callable[[bytes], object]]] = [
        (sealed[cell], partial(keys[organization].unseal, cell[1], cell[2])),
        (wrapped[organization], partial(keyring.open_organization_key, organization)),
        (canary, keyring.check_canary),
    ]
    flips = accepted = 0
    for good, open_it in attempts:
        for at, bit in itertools.product(range(len(good)), range(8)):
            changed = good[:at] + bytes([good[at] ^ (1 << bit)]) + good[at + 1 :]
            accepted += _opens(partial(open_it, changed))
            flips += 1

    nonces = {_nonce(keys[organization], cell[1]) for _ in range(100_000)}
    repeats = 100_000 - len(nonces)
    return Row(
        req="B1",
        n=swaps + flips,
        bad=decrypted + accepted + repeats + len(cells) - opened,
        floor=300 + 8 * len(sealed[cell]),
        facts={
            "swaps": swaps,
            "decrypted": decrypted,
            "flips": flips,
            "accepted": accepted,
            "nonces": 100_000,
            "repeats": repeats,
            "opened_in_place": opened,
        },
    )


def _ids(count: int) -> list[UUID]:
    return [uuid4() for _ in range(count)]


def _opens(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except SealBroken:
        return False
    return True


def _nonce(key: OrganizationKey, connection: UUID) -> bytes:
    return key.seal(connection, "api_key", "x")[5:17]


def b2() -> Row:
    """B2: a process with no key, a weak key or a sample for a key does not start, and repeats it nowhere."""
    raw = secrets.token_bytes(32)
    bad = {
        "none": "",
        "short": base64.b64encode(raw[:16]).decode(),
        "31 bytes": base64.b64encode(raw[:31]).decode(),
        "33 bytes": base64.b64encode(raw + raw[:1]).decode(),
        "short hex": raw[:16].hex(),
        "zeros": bytes(32).hex(),
        "one letter": "A" * 43,
        "a pattern": (raw[:8] * 4).hex(),
        "counting": bytes(range(32)).hex(),
        "a sentence": base64.b64encode(b"correct horse battery staple 123").decode(),
        "a passphrase": "correct horse battery staple",
        "small letters": "thequickbrownfoxjumpsoverthelazydogandaway",
        "the guide's sample": "your_encryption_key_here",
        "the other sample": "generate-a-random-32-character-key",
        "the usual default": "changeme",
        "the standard's": "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
        "no base64": "!" * 44,
        "our own example": _example_key(),
    }
    started = echoed = unnamed = 0
    # Loading is what every command does first; that a command does stop there is seen on two.
    trials: list[tuple[str, tuple[str, ...]]] = [(text, _LOAD) for text in bad.values()]
    trials += [(bad[what], ("-m", "enalysis", "worker")) for what in ("none", "the usual default")]
    for text, command in trials:
        done = _start(text, command)
        started += done.returncode == 0
        told = done.stdout + done.stderr
        unnamed += "ENCRYPTION_KEY" not in told
        echoed += bool(text) and text in told
    control = _start(base64.b64encode(raw).decode(), _LOAD)
    good_refused = int(control.returncode != 0)
    return Row(
        req="B2",
        n=len(trials),
        bad=started + echoed + unnamed + good_refused,
        floor=12,
        facts={"started": started, "key_echoed": echoed, "unnamed": unnamed, "good_refused": good_refused},
    )


def _example_key() -> str:
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    return next(line.partition("=")[2] for line in lines if line.startswith("ENCRYPTION_KEY="))


_LOAD = ("-c", "from enalysis.config import load_settings; load_settings()")


def _start(key: str, command: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryDirectory() as folder:
        return subprocess.run(
            [sys.executable, *command],
            cwd=folder,
            env={**_BARE, "ENCRYPTION_KEY": key},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


def c2() -> Row:
    """C2: no shape in which a library or we might leak a secret brings it into the log, in either layout."""
    shapes = hits = 0
    unseen: list[str] = []
    for layout in ("text", "json"):
        known, code, state = (secrets.token_urlsafe(24) for _ in range(3))
        done = subprocess.run(
            [sys.executable, "-c", "from tests.bar.rows_secrets import leak; leak()"],
            cwd=ROOT,
            env={**_BARE, "LEAK": known, "LEAK_CODE": code, "LEAK_STATE": state, "LEAK_LAYOUT": layout},
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        told = done.stdout + done.stderr
        forms = {
            known,
            quote(known, safe=""),
            base64.b64encode(known.encode()).decode().rstrip("="),
            code,
            state,
        }
        hits += sum(told.count(form) for form in forms)
        # A leak that was never written proves nothing, so each shape leaves a mark of its own.
        unseen += [mark for mark in _MARKS if mark not in told]
        shapes += len(_MARKS)
        if layout == "json":
            for line in done.stderr.splitlines():
                json.loads(line)
    return Row(
        req="C2",
        n=shapes - len(unseen),
        bad=hits + len(unseen),
        floor=16,
        facts={"hits": hits, "shapes": shapes, "unseen": len(unseen)},
    )


_MARKS = (
    "in the message",
    "in the arguments",
    "in a nested dict",
    "in an exception",
    "in a traceback",
    "in a child logger",
    "/library",
    "in a field",
    "/api/oauth/callback",
    "in a lost line",
)


def leak() -> None:
    """Write a secret to the log in every shape; runs in a process of its own."""
    secret = os.environ["LEAK"]
    configure("debug", os.environ["LEAK_LAYOUT"])
    register_secret(secret)
    logger = logging.getLogger("enalysis")
    logger.info(f"in the message {secret} and {quote(secret)}")  # noqa: G004 - a shape to be caught
    logger.info("in the arguments %s, %r", secret, secret.encode())
    logger.info("in a nested dict %s", {"outer": [{"api_key": secret, "coded": base64.b64encode(secret.encode())}]})
    try:
        _fail(secret)
    except ValueError as error:
        logger.warning("%s", error)
        logger.exception("in a traceback")
    logging.getLogger("enalysis.child.of.it").debug("in a child logger %s", secret)
    logger.info("fields", extra={"note": "in a field", "context": {"refresh_token": secret}})
    _call_with_a_chatty_library(secret)
    _be_called_back()
    logger.info("in a lost line %d", secret)


def _fail(secret: str) -> None:
    try:
        raise KeyError(secret)
    except KeyError as error:
        raise ValueError(f"in an exception: api_key={secret}") from error


class _Refusing(http.server.BaseHTTPRequestHandler):
    """Answers 403 to everything."""

    def do_GET(self) -> None:
        self.send_error(403)

    def log_message(self, *_: object) -> None:
        """Say nothing: this is the vendor's side."""


def _call_with_a_chatty_library(secret: str) -> None:
    # Somebody may have turned the library's own logger up again.
    for name in ("httpx2", "httpcore", "httpcore2"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            with httpx2.Client(trust_env=False) as client:
                client.get(
                    f"http://127.0.0.1:{server.server_port}/library",
                    params={"api_key": secret},
                    headers={"Authorization": f"Bearer {secret}", "Cookie": f"session={secret}"},
                ).raise_for_status()
        except httpx2.HTTPStatusError:
            logging.getLogger("enalysis").exception("the vendor refused")
        finally:
            server.shutdown()


def _be_called_back() -> None:
    server = uvicorn.Server(uvicorn.Config(PlainTextResponse("ok"), port=0, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    query = f"code={os.environ['LEAK_CODE']}&state={os.environ['LEAK_STATE']}"
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/oauth/callback?{query}", timeout=30):
        pass
    server.should_exit = True
    thread.join()


ROWS: tuple[Callable[[], Row], ...] = (b1, b2, c2)
