"""`enalysis quota`: what each vendor account allows, has spent and has left."""

from collections.abc import Sequence
from datetime import datetime

from enalysis.cli import output
from enalysis.cli.session import Organization, run, session
from enalysis.queries.connections import connections
from enalysis.queries.shapes import ConnectionRow
from enalysis.web.formats import until

CHOSEN = "* assumed by us: the vendor publishes no figure."


def quota(*, organization: Organization = None, as_json: output.AsJSON = False) -> None:
    """Show every vendor account's windows: what they allow, what is taken and left, when they turn."""
    run(_quota(organization, as_json=as_json))


async def _quota(organization: str | None, *, as_json: bool) -> None:
    async with session(organization) as opened:
        runtime = opened.runtime
        now = runtime.clock()
        rows = await connections(opened.scope, opened.db, runtime.vendors.specs, now)
    if as_json:
        output.document({"sandbox": runtime.sandbox, "accounts": _accounts(rows)})
    elif not rows:
        output.say("There is no connection yet. Next: `enalysis connection add VENDOR`.")
    else:
        _show(rows, now)


def _accounts(rows: Sequence[ConnectionRow]) -> list[dict[str, object]]:
    """Return the accounts, each once, with the connections that share its quota."""
    found: dict[tuple[str, str], dict[str, object]] = {}
    sharing: dict[tuple[str, str], list[dict[str, object]]] = {}
    for row in rows:
        key = (row.vendor, row.fingerprint)
        sharing.setdefault(key, []).append({"id": row.id, "name": row.name})
        found[key] = {
            "vendor": row.vendor,
            "account": row.fingerprint,
            "plan": row.plan,
            "connections": sharing[key],
            "windows": [
                {
                    "window": each.window,
                    "limit": each.limit,
                    "taken": each.taken,
                    "left": max(0, each.limit - each.taken),
                    "chosen": each.chosen,
                    "turns_at": each.turns_at,
                }
                for each in row.quota
            ],
        }
    return list(found.values())


def _show(rows: Sequence[ConnectionRow], now: datetime) -> None:
    lines = [
        (
            row.name,
            f"{row.vendor_label}, {row.plan_label}",
            each.window,
            f"{each.limit:,}{'*' if each.chosen else ''}",
            f"{each.taken:,}",
            f"{max(0, each.limit - each.taken):,}",
            # Of a window that is not touched nothing comes back.
            until(each.turns_at, now) if each.taken else "–",
        )
        for row in rows
        for each in row.quota
    ]
    figures = ("Allowed", "Taken", "Left")
    output.table(("Connection", "Account", "Window", *figures, "Some comes back"), lines, right=figures)
    if any(each.chosen for row in rows for each in row.quota):
        output.say(CHOSEN)
