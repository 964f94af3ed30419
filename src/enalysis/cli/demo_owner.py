"""Plays the people of the demo: registers their apps, signs in at the simulated vendors, and consents there."""

import html
import re
import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urljoin, urlsplit
from uuid import UUID

import httpx2

from enalysis.actions import apps, connections, consent
from enalysis.core.access import Scope
from enalysis.core.errors import EnalysisError
from enalysis.runtime import Runtime

_TICKET = re.compile(r'name="ticket" value="([^"]+)"')
_SITE = re.compile(r'type="radio" name="site" value="([^"]+)"')
_REDIRECT = 302


class Owner:
    """Connects a sandbox's accounts as their owners would: with a key, a password, or consent on the vendor's page."""

    def __init__(self, runtime: Runtime, scope: Scope) -> None:
        self._runtime = runtime
        self._scope = scope
        self._session = secrets.token_urlsafe(24)
        self._apps: dict[str, UUID] = {}

    async def connect(self, account: Mapping[str, Any]) -> UUID:
        """Connect one account as the sandbox describes it and return the connection. Raises EnalysisError."""
        runtime = self._runtime
        vendor, way = account["vendor"], account["way"]
        app = await self._app(account) if account["app"] else None
        if app is None or account["credentials"]:
            made, _ = await connections.add(
                self._scope,
                runtime.db,
                runtime.vendors,
                vendor=vendor,
                way=way,
                app=app,
                name=account["label"],
                plan=account["plan"],
                fields=account["credentials"],
                now=runtime.clock(),
            )
            return made
        return await self._consent(account, app)

    async def _app(self, account: Mapping[str, Any]) -> UUID:
        runtime, client_id = self._runtime, account["app"]["client_id"]
        if client_id not in self._apps:
            way = runtime.vendors.spec(account["vendor"]).way(account["way"])
            assert way.app is not None  # noqa: S101 - the sandbox describes an app
            self._apps[client_id] = await apps.add(
                self._scope,
                runtime.db,
                runtime.vendors,
                vendor=account["vendor"],
                kind=way.app.value,
                name=account["app_label"],
                plan=account["plan"],
                fields=account["app"],
                now=runtime.clock(),
            )
        return self._apps[client_id]

    async def _consent(self, account: Mapping[str, Any], app: UUID) -> UUID:
        runtime = self._runtime
        public_url = runtime.settings.public_url
        started = await consent.begin(
            self._scope,
            runtime.db,
            runtime.vendors,
            session=self._session,
            vendor=account["vendor"],
            app=str(app),
            public_url=public_url,
            now=runtime.clock(),
            name=account["label"],
        )
        finished = await consent.finish(
            self._scope,
            runtime.db,
            runtime.vendors,
            session=self._session,
            vendor=account["vendor"],
            params=await _allow(started.address, account["login"]),
            public_url=public_url,
            now=runtime.clock(),
        )
        return finished.connection


async def _allow(address: str, login: Mapping[str, str]) -> dict[str, str]:
    """Sign in on the simulated consent page and allow; return what its redirect carries."""
    async with httpx2.AsyncClient(trust_env=False) as browser:
        page = await browser.get(address)
        steps: list[dict[str, str]] = [{**login, "answer": "sign-in"}, {"answer": "allow"}]
        for filled in steps:
            ticket = _TICKET.search(page.text)
            if ticket is None:
                break
            site = _SITE.search(page.text)
            chosen = {"site": html.unescape(site[1])} if site else {}
            page = await browser.post(address, data={"ticket": ticket[1], **chosen, **filled})
    if page.status_code != _REDIRECT:
        msg = "the simulated vendor's consent page did not let the owner through"
        raise EnalysisError(msg)
    return dict(parse_qsl(urlsplit(urljoin(address, page.headers["location"])).query))
