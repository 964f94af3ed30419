"""`enalysis init`: fresh keys in a `.env` of the working folder."""

from pathlib import Path

from enalysis.cli import output
from enalysis.config import write_env
from enalysis.core.errors import Refused


def init(*, as_json: output.AsJSON = False) -> None:
    """Write a .env with a fresh ENCRYPTION_KEY and CRON_SECRET into the working folder.

    A .env that is there already is left as it is.
    """
    try:
        written = write_env(Path.cwd())
    except Refused as kept:
        if as_json:
            output.document({"written": None})
        else:
            output.say(f"Nothing was written: {kept}\nNext: `enalysis run`.")
        return
    if as_json:
        output.document({"written": str(written)})
        return
    output.say(
        f"Wrote {written}, which only you can read. Keep a copy of its ENCRYPTION_KEY apart from the"
        " database: without it no credential can be read again.\n"
        "Next: `enalysis run`, then open the address that it prints."
    )
