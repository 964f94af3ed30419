"""Sealed secrets open in their own place, under their own key, and nowhere else."""

import itertools
import secrets
from collections.abc import Callable
from functools import partial
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enalysis.store.secrets import Keyring, OrganizationKey, SealBroken, key_version

HOME = UUID("8f5d9a4e-0000-4000-8000-000000000001")
AWAY = UUID("8f5d9a4e-0000-4000-8000-000000000002")
ROOF = UUID("8f5d9a4e-0000-4000-8000-00000000000a")
BARN = UUID("8f5d9a4e-0000-4000-8000-00000000000b")
CANARY = "canary-4711-refresh-token"


@pytest.fixture(scope="module")
def keyring() -> Keyring:
    return Keyring(secrets.token_bytes(32))


@pytest.fixture(scope="module")
def key(keyring: Keyring) -> OrganizationKey:
    return keyring.open_organization_key(HOME, keyring.new_organization_key(HOME))


@given(text=st.text(st.characters(codec="utf-8")))
def test_what_was_sealed_comes_back(key: OrganizationKey, text: str) -> None:
    assert key.unseal(ROOF, "password", key.seal(ROOF, "password", text)) == text
    assert key.unseal(ROOF, "password", key.seal(ROOF, "password", text.encode())) == text


def test_a_sealed_value_shows_nothing_and_is_never_the_same_twice(key: OrganizationKey) -> None:
    one, two = key.seal(ROOF, "api_key", CANARY), key.seal(ROOF, "api_key", CANARY)
    assert one != two
    assert CANARY.encode() not in one
    assert len(one) == 1 + 4 + 12 + len(CANARY) + 16
    assert key_version(one) == key.version == 1


def test_it_opens_in_no_other_field_row_or_organization(keyring: Keyring, key: OrganizationKey) -> None:
    other = keyring.open_organization_key(AWAY, keyring.new_organization_key(AWAY))
    places = list(itertools.product((key, other), (ROOF, BARN), ("api_key", "api_key2", "password")))
    sealed = {place: place[0].seal(place[1], place[2], CANARY) for place in places}
    for place in places:
        assert place[0].unseal(place[1], place[2], sealed[place]) == CANARY
    for here, there in itertools.permutations(places, 2):
        with pytest.raises(SealBroken):
            there[0].unseal(there[1], there[2], sealed[here])


def test_the_same_key_bound_to_another_organization_does_not_open_it() -> None:
    raw = secrets.token_bytes(32)
    here, there = (OrganizationKey(each, 1, raw, lambda _: None) for each in (HOME, AWAY))
    with pytest.raises(SealBroken):
        there.unseal(ROOF, "api_key", here.seal(ROOF, "api_key", CANARY))


def test_another_version_of_the_key_is_named(keyring: Keyring, key: OrganizationKey) -> None:
    second = keyring.open_organization_key(HOME, keyring.new_organization_key(HOME, version=2))
    sealed = second.seal(ROOF, "api_key", CANARY)
    assert key_version(sealed) == second.version == 2
    with pytest.raises(SealBroken, match=r"needs version 2 .* version 1 was tried"):
        key.unseal(ROOF, "api_key", sealed)


def test_the_version_of_the_key_is_bound_too() -> None:
    raw = secrets.token_bytes(32)
    first, second = (OrganizationKey(HOME, version, raw, lambda _: None) for version in (1, 2))
    sealed = second.seal(ROOF, "api_key", CANARY)
    with pytest.raises(SealBroken, match="cannot be opened"):
        first.unseal(ROOF, "api_key", sealed[:1] + (1).to_bytes(4) + sealed[5:])


