"""The budget's sentences: the same on the page, in the API and on the command line."""

import re
from dataclasses import replace
from datetime import UTC, datetime

from enalysis.core.outlook import Fate, Outlook
from enalysis.core.quotas import Alignment, Budget
from enalysis.queries.budget_shapes import BudgetAccount, BudgetPlan

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONEY = re.compile(r"[$€£]|\bfree\b", re.IGNORECASE)
_HOUR_S, _DAY_S = 3600, 86400


def window(budget: Budget, seen: Outlook) -> str:
    """Say what becomes of a quota."""
    name = budget.quota.window.value
    at = moment(seen.ends_at)
    if seen.fate is Fate.HELD:
        return f"The vendor asked to wait until {at}; collecting goes on by itself then."
    if seen.fate is Fate.SPENT:
        return f"Used up but for what people may spend: some comes back {at}, and collecting goes on by itself."
    if seen.fate is Fate.RUNS_OUT:
        return f"At the present pace it is used up {at}; polls slow down before, so that it lasts."
    if name in {"minute", "hour"}:
        return f"Busy hours take about {seen.planned:,} of {budget.quota.limit:,} calls a {name}."
    turn = "when it begins anew" if budget.quota.alignment is Alignment.CALENDAR else "when calls come back"
    return f"It lasts: about {seen.left_over:,} of {budget.quota.limit:,} calls will be free {turn}."


def site(every_s: int | None, age_s: float | None) -> str:
    """Say how fresh a site is."""
    if every_s is None or age_s is None:
        return "Nothing is fetched for it now."
    return f"Asked every {span(every_s)}; its newest value is {span(age_s)} old on average by day."


def price(note: str) -> str | None:
    """Return the sentences of a plan's note that speak of money, or None."""
    told = [part for part in re.split(r"(?<=[.;])\s+", note) if _MONEY.search(part)]
    return " ".join(told) or None


def with_offer(plan: BudgetPlan) -> BudgetPlan:
    """Return the plan with its sentence."""
    said = "These sites would" if not plan.current else "A full month would have these sites"
    text = "Nothing is fetched yet, so nothing can be said of it."
    if plan.age_s is not None:
        verb = "be" if not plan.current else ""
        text = " ".join(f"{said} {verb} {span(plan.age_s)} old on average by day.".split())
    return replace(plan, sentence=text)


def with_sentence(account: BudgetAccount) -> BudgetAccount:
    """Return the account with the one sentence that matters of it."""
    ending = next((w for w in account.windows if w.fate in {Fate.HELD, Fate.SPENT, Fate.RUNS_OUT}), None)
    number = sum(len(c.sites) for c in account.connections)
    if ending is not None:
        text = f"This {ending.window}: {ending.sentence}"
    elif not account.windows:
        text = "No quota is known for it."
    elif account.mean_age_s is None:
        text = "It lasts; no site is fetched with it yet."
    else:
        sites = "its site is" if number == 1 else f"its {number:,} sites are"
        text = f"It lasts: {sites} {span(account.mean_age_s)} old on average by day."
    return replace(account, sentence=text)


def span(seconds: float) -> str:
    """Say a length of time: "9 min", "2.5 h", "3 days"."""
    if seconds < 2 * _HOUR_S:
        return f"{max(1, round(seconds / 60))} min"
    if seconds < 2 * _DAY_S:
        return f"{seconds / _HOUR_S:.1f} h"
    return f"{seconds / _DAY_S:.1f} days"


def moment(at: datetime | None) -> str:
    """Write an instant: "on 22 Nov 2026, 14:05 UTC"."""
    if at is None:
        return "later"
    utc = at.astimezone(UTC)
    return f"{utc.day} {_MONTHS[utc.month - 1]} {utc.year}, {utc:%H:%M} UTC"
