"""What stands in front of every page and answer: the host allow-list and the security headers."""

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from enalysis.web.address import Address

BODY_LIMIT = 1024 * 1024
# No inline script and no inline style at all, so there is no nonce to leak.
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; object-src 'none'"
)
_HEADERS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
# Says of an answer that what it tells was made up.
SIMULATED = {"Enalysis-Sandbox": "simulated"}
_HSTS = "max-age=31536000; includeSubDomains"


class Guard:
    """Wraps the whole application, error answers included, which added middleware would not."""

    def __init__(self, app: ASGIApp, address: Address, *, sandbox: bool) -> None:
        self._app = app
        self._address = address
        self._headers = dict(_HEADERS)
        if address.sealed:
            # Elsewhere browsers ignore it, and say so on every page.
            self._headers["Cross-Origin-Opener-Policy"] = "same-origin"
        if address.https:
            self._headers["Strict-Transport-Security"] = _HSTS
        if sandbox:
            self._headers.update(SIMULATED)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 400 to a foreign host, else pass on, with our headers on whatever is answered."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        hosts = Headers(scope=scope).getlist("host")
        if len(hosts) != 1 or not self._address.admits(hosts[0]):
            refusal = PlainTextResponse(
                "This server does not answer to that host name. Its address is set by PUBLIC_URL.\n", 400
            )
            await refusal(scope, receive, send_guarded)
            return
        await self._app(scope, receive, send_guarded)
