"""Every connector, by key: the one place that lists them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from enalysis.connectors import enphase, solaredge
from enalysis.connectors.base import Connector, Spec
from enalysis.connectors.http import VendorHTTP


@dataclass(frozen=True, slots=True)
class Entry:
    """A connector's card and how to build it from HTTP and a credential's fields."""

    spec: Spec
    build: Callable[[VendorHTTP, Mapping[str, str]], Connector]


CONNECTORS: dict[str, Entry] = {
    enphase.SPEC.key: Entry(enphase.SPEC, enphase.Enphase),
    solaredge.SPEC.key: Entry(solaredge.SPEC, solaredge.SolarEdge),
}
