"""Running the web server, the planner and the worker in one process, and ending them in the right order."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager

import uvicorn

from enalysis.core.errors import ConfigError
from enalysis.jobs import run_worker
from enalysis.runtime import Runtime
from enalysis.web.app import create_app

_HTTP_DRAIN_S = 15


class _Server(uvicorn.Server):
    """uvicorn without its own signal handling: the process ends as a whole, in our order."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


@asynccontextmanager
async def http(runtime: Runtime) -> AsyncIterator[None]:
    """Serve the web pages and the API inside the block. Raises ConfigError where the port is taken."""
    config = uvicorn.Config(
        create_app(runtime),
        host=runtime.settings.host,
        port=runtime.settings.port,
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        lifespan="off",
        timeout_graceful_shutdown=_HTTP_DRAIN_S,
    )
    server = _Server(config)
    serving = asyncio.create_task(_serve(server, runtime))
    try:
        while not server.started and not serving.done():  # noqa: ASYNC110 - uvicorn has no event to wait for
            await asyncio.sleep(0.02)
        if serving.done():
            serving.result()
        yield
    finally:
        server.should_exit = True
        await serving


async def _serve(server: uvicorn.Server, runtime: Runtime) -> None:
    try:
        await server.serve()
    except SystemExit:
        # uvicorn's way to say that it could not listen; it has logged the reason.
        msg = (
            f"cannot listen on {runtime.settings.host}:{runtime.settings.port}: the port is taken or not allowed."
            " Stop what uses it, or set PORT to another"
        )
        raise ConfigError(msg) from None


async def serve(runtime: Runtime, *, web: bool, work: bool, announce: Callable[[Runtime], Awaitable[None]]) -> None:
    """Run until SIGINT or SIGTERM; then planner and worker end first, HTTP after them. Pools are the caller's.

    Args: announce: says where the pages are, once they answer.
    """
    stop = asyncio.Event()
    with catch_signals(stop):
        async with contextlib.AsyncExitStack() as stack:
            if web:
                await stack.enter_async_context(http(runtime))
                await announce(runtime)
            waiting: list[Awaitable[object]] = [stop.wait()]
            if work:
                waiting.append(run_worker(runtime))
            await _first(waiting)


@contextlib.contextmanager
def catch_signals(stop: asyncio.Event) -> Generator[None, None, None]:
    """Set `stop` on SIGINT or SIGTERM while inside the block."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


async def _first(waiting: list[Awaitable[object]]) -> None:
    """Wait for the first to end, cancel the others and wait for them; raise what one of them raised."""
    tasks = [asyncio.ensure_future(each) for each in waiting]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
            raise result
