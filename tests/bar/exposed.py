"""The real command line, made to talk: `python -m tests.bar.exposed run` knows the made-up vendor and logs all it can.

uvicorn writes its access log and libraries that we keep quiet speak at DEBUG: what is kept out of the log must be
kept out by the scrubbing of its lines, not by luck.
"""

import logging
import sys
from typing import Any

import uvicorn

from enalysis import log
from enalysis.cli.app import main
from enalysis.connectors.registry import CONNECTORS
from tests.acme import ACME, entries


class Talkative(uvicorn.Config):
    """uvicorn with its access log."""

    def __init__(self, *given: Any, **more: Any) -> None:  # noqa: ANN401 - as uvicorn takes them
        super().__init__(*given, **{**more, "access_log": True, "log_level": "debug"})


if __name__ == "__main__":
    CONNECTORS[ACME.key] = entries()[ACME.key]
    uvicorn.Config = Talkative  # type: ignore[misc] # the server is made of it
    log._QUIET_LIBRARIES = ()  # type: ignore[misc] # Final for everybody else
    logging.getLogger().setLevel(logging.DEBUG)
    sys.exit(main())
