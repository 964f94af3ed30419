"""GET /api/v1/budget: what every app and account may spend, has spent and will, and how fresh each site is."""

from fastapi import APIRouter

from enalysis.queries.budget import budget
from enalysis.queries.budget_shapes import BudgetAccount
from enalysis.web.auth import RuntimeOf, SignedIn

router = APIRouter(prefix="/api/v1/budget", tags=["budget"])


@router.get("")
async def show(runtime: RuntimeOf, person: SignedIn) -> tuple[BudgetAccount, ...]:
    """Return every quota the organization spends: calls used, planned and kept, and ages of its sites in s."""
    return await budget(person.scope, runtime.db, runtime.vendors.specs, runtime.clock())
