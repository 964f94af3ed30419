"""The bar's rows on vendors that hang and endpoints that fail hold here, at reduced floors; and each can fail."""

import pytest

from enalysis.actions import faults
from enalysis.core.errors import VendorError
from enalysis.simulators.faults import FaultKind
from tests.bar.rows_engine import i4, i7
from tests.databases import Base


async def test_i7_one_endpoint_that_fails_leaves_the_others_fresh(base: Base) -> None:
    row = await i7(base, (FaultKind.RETIRED, FaultKind.HTML_200), polls=1)
    assert row.ok, row


async def test_i7_finds_a_batch_that_any_failure_stops(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "STOPS", (VendorError,))
    assert (await i7(base, (FaultKind.HTML_200,), polls=1)).bad > 0


async def test_i4_a_vendor_that_hangs_takes_no_slot_of_the_other(base: Base) -> None:
    # Short phases on a busy machine: what this is to find makes waits ten times as long.
    row = await i4(base, rounds=1, phase_s=3.5, band=1.0)
    assert row.ok, row


async def test_i4_finds_slots_that_all_vendors_share(base: Base) -> None:
    assert (await i4(base, rounds=1, phase_s=1.5, band=1.0, bulkheads=False)).bad > 0
