"""Setup takes the passwords people choose, and no weak one."""

import secrets

import pytest

from enalysis.actions import accounts
from enalysis.core.errors import Refused
from enalysis.store import accounts as store
from enalysis.store.pool import Database
from enalysis.store.secrets import Keyring
from tests.conftest import NOW

EMAIL = "ada.lovelace@example.org"


async def set_up(db: Database, password: str) -> str:
    """Go through setup with a password."""
    keyring = Keyring(secrets.token_bytes(32))
    async with db.world() as conn:
        await store.add_instance(conn, keyring.canary())
    return await accounts.set_up(
        db,
        keyring,
        secret=await accounts.begin_setup(db) or "",
        organization="Test",
        name="Ada",
        email=EMAIL,
        password=password,
        now=NOW,
    )


@pytest.mark.parametrize("password", ["short", "aaaabbbbaaaabbbb", EMAIL])
async def test_weak_passwords_are_refused(db: Database, password: str) -> None:
    """Too short, of too few signs, or the e-mail address itself; setup stays open."""
    with pytest.raises(Refused, match="choose a password"):
        await set_up(db, password)
    assert await accounts.setup_needed(db)


async def test_a_password_may_be_of_any_script(db: Database) -> None:
    """Letters beyond ASCII are as good as others, at setup and at signing in."""
    assert await set_up(db, "grün wie die Wiese, 緑")
    wrong = await accounts.sign_in(db, email=EMAIL, password="grun wie die Wiese", peer="::1", now=NOW)
    right = await accounts.sign_in(db, email=EMAIL, password="grün wie die Wiese, 緑", peer="::1", now=NOW)
    assert wrong is None
    assert right is not None
