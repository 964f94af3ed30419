"""SolarEdge with a fleet key or an owner's consent: what its refusals mean, and the client."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar

import msgspec

from enalysis.connectors.base import Batch, Check, FoundSite
from enalysis.connectors.calls import Refusal
from enalysis.connectors.http import VendorHTTP
from enalysis.connectors.solaredge_card import RANGE_S, SPEC
from enalysis.connectors.solaredge_series import (
    Told,
    gather,
    parse_energy,
    parse_meters,
    parse_power,
    parse_storage,
)
from enalysis.connectors.solaredge_wire import (
    KINDS,
    STEP_S,
    VENDOR,
    DeviceBody,
    MetersBody,
    OverviewBody,
    SeriesBody,
    SiteBody,
    SitesBody,
    StorageBody,
    bad_payload,
    parse_devices,
    parse_overview,
    parse_site,
    parse_sites,
)
from enalysis.connectors.values import text
from enalysis.core.errors import BadPayload, Forbidden, LoginNeeded, QuotaSpent, Retired, VendorError
from enalysis.core.intervals import Window, ceil_time, floor_time
from enalysis.core.quotas import QuotaWindow

__all__ = ["SPEC", "SolarEdge", "explain"]

T = TypeVar("T")
E = TypeVar("E", bound=VendorError)

_RANGE = timedelta(seconds=RANGE_S)
_PAGE_SIZE, _MOST_PAGES = 1000, 100
# Nobody outside knows the day on which a month's credits come back, so we look four times a day.
_CREDITS_PROBE = timedelta(hours=6)
_MINUTE = timedelta(minutes=1)
_KEY_REFUSED = (
    "SolarEdge refused the key. Create a fleet key at developer.solaredge.com and connect it."
    " Keys of the retired V1 API do not work."
)
_CONSENT_REFUSED = (
    "SolarEdge refused the owner's consent: it was withdrawn, or its 24 months are over. Sign in at SolarEdge again."
)


def explain(refusal: Refusal, *, consent: bool = False) -> VendorError | None:
    """Name what a refusal means; None leaves it to the table that all vendors share.

    Args: consent: an owner's consent was sent, else a fleet key.
    """
    what = "consent" if consent else "key"
    site = f"site {refusal.subject}" if refusal.subject else "the account's sites"
    match refusal.status:
        case 400:
            return _error(BadPayload, refusal, "SolarEdge refused the range or the resolution asked for.")
        case 401:
            return _error(LoginNeeded, refusal, _CONSENT_REFUSED if consent else _KEY_REFUSED)
        case 403:
            said = (
                f"SolarEdge does not let this {what} read {site}: the account has no access, the {what} lacks the"
                " scope, or the plan does not include this call."
            )
            return _error(Forbidden, refusal, said)
        case 404 if refusal.subject and _problem(refusal).get("detail") != "Unknown endpoint":
            return _error(Forbidden, refusal, f"SolarEdge knows no {site} that this {what} may read.")
        case 410:
            return _error(Retired, refusal, "SolarEdge has switched this API off for good: update Enalysis.")
        case 429:
            return _spent(refusal)
    return None


def _spent(refusal: Refusal) -> QuotaSpent:
    """Tell the minute's limit, counted down in a header, from the month's credits, which no header names."""
    left = _count(refusal.headers, "x-ratelimit-remaining-minute")
    wait_told = "retry-after" in refusal.headers
    if left and not wait_told:
        error = _error(QuotaSpent, refusal, "The credits of this month at SolarEdge are spent.")
        error.window, error.until = QuotaWindow.MONTH.value, refusal.at + _CREDITS_PROBE
        return error
    error = _error(QuotaSpent, refusal, "SolarEdge takes no more calls for the moment.")
    if left == 0:
        error.window = QuotaWindow.MINUTE.value
        # Where the vendor says how long to wait, the shared table reads it.
        error.until = None if wait_told else refusal.at + _MINUTE
    return error


def _error(kind: type[E], refusal: Refusal, message: str) -> E:
    # Whole words of the title only: neither free text nor anything that could be a key gets through.
    words = re.findall(r"\b[A-Za-z]{2,16}\b", text(_problem(refusal).get("title")) or "")
    code = "-".join(words[:6]).lower() or None
    error = kind(message, vendor=VENDOR, operation=refusal.operation, status=refusal.status, code=code)
    if isinstance(error, Forbidden):
        error.subject = refusal.subject
    return error


def _problem(refusal: Refusal) -> dict[str, object]:
    """Return the fields of a problem (RFC 9457), none where the body is something else."""
    try:
        return msgspec.json.decode(refusal.body, type=dict[str, object])
    except (ValueError, RecursionError):
        return {}


def _count(headers: Mapping[str, str], name: str) -> int | None:
    value = headers.get(name, "").strip()
    return int(value) if re.fullmatch(r"[0-9]{1,7}", value) else None


def _query(span: Window) -> tuple[tuple[str, str], ...]:
    """Return the query of a series; stamps end in Z, because the vendor takes naive ones for local time."""
    start, end = (f"{at:%Y-%m-%dT%H:%M:%SZ}" for at in (span.start, span.end))
    return (("from", start), ("to", end), ("resolution", "QUARTER_HOUR"))


def _check_ref(operation: str, ref: str) -> None:
    """Raise BadPayload unless a site's reference is a plain number, for it goes into a path."""
    if re.fullmatch(r"[1-9][0-9]{0,17}", ref) is None:
        raise bad_payload(operation, "a site's reference at SolarEdge is a number")


