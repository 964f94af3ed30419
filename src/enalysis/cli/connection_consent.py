"""`enalysis connection authorize` and `reconnect`: signing in at a vendor from a terminal."""

import secrets
import sys
from typing import Final

from enalysis.actions import apps as app_actions
from enalysis.actions import connections as actions
from enalysis.actions import consent
from enalysis.actions.consent import Finished
from enalysis.cli import credential, output
from enalysis.cli.connection import Name, Saved, answer, find, in_words
from enalysis.cli.session import Organization, Session, run, session
from enalysis.cli.vendor_app import app_for, find_choice
from enalysis.connectors.base import Auth, Spec, Way
from enalysis.core.errors import Refused
from enalysis.store.connections import Connection

_SECRET_BYTES: Final = 32


def authorize(
    vendor: credential.Vendor,
    *,
    app: credential.AppKey = None,
    name: Name = "",
    organization: Organization = None,
    as_json: output.AsJSON = False,
) -> None:
    """Connect by an owner's consent: prints the address to open and takes the address the browser ends on."""
    spec = credential.find_spec(vendor)
    run(_authorize(spec, app, name, organization, as_json=as_json))


def reconnect(
    which: Saved,
    *,
    app: credential.AppKey = None,
    given: credential.Given = None,
    files: credential.Files = None,
    organization: Organization = None,
    as_json: output.AsJSON = False,
) -> None:
    """Sign a connection in again, or give its key anew, also through another app; sites and history stay."""
    run(_reconnect(which, app, given, files, organization, as_json=as_json))


async def _authorize(spec: Spec, app: str | None, name: str, organization: str | None, *, as_json: bool) -> None:
    ways = [w for w in spec.ways if w.auth is Auth.OAUTH and w.app is not None]
    if not ways:
        msg = f"{spec.label} asks for no consent: give its credential with `enalysis connection add {spec.key}`"
        raise Refused(msg)
    async with session(organization) as opened:
        await _consent(opened, spec, ways[0], app, name, None, as_json=as_json)


async def _reconnect(
    which: str,
    app: str | None,
    given: list[str] | None,
    files: list[str] | None,
    organization: str | None,
    *,
    as_json: bool,
) -> None:
    async with session(organization) as opened:
        runtime = opened.runtime
        meant = await find(opened, which)
        spec = runtime.vendors.spec(meant.vendor)
        way = spec.way(meant.way)
        if app is not None:
            way = app_actions.way_of(spec, (await find_choice(opened, spec, None, app)).kind)
        if way.auth is Auth.OAUTH:
            wanted = app or (None if meant.app_id is None else str(meant.app_id))
            await _consent(opened, spec, way, wanted, meant.name, meant, as_json=as_json)
            return
        fields = credential.read(spec, way, given, files)
        through = None if app is None else await app_for(opened, spec, way, app)
        with output.busy(f"Testing the credential at {spec.label}"):
            found = await actions.enter_again(
                opened.scope, opened.db, runtime.vendors, meant.id, fields, runtime.clock(), through
            )
        if as_json:
            output.document({"connection": meant.id, "renewed": True, "test": answer(spec.key, found)})
            return
        told = "saved, and waiting for the vendor's approval" if found is None else in_words(found, runtime.clock())
        output.say(f"{meant.name!r}: {told}. Its sites and its history stay.")


async def _consent(
    opened: Session, spec: Spec, way: Way, app: str | None, name: str, again: Connection | None, *, as_json: bool
) -> None:
    runtime = opened.runtime
    assert way.app is not None  # noqa: S101 - only ways with apps ask for consent
    assert way.oauth is not None  # noqa: S101 - likewise
    chosen = await find_choice(opened, spec, way.app.value, app)
    # What came back must come back here: this process is the only one that knows the secret.
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    public_url = runtime.settings.public_url.rstrip("/")
    pasted = way.oauth.shows_code_at is not None
    started = await consent.begin(
        opened.scope,
        opened.db,
        runtime.vendors,
        session=secret,
        vendor=spec.key,
        app=chosen.key,
        public_url=public_url,
        now=runtime.clock(),
        name=name,
        connection=None if again is None else again.id,
        pasted=pasted,
    )
    output.say(f"Open this address within ten minutes, sign in at {spec.label} and allow the app:")
    output.say(started.address)
    params = consent.parse_pasted(_pasted(spec, public_url, pasted=pasted))
    if not params:
        msg = "that is not the whole address: copy everything from https to its last letter, not the code alone"
        raise Refused(msg)
    done = await consent.finish(
        opened.scope,
        opened.db,
        runtime.vendors,
        session=secret,
        vendor=spec.key,
        params=params,
        public_url=public_url,
        now=runtime.clock(),
        pasted=pasted,
    )
    _tell(opened, spec, done, await find(opened, str(done.connection)), as_json=as_json)


def _pasted(spec: Spec, public_url: str, *, pasted: bool) -> str:
    if pasted:
        output.say(f"{spec.label} then shows a page with a code. Copy the whole address of that page.")
    else:
        output.say(
            f"Your browser then ends on an address that begins with {consent.callback_address(public_url, spec.key)}."
            " Copy all of it from the address bar. Where the pages of this server answer there, connect from them"
            " instead: they take the address away."
        )
    if sys.stdin.isatty() and output.people.is_terminal:
        return output.people.input("Address: ")
    return sys.stdin.readline()


def _tell(opened: Session, spec: Spec, done: Finished, saved: Connection, *, as_json: bool) -> None:
    if as_json:
        trouble = None if done.trouble is None else output.problem_of(done.trouble)
        output.document(
            {
                "sandbox": opened.runtime.sandbox,
                "connection": saved.id,
                "name": saved.name,
                "renewed": done.renewed,
                "test": answer(spec.key, done.found),
                "trouble": trouble,
            }
        )
        return
    word = "Signed in again" if done.renewed else "Saved"
    output.say(f"{word} as {saved.name!r} ({str(saved.id)[:8]}).")
    if done.found is not None:
        output.say(f"{spec.label}: {in_words(done.found, opened.runtime.clock())}.")
    elif done.trouble is not None:
        output.say(f"The sign-in is kept, but the first look failed: {output.sentence_of(done.trouble)}")
