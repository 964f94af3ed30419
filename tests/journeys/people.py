"""A person at a browser without JavaScript: keeps cookies, reads forms, presses buttons, over real HTTP."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.cookies import SimpleCookie
from urllib.parse import urljoin, urlsplit

import httpx2


@dataclass
class Form:
    """A form of a page: where it goes, what stands in it, and the buttons by what they say."""

    action: str
    fields: dict[str, str] = field(default_factory=dict)
    buttons: dict[str, tuple[str, str]] = field(default_factory=dict)


class _Reader(HTMLParser):
    """Collects forms and links."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.links: dict[str, str] = {}
        self._form: Form | None = None
        self._open: tuple[str, dict[str, str]] | None = None
        self._said = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._form = Form(given.get("action", ""))
            self.forms.append(self._form)
        elif tag == "input" and self._form is not None and "name" in given:
            chosen = given.get("type") not in {"radio", "checkbox"} or "checked" in given
            if chosen:
                self._form.fields[given["name"]] = given.get("value", "")
        elif tag in {"button", "a"}:
            self._open, self._said = (tag, given), ""

    def handle_data(self, data: str) -> None:
        self._said += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None
        elif self._open is not None and self._open[0] == tag:
            said, given = " ".join(self._said.split()), self._open[1]
            if tag == "a":
                self.links[said] = given.get("href", "")
            elif self._form is not None:
                self._form.buttons[said] = (given.get("name", ""), given.get("value", ""))
            self._open = None


@dataclass
class Person:
    """Somebody with a browser: what they look at is `page`, and where it stands is `address`."""

    address: str = ""
    page: str = ""
    status: int = 0
    cookies: dict[str, dict[str, str]] = field(default_factory=dict)
    visited: list[str] = field(default_factory=list)

    async def open(self, address: str) -> None:
        """Open an address and go wherever it leads."""
        await self._go("GET", urljoin(self.address, address))

    async def press(self, button: str, **typed: str) -> None:
        """Type into the form that has this button, and press it."""
        reader = self._read()
        form = next(form for form in reader.forms if button in form.buttons)
        name, value = form.buttons[button]
        pressed = {name: value} if name else {}
        await self._go("POST", urljoin(self.address, form.action), {**form.fields, **typed, **pressed})

    async def follow(self, link: str) -> None:
        """Click a link by what it says."""
        await self.open(self._read().links[link])

    async def call(self, method: str, path: str, body: object = None) -> httpx2.Response:
        """Call the API as a script in this browser would."""
        token = (await self._send("GET", urljoin(self.address, "/api/v1/me"))).json()["csrf_token"]
        origin = "{0.scheme}://{0.netloc}".format(urlsplit(self.address))
        said = {"Origin": origin, "Sec-Fetch-Site": "same-origin", "X-CSRF-Token": token}
        return await self._send(method, urljoin(self.address, path), said, json=body)

    def _read(self) -> _Reader:
        reader = _Reader()
        reader.feed(self.page)
        return reader

    async def _go(self, method: str, address: str, data: Mapping[str, str] | None = None) -> None:
        said = {"Accept": "text/html,*/*;q=0.8"}
        sends = {"Origin": "null", "Sec-Fetch-Site": "same-origin"} if method == "POST" else {}
        answer = await self._send(method, address, said | sends, data=data)
        for _ in range(10):
            self.visited.append(address)
            if not answer.has_redirect_location:
                break
            address = urljoin(address, answer.headers["location"])
            answer = await self._send("GET", address, said)
        self.address, self.page, self.status = address, answer.text, answer.status_code

    async def _send(
        self, method: str, address: str, headers: Mapping[str, str] | None = None, **more: object
    ) -> httpx2.Response:
        kept = self.cookies.setdefault(urlsplit(address).netloc, {})
        cookies = {"Cookie": "; ".join(f"{name}={value}" for name, value in kept.items())} if kept else {}
        async with httpx2.AsyncClient(trust_env=False, timeout=60) as client:
            answer = await client.request(method, address, headers=cookies | dict(headers or {}), **more)  # type: ignore[arg-type] # whatever httpx2 takes
        for line in answer.headers.get_list("set-cookie"):
            for name, morsel in SimpleCookie(line).items():
                if morsel["max-age"] == "0":
                    kept.pop(name, None)
                else:
                    kept[name] = morsel.value
        return answer
