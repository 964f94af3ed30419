"""Enphase's plans, access controls and demo accounts, and the apps by which the accounts are connected."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from enalysis.simulators import fleet
from enalysis.simulators.accounts import Account, Plan, made_up
from enalysis.simulators.oauth import App, AppKind, AppState, Lifetimes
from enalysis.simulators.world import WorldSite

KEY = "enphase"
# Quotas are per application; its minutes and months are those of the clock and the calendar in UTC.
PLANS = {
    "watt": Plan("watt", "Watt", 10, 1000, documented=True),
    "kilowatt": Plan("kilowatt", "Kilowatt", 50, 50_000, documented=True),
    "megawatt": Plan("megawatt", "Megawatt", 100, 300_000, documented=True),
    # What an installer may choose to stay inside; the vendor serves more, and charges for it.
    "partner_free": Plan("partner_free", "Partner, free calls only", 300, 1_500_000, documented=True),
    "partner": Plan("partner", "Partner", 300, 1_500_000, documented=True),
}
BILLED_FROM = datetime(2023, 1, 1, tzinfo=UTC)
# A day, and a twelfth of a year; both documented, the second to the second by a recorded pair.
LIFETIMES = Lifetimes(access_s=86_400, refresh_s=2_629_746)
# So short that a person watching sees a renewal; chosen.
BRIEF_S = 330

DETAILS = "System Details"
PRODUCTION = "Site Level Production"
CONSUMPTION = "Site Level Consumption"
DEVICE_LEVEL = "Device Level Monitoring"
_WATT = frozenset({DETAILS, PRODUCTION, CONSUMPTION, "EV Charger Monitoring"})
_KILOWATT = _WATT | {DEVICE_LEVEL, "Streaming"}
_MEGAWATT = _KILOWATT | {"System Configurations"}
ACCESS = {
    "watt": _WATT,
    "kilowatt": _KILOWATT,
    "megawatt": _MEGAWATT,
    "partner_free": _MEGAWATT | {"Commissioning API", "EV Charger Control"},
    "partner": _MEGAWATT | {"Commissioning API", "EV Charger Control"},
}
# What each demo account's app is, where it is not simply verified with all its plan includes.
_WITHOUT = {"slim": frozenset({CONSUMPTION})}
_STATES = {"pending": AppState.PENDING}
_ACCESS_S = {"expiring": BRIEF_S}


def demo_accounts(seed: int, plans: Mapping[str, str]) -> tuple[Account, ...]:
    """Return the demo's accounts; `plans` names another plan for an account, by their keys."""
    wanted: tuple[tuple[str, str, str, str, Iterable[WorldSite]], ...] = (
        ("household", "A household that allows an app on the Watt plan", "developer", "watt", fleet.HOUSEHOLD),
        ("portfolio", "An installer's fleet around the world", "partner", "partner", fleet.PORTFOLIO),
        ("lapsed", "An owner who is going to revoke the grant", "developer", "watt", fleet.LAPSED),
        ("expiring", "An app whose tokens live five and a half minutes", "developer", "kilowatt", fleet.BRIEF),
        ("pending", "An installer's app that waits for approval", "partner", "partner", (*fleet.BRIEF, *fleet.LAPSED)),
        ("slim", "An app without access to consumption", "developer", "watt", fleet.GARDEN),
    )
    return tuple(
        make_account(seed, key, label, way, plans.get(key, plan), tuple(site.key for site in sites))
        for key, label, way, plan, sites in wanted
    )


def crowd_account(seed: int, sites: Iterable[WorldSite]) -> Account:
    """Return an installer's account of many sites, for whoever has to turn pages; no part of the demo."""
    keys = tuple(site.key for site in sites)
    return make_account(seed, "crowd", "An installer of row houses", "partner", "partner", keys)


def make_account(
    seed: int, key: str, label: str, way: str, plan: str, sites: tuple[str, ...], *, app: str | None = None
) -> Account:
    """Return an account and the app it is connected by: its own, or that of the account named `app`."""
    owner = app or key
    login = {"username": f"{key}@sandbox.example", "password": made_up("enphase password", seed, key, 8)}
    return Account(
        KEY,
        key,
        label,
        login if way == AppKind.PARTNER else {},
        PLANS[plan],
        sites,
        BILLED_FROM,
        way=way,
        app={
            "client_id": made_up("enphase client", seed, owner, 24),
            "client_secret": made_up("enphase secret", seed, owner, 24),
            "api_key": made_up("enphase key", seed, owner, 24),
        },
        app_label=f"Enalysis sandbox ({owner})",
        login=login,
    )


def apps_of(accounts: Iterable[Account]) -> list[App]:
    """Return the apps of the accounts; the first account of an app says what it is."""
    apps: dict[str, App] = {}
    for a in accounts:
        apps.setdefault(
            a.app["client_id"],
            App(
                a.app["client_id"],
                a.app["client_secret"],
                a.app["api_key"],
                a.app_label,
                kind=AppKind(a.way),
                state=_STATES.get(a.key, AppState.VERIFIED),
                access=ACCESS[a.plan.key] - _WITHOUT.get(a.key, frozenset()),
                access_s=_ACCESS_S.get(a.key),
            ),
        )
    return list(apps.values())
