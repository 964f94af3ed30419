"""How a site or a connection is doing, in one state and one sentence."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from enalysis.queries.shapes import Health

# A site that told nothing for so long during the day wants a look, and for a whole day and night an action.
QUIET = timedelta(hours=3)
SILENT = timedelta(hours=26)

_STATE_HEALTH = {
    "healthy": Health.GOOD,
    "connecting": Health.UNKNOWN,
    "paused": Health.UNKNOWN,
    "degraded": Health.WATCH,
    "quota_spent": Health.WATCH,
    "vendor_unavailable": Health.WATCH,
    "clock_off": Health.WATCH,
    "bad_payload": Health.WATCH,
    "waiting_for_vendor": Health.WATCH,
    "forbidden": Health.ACT,
    "reauth_required": Health.ACT,
    "vendor_api_retired": Health.ACT,
    "app_misconfigured": Health.ACT,
    "account_locked": Health.WATCH,
}
_RANK = {Health.ACT: 0, Health.WATCH: 1, Health.UNKNOWN: 2, Health.GOOD: 3}


@dataclass(frozen=True, slots=True)
class Signs:
    """What is known of a site for judging it.

    state, fault: of its worst connection. heard_at: when a vendor last answered about it. at: end of the
    newest value. dark: the sun is down there.
    """

    state: str | None
    fault: str | None
    heard_at: datetime | None
    at: datetime | None
    dark: bool


def of_state(state: str) -> Health:
    """Return the health a connection's state means."""
    return _STATE_HEALTH.get(state, Health.WATCH)


def rank(health: Health) -> int:
    """Return 0 for the worst; unknown stands between watch and good."""
    return _RANK[health]


def judge(signs: Signs, now: datetime) -> tuple[Health, str]:
    """Return a site's health and the sentence that matters."""
    if signs.state is None:
        return Health.UNKNOWN, "No connection feeds this site"
    if signs.at is None:
        if signs.state in ("connecting", "healthy"):
            return Health.UNKNOWN, "Waiting for its first reading"
        return of_state(signs.state), signs.fault or "No reading yet"
    age = now - signs.at
    state = of_state(signs.state)
    if state is Health.ACT or (state is Health.WATCH and age > QUIET):
        return state, signs.fault or "Its connection has a problem"
    if age > SILENT:
        return Health.ACT, f"Silent for {_hours(age)}"
    if age > QUIET and not signs.dark:
        return Health.WATCH, f"No new value for {_hours(age)}"
    return Health.GOOD, "Asleep until sunrise" if signs.dark else "Reporting"


def _hours(age: timedelta) -> str:
    hours = age.total_seconds() / 3600
    return f"{hours:.0f} hours" if hours < 48 else f"{hours / 24:.0f} days"  # noqa: PLR2004 - two days
