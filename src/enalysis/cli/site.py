"""`enalysis site`: the fleet as a list, and one site with its day."""

from collections.abc import Sequence
from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Final

import typer

from enalysis.cli import output
from enalysis.cli.session import Organization, pick, run, session
from enalysis.core.metrics import Quality
from enalysis.queries import sites as site_queries
from enalysis.queries.fleet import fleet
from enalysis.queries.shapes import DayTotals, FleetPage, FleetRow, Health, SiteDay, SiteHead, SiteNow
from enalysis.store.sites import list_sites
from enalysis.web.formats import UNKNOWN, age, calendar_day, count, moment, percent, quantity, scale_of

_PER_PAGE: Final = 50
_LIST: Final = "`enalysis site list` shows them"

site = typer.Typer(help="Look at sites: the list of all, or one of them.", no_args_is_help=True)


class Sort(StrEnum):
    """The orders of the list."""

    WORST = "worst"
    NAME = "name"
    POWER = "power"
    TODAY = "today"
    LAST = "last"


@site.command("list")
def show_all(
    *,
    search: Annotated[str, typer.Option("--search", metavar="WORDS", help="Words of the name or address.")] = "",
    health: Annotated[Health | None, typer.Option("--health", help="Only sites that are so.")] = None,
    vendor: Annotated[
        str | None, typer.Option("--vendor", metavar="VENDOR", help="Only sites that this vendor feeds.")
    ] = None,
    sort: Annotated[Sort, typer.Option("--sort", help="What comes first.")] = Sort.WORST,
    page: Annotated[int, typer.Option("--page", min=1, help="Which page.")] = 1,
    per_page: Annotated[int, typer.Option("--per-page", min=1, max=1000, help="Sites on a page.")] = _PER_PAGE,
    organization: Organization = None,
    as_json: output.AsJSON = False,
) -> None:
    """Show the sites, worst first: how they do, their power now, today's energy."""
    run(_list(organization, search, health, vendor, sort, page, per_page, as_json=as_json))


@site.command()
def show(
    which: Annotated[str, typer.Argument(metavar="SITE", help="Its name or id, or how either begins.")],
    *,
    day: Annotated[
        datetime | None,
        typer.Option("--day", formats=["%Y-%m-%d"], metavar="YYYY-MM-DD", help="A day there; today if left out."),
    ] = None,
    organization: Organization = None,
    as_json: output.AsJSON = False,
) -> None:
    """Show a site: how it does, its power now and how old that is, a day's energy; quarter-hours in JSON."""
    run(_show(which, None if day is None else day.date(), organization, as_json=as_json))


async def _list(
    organization: str | None,
    search: str,
    health: Health | None,
    vendor: str | None,
    sort: Sort,
    page: int,
    per_page: int,
    *,
    as_json: bool,
) -> None:
    async with session(organization) as opened:
        runtime = opened.runtime
        now = runtime.clock()
        found = await fleet(
            opened.scope,
            opened.db,
            now,
            search=search,
            health=health,
            vendor=vendor,
            sort=sort.value,
            page=page,
            per_page=per_page,
        )
    if as_json:
        output.document(
            {
                "sandbox": runtime.sandbox,
                "totals": found.totals,
                "rows": found.rows,
                "matching": found.matching,
                "page": found.page,
                "pages": found.pages,
                "per_page": found.per_page,
                "vendors": found.vendors,
            }
        )
        return
    if runtime.sandbox:
        output.say("Sandbox: every figure below is simulated.")
    if found.rows:
        _show_rows(found.rows, now)
    _show_totals(found)


def _show_rows(rows: Sequence[FleetRow], now: datetime) -> None:
    power = scale_of("W", (row.pv_w for row in rows))
    energy = scale_of("Wh", (value for row in rows for value in (row.pv_today_wh, row.pv_yesterday_wh)))
    lines = [
        (
            f"{row.name} (simulated)" if row.sandbox else row.name,
            row.health.value,
            row.reason,
            power.text(row.pv_w),
            age(row.at, now),
            energy.text(row.pv_today_wh),
            energy.text(row.pv_yesterday_wh),
            ", ".join(row.vendors) or UNKNOWN,
        )
        for row in rows
    ]
    now_title, *days = f"PV now, {power.unit}", f"Today, {energy.unit}", f"Yesterday, {energy.unit}"
    output.table(("Site", "Health", "What is", now_title, "As of", *days, "Vendors"), lines, right=(now_title, *days))


