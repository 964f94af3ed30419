"""What a consent that came to nothing is told by: what happened, what still works, what to do."""

from dataclasses import dataclass
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from starlette.responses import Response

from enalysis.actions.consent import Failure
from enalysis.core.errors import NotFound
from enalysis.web.auth import RuntimeOf, SignedIn
from enalysis.web.pages.connections import spec_of
from enalysis.web.views import page

router = APIRouter(include_in_schema=False)
FAILED = "failed"
_NOTHING = "Nothing was connected and nothing was changed; your other connections go on."


@dataclass(frozen=True, slots=True)
class Words:
    """A failure's page; {vendor} stands for the vendor's name.

    Attributes:
        app: the button leads to the apps instead of starting again.
    """

    title: str
    happened: str
    works: str
    todo: str
    app: bool = False

    def about(self, label: str) -> "Words":
        """Return the words about the vendor of that name."""
        title, happened, works, todo = (
            text.replace("{vendor}", label) for text in (self.title, self.happened, self.works, self.todo)
        )
        return Words(title, happened, works, todo, self.app)


WORDS: dict[str, Words] = {
    Failure.REFUSED: Words(
        "You did not allow it",
        "{vendor} says that you refused the app, or closed its question.",
        _NOTHING,
        "If that was a slip, start again and choose Allow at {vendor}. Enalysis only reads.",
    ),
    Failure.REPLAYED: Words(
        "This sign-in was used already",
        "Each sign-in works once, and this one came back a second time: a reload or the back button does that.",
        "If it worked the first time, the connection is in the list and collects.",
        "Look at the list of connections first. Start again only if it is not there.",
    ),
    Failure.FOREIGN: Words(
        "This sign-in was not started here",
        "What came back does not belong to a sign-in of this browser, so it was refused. Somebody may have sent you"
        " its address, or it was begun in another browser or under another address of this server.",
        _NOTHING,
        "To connect, start from here, and finish in the same browser.",
    ),
    Failure.TOO_LATE: Words(
        "That took too long",
        "A sign-in is given up ten minutes after it was started, for safety.",
        _NOTHING,
        "Have your name and password for {vendor} at hand, and start again.",
    ),
    Failure.NO_STATE: Words(
        "It is not known which sign-in this is",
        "What came back from {vendor} lacks the mark by which we know that you started it here.",
        _NOTHING,
        "Start again. If you pasted an address, paste all of it, from https to its last letter.",
    ),
    Failure.VENDOR: Words(
        "{vendor} could not finish the sign-in",
        "{vendor} sent no code, or did not answer when the code was handed in.",
        _NOTHING,
        "Start again in a minute. If it happens again, compare the redirect address registered for the app at"
        " {vendor} with the one that the next page shows; they must be alike to the letter.",
    ),
    Failure.CODE: Words(
        "The code was too old",
        "{vendor} says that its code was used already or has expired; codes live for minutes only.",
        _NOTHING,
        "Start again, and come back or paste the address as soon as {vendor} shows it.",
    ),
    Failure.APP: Words(
        "{vendor} refuses the app",
        "The app’s client ID, its secret or its redirect address is not what {vendor} knows.",
        _NOTHING + " Nobody needs to sign in again for it.",
        "Copy client ID, secret and key from the same app at {vendor} and enter them anew, then start again.",
        app=True,
    ),
    Failure.ACCOUNT: Words(
        "That was another account",
        "You signed in at {vendor} with another account than the one this connection reads from.",
        "The connection goes on as it was.",
        "Sign out at {vendor}, sign in there with the first account, and try again; or connect the other account as"
        " a connection of its own.",
    ),
    FAILED: Words(
        "The sign-in could not be finished",
        "Something it began with is not there any more: the app was removed, or you may not connect vendors.",
        _NOTHING,
        "Start again. If you see this twice, ask an administrator of your organization.",
    ),
}


@router.get("/connections/consent/{why}")
async def failed(request: Request, runtime: RuntimeOf, person: SignedIn, why: str) -> Response:
    """Explain why a consent came to nothing."""
    del person
    spec = spec_of(runtime, request.query_params.get("vendor", ""))
    words = WORDS.get(why)
    if words is None:
        msg = "There is nothing at this address."
        raise NotFound(msg)
    again = {"vendor": spec.key}
    if request.query_params.get("way") in {w.key for w in spec.ways}:
        again["way"] = request.query_params["way"]
    return page(
        request,
        "consent_failed.html",
        words=words.about(spec.label),
        spec=spec,
        again=f"/connections/new?{urlencode(again)}",
        replayed=why == Failure.REPLAYED,
    )
