"""`enalysis sandbox`: the simulated vendors on a port of this machine."""

import asyncio
import json
import secrets
import socket
import sys
import threading
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer
import uvicorn

from enalysis.simulators.server import SERVER_OPTIONS, create


def sandbox(
    port: Annotated[int, typer.Option(help="TCP port on 127.0.0.1; 0 takes a free one.")] = 8700,
    seed: Annotated[int, typer.Option(help="Which make-believe weather and households.")] = 1,
    control_token: Annotated[
        str | None,
        typer.Option(envvar="SANDBOX_CONTROL_TOKEN", help="Opens the fault switches; none: made up."),
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line once it listens.")] = False,
    with_parent: Annotated[bool, typer.Option(hidden=True, help="End when standard input closes.")] = False,
) -> None:
    """Serve the simulated vendors until Ctrl-C; set SANDBOX_URL to the address it prints."""
    token = control_token or secrets.token_urlsafe(18)
    # The protocol is named: asyncio switches Nagle's delay off, 40 ms an answer, only for sockets that do.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    made = create(seed, lambda: datetime.now(UTC), control_token=token)
    accounts = [
        {
            "vendor": a.vendor,
            "key": a.key,
            "label": a.label,
            "plan": a.plan.key,
            "plan_documented": a.plan.documented,
            "way": a.way,
            "credentials": dict(a.credentials),
            "app": dict(a.app),
            "app_label": a.app_label,
            "login": dict(a.login),
            "sites": len(a.sites),
        }
        for a in made.accounts
    ]
    if as_json:
        figures = [asdict(figure) for figure in made.describe()]
        typer.echo(json.dumps({"url": url, "control_token": token, "accounts": accounts, "figures": figures}))
    else:
        typer.echo(f"SANDBOX_URL={url}")
        for a in made.accounts:
            entered = {**a.app, **a.login, **a.credentials}
            typer.echo(f"  {a.vendor}  {a.label}  plan {a.plan.key}  {entered}")
    config = uvicorn.Config(made.app, access_log=False, log_level="warning", **SERVER_OPTIONS)
    server = uvicorn.Server(config)
    if with_parent:
        threading.Thread(target=_end_with_parent, args=(server,), daemon=True).start()
    asyncio.run(server.serve(sockets=[listener]))


def _end_with_parent(server: uvicorn.Server) -> None:
    """Wait until the parent closes the pipe, also by dying, and end the server."""
    sys.stdin.buffer.read()
    server.should_exit = True