def _show_totals(found: FleetPage) -> None:
    totals = found.totals
    if totals.simulated:
        output.say(f"{count(totals.simulated, 'simulated site')}, counted in no total.")
    if not totals.sites and not totals.simulated:
        output.say("There is no site yet. Next: `enalysis connection add VENDOR`, which finds the sites behind it.")
        return
    power, energy = quantity(totals.pv_w, "W"), quantity(totals.pv_today_wh, "Wh")
    told = [
        f"{count(found.matching, 'site')} of {totals.sites + totals.simulated:,}, page {found.page} of {found.pages}",
        f"PV now {power.text} {power.unit} ({count(totals.pv_w_sites, 'site')})",
        f"today {energy.text} {energy.unit} ({count(totals.pv_today_sites, 'site')})",
        f"{totals.act:,} to act on, {totals.watch:,} to watch",
    ]
    output.say(" · ".join(told))


async def _show(which: str, wanted: date | None, organization: str | None, *, as_json: bool) -> None:
    async with session(organization) as opened:
        runtime = opened.runtime
        now = runtime.clock()
        async with opened.db.org(opened.scope) as conn:
            known = [(each.id, each.name) for each in await list_sites(opened.scope, conn)]
        meant = pick("site", known, which, _LIST)
        head = await site_queries.head(opened.scope, opened.db, meant, now)
        day = await site_queries.day(opened.scope, opened.db, meant, wanted, now)
    if as_json:
        age_s = None if head.now.at is None else round((now - head.now.at).total_seconds())
        output.document({"sandbox": runtime.sandbox or head.sandbox, "site": head, "age_s": age_s, "day": day})
        return
    if runtime.sandbox or head.sandbox:
        output.say("Sandbox: every figure below is simulated.")
    _show_head(head, now)
    _show_day(day)


def _show_head(head: SiteHead, now: datetime) -> None:
    size = quantity(head.capacity_wp, "Wp")
    about = [head.address or "", head.zone, f"{size.text} {size.unit}" if size.known else "", *head.vendors]
    output.say(f"{head.name} ({str(head.id)[:8]})\n{' · '.join(part for part in about if part)}")
    output.say(f"{head.health.value}: {head.reason}")
    if head.now.at is None:
        output.say("Power now: nothing known of the last two days.")
        return
    output.say(f"Power {age(head.now.at, now)}, at {moment(head.now.at, head.zone)} there:")
    output.table(("", "Power", ""), _flows(head.now), right=("Power",))


def _flows(now: SiteNow) -> list[tuple[str, str, str]]:
    def row(name: str, value_w: float | None, plus: str, minus: str) -> tuple[str, str, str]:
        shown = quantity(None if value_w is None else abs(value_w), "W")
        return name, f"{shown.text} {shown.unit}", "" if not value_w else plus if value_w > 0 else minus

    rows = [
        row("PV", now.pv_w, "", ""),
        row("Grid", now.grid_w, "import", "export"),
        row("Battery", now.battery_w, "discharge", "charge"),
        row("Load", now.load_w, "computed" if now.derived else "measured", ""),
    ]
    if now.soc_pct is not None:
        rows.append(("Battery level", f"{percent(now.soc_pct).text} %", ""))
    return rows


def _show_day(day: SiteDay) -> None:
    title = f"{calendar_day(day.day)} in {day.zone}"
    if day.totals is None:
        output.say(f"{title}: nothing is known of this day.")
        return
    totals = day.totals
    known = f"{totals.stored} of {count(totals.slots, 'slot')} stored"
    output.say(f"{title}: {known}{', simulated' if totals.quality & Quality.SANDBOX else ''}.")
    output.table(("", "Energy"), _energies(totals), right=("Energy",))


def _energies(totals: DayTotals) -> list[tuple[str, str]]:
    named = [
        ("PV", totals.pv_wh),
        ("Grid import", totals.grid_import_wh),
        ("Grid export", totals.grid_export_wh),
        ("Battery charge", totals.battery_charge_wh),
        ("Battery discharge", totals.battery_discharge_wh),
        ("Load", totals.load_wh),
        ("Not accounted for", totals.residual_wh),
    ]
    scale = scale_of("Wh", (value for _, value in named))
    return [(name, f"{scale.text(value)} {scale.unit}") for name, value in named]