def test_no_changed_or_shortened_value_is_accepted(keyring: Keyring, key: OrganizationKey) -> None:
    wrapped = keyring.new_organization_key(HOME)
    attempts: list[tuple[bytes, Callable[[bytes], object]]] = [
        (key.seal(ROOF, "api_key", CANARY), partial(key.unseal, ROOF, "api_key")),
        (wrapped, partial(keyring.open_organization_key, HOME)),
        (keyring.canary(), keyring.check_canary),
    ]
    for good, open_it in attempts:
        open_it(good)
        for at in range(len(good)):
            for changed in (good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :], good[:at]):
                with pytest.raises(SealBroken):
                    open_it(changed)
        with pytest.raises(SealBroken):
            open_it(good + b"\0")


def test_a_refusal_is_a_sentence_without_a_byte_of_what_was_sealed(key: OrganizationKey) -> None:
    sealed = key.seal(ROOF, "api_key", CANARY)
    with pytest.raises(SealBroken) as refusal:
        key.unseal(BARN, "api_key", sealed)
    told = str(refusal.value)
    assert told.startswith(f"The sealed api_key of {BARN} cannot be opened")
    assert told.endswith("connect again.")
    assert CANARY not in told
    assert sealed.hex() not in told
    assert refusal.value.__cause__ is None


@pytest.mark.parametrize("plaintext", [b"\xff\xfe", "\ud800"])
def test_what_could_not_come_back_as_text_is_not_sealed(key: OrganizationKey, plaintext: str | bytes) -> None:
    with pytest.raises(ValueError, match="is not UTF-8 text") as refusal:
        key.seal(ROOF, "api_key", plaintext)
    assert not isinstance(refusal.value, UnicodeError)


def test_another_operators_key_opens_nothing_and_is_named(keyring: Keyring) -> None:
    stranger = Keyring(secrets.token_bytes(32))
    wrapped, canary = keyring.new_organization_key(HOME), keyring.canary()
    for open_it in (
        partial(stranger.open_organization_key, HOME, wrapped),
        partial(stranger.check_canary, canary),
    ):
        with pytest.raises(SealBroken) as refusal:
            open_it()
        assert keyring.id.hex() in str(refusal.value)
        assert stranger.id.hex() in str(refusal.value)


def test_a_wrapped_key_belongs_to_its_organization(keyring: Keyring) -> None:
    with pytest.raises(SealBroken, match="another organization's"):
        keyring.open_organization_key(AWAY, keyring.new_organization_key(HOME))


def test_the_canary_proves_the_key_across_starts() -> None:
    raw = secrets.token_bytes(32)
    Keyring(raw).check_canary(Keyring(raw).canary())
    assert Keyring(raw).id == Keyring(raw).id
    assert len(Keyring(raw).id) == 8


def test_a_fingerprint_tells_secrets_apart_and_betrays_none() -> None:
    raw = secrets.token_bytes(32)
    keyring = Keyring(raw)
    mark = keyring.fingerprint("vendor", CANARY)
    assert mark == Keyring(raw).fingerprint("vendor", CANARY)
    assert len(bytes.fromhex(mark)) == 8
    others = {
        Keyring(secrets.token_bytes(32)).fingerprint("vendor", CANARY),
        keyring.fingerprint("vendor", CANARY + "x"),
        keyring.fingerprint("vendo", "r" + CANARY),
        keyring.fingerprint("other", CANARY),
        mark,
    }
    assert len(others) == 5


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_key_of_another_length_is_no_key(length: int) -> None:
    with pytest.raises(ValueError, match="must have 32 bytes"):
        Keyring(bytes(length))


def test_every_secret_that_passes_is_reported_for_the_log() -> None:
    seen: list[str] = []
    keyring = Keyring(secrets.token_bytes(32), seen.append)
    key = keyring.open_organization_key(HOME, keyring.new_organization_key(HOME))
    sealed = key.seal(ROOF, "api_key", CANARY)
    assert seen == [CANARY]
    key.unseal(ROOF, "api_key", sealed)
    assert seen == [CANARY, CANARY]


def test_neither_key_shows_itself(keyring: Keyring, key: OrganizationKey) -> None:
    for thing in (keyring, key):
        assert "b'" not in repr(thing)
        assert not hasattr(thing, "__dict__")