class SolarEdge:
    """One fleet key at SolarEdge, or one owner's consent, which opens the one site it was given for."""

    def __init__(self, http: VendorHTTP, credential: Mapping[str, str]) -> None:
        self.spec = SPEC
        self._http = http
        self._key = credential.get("api_key", "").strip()
        # The callback told it, beside the code; without a key it is all that can be read.
        self._only = None if self._key else credential.get("site_id", "").strip()

    async def check(self, now: datetime) -> Check:
        """Prove the key or the consent with one call; two more tell how its first active site does.

        Energy is today's, from the site's midnight; power is the mean of the newest quarter of an hour that
        holds any, and last_update is when that ended. A fleet beyond the first 1,000 sites is not counted.
        """
        bodies = (await self._page(1)).sites.site if self._only is None else [await self._site(self._only)]
        sites = [parse_site(body) for body in bodies]
        if not sites:
            return Check(sites=0)
        first = next((at for at, site in enumerate(sites) if site.active), 0)
        ref, known = sites[first].ref, [site.capacity_wp for site in sites if site.capacity_wp]
        energy_today_wh, newest = None, None
        try:
            today = await self._get("overview", f"/sites/{ref}/overview", OverviewBody, site=ref)
            energy_today_wh = parse_overview(today, ref)
            lately = _query(Window(now - _RANGE, now))
            power = await self._get("power", f"/sites/{ref}/power", SeriesBody, lately, ref)
            newest = parse_power(power, ref, now)
        except Forbidden:
            # The key is good all the same; each stream of that site will say what it may not read.
            pass
        power_w, at = newest or (None, None)
        return Check(
            sites=len(sites),
            capacity_wp=sum(known) if known else None,
            current_power_w=power_w,
            energy_today_wh=energy_today_wh,
            status=text((bodies[first].site or bodies[first]).activation_status),
            last_update=at,
        )

    async def discover(self, now: datetime) -> tuple[FoundSite, ...]:  # noqa: ARG002 - the contract's signature
        """Return every site of the key, or the one of the consent.

        Raises BadPayload where the pages repeat or never end.
        """
        if self._only is not None:
            # A token may not read the list of sites.
            return (parse_site(await self._site(self._only)),)
        found: dict[str, FoundSite] = {}
        for number in range(1, _MOST_PAGES + 1):
            sites = parse_sites(await self._page(number))
            before = len(found)
            found |= {site.ref: site for site in sites}
            if len(sites) < _PAGE_SIZE:
                return tuple(found.values())
            if len(found) == before:
                raise bad_payload("sites", f"SolarEdge sent a page of sites again, as page {number}")
        raise bad_payload("sites", f"SolarEdge sent more than {_MOST_PAGES} full pages of sites")

    async def fetch(self, stream: str, subject: str, window: Window | None, now: datetime) -> Batch:
        """Fetch one stream for a site's id; no window means the last 12 h, a longer one several calls."""
        if stream == "sites":
            return Batch(sites=await self.discover(now))
        _check_ref(stream, subject)
        if stream == "inventory":
            return await self._inventory(subject, now)
        window = window or Window(now - _RANGE, now)
        start, end = ceil_time(window.start, STEP_S), floor_time(min(window.end, now), STEP_S)
        if start >= end:
            return Batch()
        asked = Window(start, end)
        tolds = [await self._ask(stream, subject, part) for part in asked.chunks(RANGE_S)]
        return gather(tolds, asked, now)

    async def _ask(self, stream: str, site: str, asked: Window) -> Told:
        path, query = f"/sites/{site}", _query(asked)
        match stream:
            case "energy":
                energy = await self._get(stream, f"{path}/energy", SeriesBody, query, site)
                return parse_energy(energy, site, asked)
            case "meters":
                meters = await self._get(stream, f"{path}/meters/telemetry", MetersBody, query, site)
                return parse_meters(meters, site, asked)
            case "storage":
                storage = await self._get(stream, f"{path}/storage/telemetry", StorageBody, query, site)
                return parse_storage(storage, site, asked)
        raise bad_payload(stream, "SolarEdge has no such stream")

    async def _inventory(self, site: str, now: datetime) -> Batch:
        found = parse_site(await self._site(site))
        kinds = [("types", kind) for kind in KINDS]
        devices = await self._get("devices", f"/sites/{site}/devices", list[DeviceBody], kinds, site)
        series: Mapping[str, Mapping[str, object]] = {}
        if any(device.type == "METER" for device in devices):
            end = floor_time(now, STEP_S)
            query = _query(Window(end - _RANGE, end))
            try:
                probe = await self._get("meters", f"/sites/{site}/meters/telemetry", MetersBody, query, site)
                series = probe.meters
            except Forbidden:
                # The devices are known all the same; what they measure shows once the plan allows a look.
                pass
        return Batch(sites=(found,), devices=parse_devices(devices, site, series))

    async def _site(self, ref: str) -> SiteBody:
        _check_ref("site", ref)
        body = await self._get("site", f"/sites/{ref}", SiteBody, site=ref)
        if parse_site(body).ref != ref:
            raise bad_payload("site", "SolarEdge answered for another site")
        return body

    async def _page(self, number: int) -> SitesBody:
        paging = (("page", str(number)), ("sites-in-page", str(_PAGE_SIZE)))
        return await self._get("sites", "/sites", SitesBody, paging)

    async def _get(
        self,
        operation: str,
        path: str,
        into: type[T],
        params: Sequence[tuple[str, str]] = (),
        site: str | None = None,
    ) -> T:
        answer = await self._http.get(
            operation,
            path,
            into=into,
            params=params,
            headers={"X-API-Key": self._key} if self._key else {},
            subject=site,
            explain=self._explain,
            seen=self._seen,
        )
        return answer.data

    def _explain(self, refusal: Refusal) -> VendorError | None:
        # A body that repeats the key is not read at all.
        if self._key and self._key.encode() in refusal.body:
            refusal = replace(refusal, body=b"")
        return explain(refusal, consent=self._only is not None)

    async def _seen(self, headers: Mapping[str, str]) -> None:
        limit = _count(headers, "x-ratelimit-limit-minute")
        left = _count(headers, "x-ratelimit-remaining-minute")
        if limit and left is not None and left <= limit:
            await self._http.ledger.observe(QuotaWindow.MINUTE, limit, left)
