"""Where simulated vendors answer: at SANDBOX_URL, or in a child process that is started when it is first needed."""

import asyncio
import contextlib
import json
import logging
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from enalysis.config import Settings, settings_table
from enalysis.core.errors import EnalysisError

_log = logging.getLogger(__name__)

# Importing what knows the sun takes seconds on a slow machine.
_START_S: Final = 60.0
_END_S: Final = 10.0


class Child:
    """The simulated vendors as a process of our own on a free port; it ends with us, however we end.

    `told` is what it says of itself once it listens: `url`, `control_token`, `accounts`, `figures`.
    """

    def __init__(self, process: Process, told: Mapping[str, Any]) -> None:
        self._process = process
        self.told = told

    @classmethod
    async def start(cls, seed: int) -> "Child":
        """Start one and wait until it listens. Raises EnalysisError where it does not."""
        command = (sys.executable, "-m", "enalysis", "sandbox", "--port=0", f"--seed={seed}", "--json", "--with-parent")
        process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, env=_plain_environment())
        assert process.stdout is not None  # noqa: S101 - asked for one line above
        child = cls(process, {})
        try:
            child.told = json.loads(await asyncio.wait_for(process.stdout.readline(), _START_S))
        except (TimeoutError, ValueError):
            await child.end()
            msg = "the simulated vendors did not start; what they said stands above"
            raise EnalysisError(msg) from None
        except BaseException:
            await child.end()
            raise
        return child

    @property
    def pid(self) -> int:
        """Return its process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Tell whether it has not ended, as far as is known."""
        return self._process.returncode is None

    async def end(self) -> None:
        """End it, by force where it does not end by itself."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), _END_S)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()


class Simulators:
    """The host of connections that wait for a vendor: one child for all of them, started again when it died."""

    # Spelt here a second time, for what simulates is imported by the child alone.
    word: Final = "SANDBOX-GUEST"

    def __init__(self, url: str | None, seed: int = 1) -> None:
        self._url = url
        self._seed = seed
        self._starting = asyncio.Lock()
        self.child: Child | None = None

    async def origin(self) -> str:
        """Return where the simulated vendors answer now. Raises EnalysisError where they do not start."""
        if self._url is not None:
            return self._url
        async with self._starting:
            if self.child is None or not self.child.alive:
                if self.child is not None:
                    _log.warning("the simulated vendors ended and are started again")
                self.child = None
                self.child = await Child.start(self._seed)
                _log.info("simulated vendors answer at %s", self.child.told["url"])
            return str(self.child.told["url"])

    async def close(self) -> None:
        """End the child, if there is one."""
        async with self._starting:
            if self.child is not None:
                await self.child.end()
                self.child = None


@asynccontextmanager
async def simulators_of(settings: Settings) -> AsyncIterator[Simulators | None]:
    """Open the simulated vendors of these settings; None: a public address whose operator did not allow them."""
    if settings.is_public and not settings.sandbox_allowed:
        yield None
        return
    made = Simulators(settings.sandbox_url)
    try:
        yield made
    finally:
        await made.close()


def _plain_environment() -> dict[str, str]:
    """Return the environment without our settings: the simulated vendors need no key and no database."""
    ours = {setting.name for setting in settings_table()}
    return {name: value for name, value in os.environ.items() if name.removesuffix("_FILE") not in ours}
