"""Enphase's Monitoring API v4, through an app of one's own: the client; its card lies beside it."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from enalysis.connectors.base import Batch, Check, FoundSite
from enalysis.connectors.calls import Refusal
from enalysis.connectors.enphase_card import DAY_S, SPEC
from enalysis.connectors.enphase_refusals import OutOfRange, explain, told_limit
from enalysis.connectors.enphase_series import (
    METER_S,
    Told,
    gather,
    parse_battery,
    parse_consumption,
    parse_export,
    parse_import,
    parse_micros,
    parse_production,
)
from enalysis.connectors.enphase_wire import (
    DevicesBody,
    SummaryBody,
    SystemBody,
    SystemsBody,
    TelemetryBody,
    bad_payload,
    parse_devices,
    parse_summary,
    parse_system,
    parse_systems,
    whole,
)
from enalysis.connectors.http import VendorHTTP
from enalysis.connectors.values import text
from enalysis.core.errors import Forbidden, QuotaSpent, VendorError
from enalysis.core.intervals import Window, ceil_time, floor_time
from enalysis.core.quotas import QuotaWindow

__all__ = ["SPEC", "Enphase"]

T = TypeVar("T")

_PAGE_SIZE, _MOST_PAGES = 100, 100
_SITE = re.compile(r"[1-9][0-9]{0,17}")
# Stream -> what stands in its path below the system, and what reads its answer.
_SERIES: Mapping[str, tuple[str, Callable[[TelemetryBody, str, Window], Told]]] = {
    # rgm_stats would bring metered production as well, seven days a call like this one, but with three channels
    # for every quarter, failures of its own, and two documented answers to what a longer range does.
    "production": ("telemetry/production_meter", parse_production),
    "micros": ("telemetry/production_micro", parse_micros),
    "import": ("energy_import_telemetry", parse_import),
    "export": ("energy_export_telemetry", parse_export),
    "consumption": ("telemetry/consumption_meter", parse_consumption),
    "battery": ("telemetry/battery", parse_battery),
}


class Enphase:
    """One sign-in at Enphase, through the app whose API key goes with every call."""

    def __init__(self, http: VendorHTTP, credential: Mapping[str, str]) -> None:
        self.spec = SPEC
        self._http = http
        self._key = credential.get("api_key", "").strip()
        # When the last answer was a 429 that told no window; None: it was not.
        self._bare_at: datetime | None = None

    async def check(self, now: datetime) -> Check:
        """Prove key and sign-in with one call; one more tells how the first healthy system does.

        Energy is today's; power is None where the newest interval ended more than an hour ago. The capacity
        is told where there is one system only: each other one would cost a call.
        """
        page = await self._page(1)
        sites = parse_systems(page)
        if not sites:
            return Check(sites=0)
        states = [(text(system.status) or "").lower() for system in page.systems]
        first = states.index("normal") if "normal" in states else 0
        count = max(whole(page.total) or 0, len(sites))
        try:
            summary = parse_summary(await self._summary(sites[first].ref), sites[first].ref, now)
        except Forbidden:
            # The sign-in is good all the same; each stream of that system will say what it may not read.
            return Check(sites=count, status=states[first] or None)
        return Check(
            sites=count,
            capacity_wp=summary.size_wp if count == 1 else None,
            current_power_w=summary.power_w,
            energy_today_wh=summary.energy_today_wh,
            status=summary.status or states[first] or None,
            last_update=summary.interval_end or summary.reported_at,
        )

    async def discover(self, now: datetime) -> tuple[FoundSite, ...]:  # noqa: ARG002 - the contract's signature
        """Return every site of the sign-in. Raises BadPayload where the pages repeat or never end."""
        found: dict[str, FoundSite] = {}
        for number in range(1, _MOST_PAGES + 1):
            page = await self._page(number)
            before = len(found)
            found |= {site.ref: site for site in parse_systems(page)}
            # The vendor may give fewer a page than asked for, so its own size and total say which is the last.
            size, total = whole(page.size) or _PAGE_SIZE, whole(page.total)
            told = (number - 1) * size + len(page.systems)
            if not page.systems or (len(page.systems) < size if total is None else told >= total):
                return tuple(found.values())
            if len(found) == before:
                raise bad_payload("systems", f"Enphase sent a page of systems again, as page {number}")
        raise bad_payload("systems", f"Enphase sent more than {_MOST_PAGES} full pages of systems")

    async def fetch(self, stream: str, subject: str, window: Window | None, now: datetime) -> Batch:
        """Fetch one stream for a system's id; no window means the last day, a longer one several calls."""
        if stream == "systems":
            return Batch(sites=await self.discover(now))
        # It goes into a path, so whatever is not a plain number stays out.
        if _SITE.fullmatch(subject) is None:
            raise bad_payload(stream, "a system's reference at Enphase is a number")
        if stream == "inventory":
            return await self._inventory(subject, now)
        if stream not in _SERIES:
            raise bad_payload(stream, "Enphase has no such stream")
        card = SPEC.stream(stream)
        step_s, window_s = card.step_s or METER_S, card.window_s or DAY_S
        window = window or Window(now - timedelta(seconds=DAY_S), now)
        # Whole buckets only: a range that begins at another second each time is never served from a cache.
        begin, end = ceil_time(window.start, step_s), floor_time(min(window.end, now), step_s)
        if begin >= end:
            return Batch()
        asked = Window(begin, end)
        tolds = [await self._ask(stream, subject, part) for part in asked.chunks(window_s)]
        return gather(tolds, subject, asked, step_s, now)

    async def _ask(self, stream: str, site: str, asked: Window) -> Told:
        """Ask for what begins with `asked` and is a day or a week long; what lies beyond is passed over.

        The end of the range is not a documented parameter here.
        """
        path, parse = _SERIES[stream]
        length = "day" if asked.seconds <= DAY_S else "week"
        query = (("start_at", str(int(asked.start.timestamp()))), ("granularity", length))
        try:
            body = await self._get(stream, f"/systems/{site}/{path}", TelemetryBody, query, site)
        except OutOfRange:
            return Told()
        return parse(body, site, asked)

    async def _inventory(self, site: str, now: datetime) -> Batch:
        # The size stands in the summary only, the zone and the name only with the system: three calls a week.
        body = await self._get("system", f"/systems/{site}", SystemBody, site=site)
        if str(body.system_id) != site:
            raise bad_payload("system", "Enphase answered for another system")
        summary = parse_summary(await self._summary(site), site, now)
        devices = await self._get("devices", f"/systems/{site}/devices", DevicesBody, site=site)
        return Batch(sites=(parse_system(body, summary.size_wp),), devices=parse_devices(devices, site))

    async def _page(self, number: int) -> SystemsBody:
        # Sorted, so that a system that is added meanwhile moves none from one page to the next.
        paging = (("page", str(number)), ("size", str(_PAGE_SIZE)), ("sort_by", "id"))
        return await self._get("systems", "/systems", SystemsBody, paging)

    async def _summary(self, site: str) -> SummaryBody:
        return await self._get("summary", f"/systems/{site}/summary", SummaryBody, site=site)

    async def _get(
        self,
        operation: str,
        path: str,
        into: type[T],
        params: Sequence[tuple[str, str]] = (),
        site: str | None = None,
    ) -> T:
        limits: list[tuple[QuotaWindow, int]] = []

        def explain_here(refusal: Refusal) -> VendorError | None:
            told = told_limit(refusal)
            limits.extend([told] if told else [])
            error = explain(refusal, again=self._refused_before(refusal.at))
            if isinstance(error, QuotaSpent) and told is None:
                self._bare_at = refusal.at
            return error

        try:
            answer = await self._http.get(
                operation,
                path,
                into=into,
                params=params,
                # Never as a parameter of the address, where logs and errors would show it.
                headers={"key": self._key},
                subject=site,
                explain=explain_here,
            )
        except QuotaSpent:
            for window, limit in limits:
                await self._http.ledger.observe(window, limit, 0)
            raise
        self._bare_at = None
        return answer.data

    def _refused_before(self, at: datetime) -> bool:
        return self._bare_at is not None and floor_time(self._bare_at, 60) < floor_time(at, 60)
