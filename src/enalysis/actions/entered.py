"""What people enter for a card's fields, without what pasting brings along."""

from collections.abc import Iterable, Mapping

from enalysis.connectors.base import Field
from enalysis.core.errors import Refused

_LONGEST = 4096


def cleaned(fields: Iterable[Field], given: Mapping[str, str], whose: str, *, blanks: bool) -> dict[str, str]:
    """Return what was given for the fields, line ends and quotes around it taken off; the rest is dropped.

    Args: whose: the vendor and what of it, as in "Acme credential". blanks: inner ones may belong, as in passwords.
    Raises: Refused: one is missing, too long, or holds what nobody types; the text never repeats it.
    """
    out = {}
    for field in fields:
        text = given.get(field.name, "")
        value = (text if blanks else "".join(text.split())).strip().strip("\"'").strip()
        if not value and field.required:
            msg = f"{field.label} is missing. {field.help}"
            raise Refused(msg)
        if len(value) > _LONGEST or not value.isprintable():
            msg = f"{field.label} holds characters no {whose} has; copy it again"
            raise Refused(msg)
        if value:
            out[field.name] = value
    return out
