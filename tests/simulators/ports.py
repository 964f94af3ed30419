"""What the tests of simulators share: a real port on the loopback, and a clock that moves when told to."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from enalysis.simulators.server import SERVER_OPTIONS


@dataclass
class Clock:
    """A clock that stands still until it is moved."""

    at: datetime

    def __call__(self) -> datetime:
        return self.at

    def forward(self, **by: float) -> datetime:
        self.at += timedelta(**by)
        return self.at


def listening() -> socket.socket:
    """Return a socket bound to a free port of the loopback.

    It names its protocol: asyncio switches Nagle's delay off, 40 ms an answer, only for those that do.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    return listener


@contextlib.asynccontextmanager
async def serving(app: ASGIApp) -> AsyncIterator[str]:
    """Serve an application on a free loopback port and yield its origin."""
    with listening() as listener:
        config = uvicorn.Config(app, log_config=None, ws="none", timeout_graceful_shutdown=1, **SERVER_OPTIONS)
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve([listener]))
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event to wait for
            await asyncio.sleep(0.005)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task


@dataclass
class Switchboard:
    """An application that passes each request on to another, which a test may change."""

    app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self.app is not None
        await self.app(scope, receive, send)


@contextlib.contextmanager
def always_serving(app: ASGIApp) -> Iterator[str]:
    """Serve an application from a thread, for many tests: starting and stopping costs a third of a second."""
    with listening() as listener:
        config = uvicorn.Config(app, log_config=None, ws="none", timeout_graceful_shutdown=1, **SERVER_OPTIONS)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        while not server.started:
            time.sleep(0.005)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
