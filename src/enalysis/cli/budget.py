"""`enalysis budget`: what every app and account may spend, has spent and will, and how fresh each site is."""

from collections.abc import Sequence

from enalysis.cli import output
from enalysis.cli.session import Organization, run, session
from enalysis.queries.budget import budget as find_budget
from enalysis.queries.budget_shapes import BudgetAccount
from enalysis.queries.budget_words import span
from enalysis.web.formats import digits


def budget(*, organization: Organization = None, as_json: output.AsJSON = False) -> None:
    """Show each app and account: used, planned and kept calls, how long they last, how fresh its sites are."""
    run(_budget(organization, as_json=as_json))


async def _budget(organization: str | None, *, as_json: bool) -> None:
    async with session(organization) as opened:
        runtime = opened.runtime
        accounts = await find_budget(opened.scope, opened.db, runtime.vendors.specs, runtime.clock())
    if as_json:
        output.document({"sandbox": runtime.sandbox, "accounts": accounts})
    elif not accounts:
        output.say("There is no connection yet. Next: `enalysis connection add VENDOR`.")
    else:
        _show(accounts)


def _show(accounts: Sequence[BudgetAccount]) -> None:
    figures = ("Allowed", "Used", "Planned", "Kept")
    windows = [
        (
            account.name,
            f"{account.vendor_label}, {account.plan_label}",
            each.window,
            f"{each.limit:,}{'*' if each.chosen else ''}",
            f"{each.used:,}",
            f"{each.planned:,}",
            f"{each.people:,}",
            each.sentence,
        )
        for account in accounts
        for each in account.windows
    ]
    output.table(("Account", "Plan", "Window", *figures, "How it ends"), windows, right=figures)
    sites = [
        (site.name, connection.name, digits(site.per_day), "–" if site.age_s is None else span(site.age_s))
        for account in accounts
        for connection in account.connections
        for site in connection.sites
    ]
    if sites:
        output.table(("Site", "Connection", "Calls a day", "Mean age"), sites, right=("Calls a day", "Mean age"))
    for account in accounts:
        for offer in account.plans if len(account.plans) > 1 else ():
            output.say(f"{account.name}, {offer.label}{' (yours)' if offer.current else ''}: {offer.sentence}")
    if any(each.chosen for account in accounts for each in account.windows):
        output.say("* assumed by us: the vendor publishes no figure.")
