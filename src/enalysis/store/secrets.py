"""Seals credentials: AES-256-GCM under a key per organization, which the operator's key wraps."""

import hashlib
import hmac
import secrets
from collections.abc import Callable
from typing import Final
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from enalysis.core.errors import EnalysisError

KEY_BYTES: Final = 32
"""The length of the operator's key and of every organization's key."""

FIRST_VERSION: Final = 1
"""The version of an organization's first key; each rotation adds one."""

_FORMAT: Final = b"\x01"
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_KEY_ID_BYTES: Final = 8

# Where things stand: a sealed value and a wrapped key begin alike with format and key version.
_VERSION: Final = slice(1, 5)
_SEALED_NONCE, _SEALED_BODY = slice(5, 17), slice(17, None)
_WRAPPED_ID, _WRAPPED_NONCE, _WRAPPED_BODY = slice(5, 13), slice(13, 25), slice(25, None)
_CANARY_ID, _CANARY_NONCE, _CANARY_BODY = slice(1, 9), slice(9, 21), slice(21, None)
_CANARY: Final = b"enalysis canary"
_REMEDY: Final = "Restore the row from a backup, or connect again."

Reveal = Callable[[str], None]
"""Is told every plaintext that passes, so that logs can be kept free of it."""


class SealBroken(EnalysisError):
    """A sealed value cannot be opened: another key, another place, or changed bytes; the text tells none."""


class OrganizationKey:
    """One organization's key, open in memory; it seals and opens that organization's secrets.

    A sealed value holds, in this order: format (1 byte), key version (4), nonce (12), ciphertext with tag.
    Organization, row, field and key version are authenticated with it: pasted elsewhere, it stays shut.
    """

    __slots__ = ("_cipher", "_on_reveal", "organization", "version")

    def __init__(self, organization: UUID, version: int, key: bytes, on_reveal: Reveal) -> None:
        self.organization = organization
        self.version = version
        self._cipher = AESGCM(key)
        self._on_reveal = on_reveal

    def seal(self, connection: UUID, field: str, plaintext: str | bytes) -> bytes:
        """Return the plaintext sealed for one field of one row of this organization.

        Args: connection: id of the row it stands in. field: its name there. plaintext: text, or UTF-8 bytes.
        Raises: ValueError: the bytes are no UTF-8 text, so `unseal` could not give them back.
        """
        try:
            text = plaintext.decode() if isinstance(plaintext, bytes) else plaintext
            raw = text.encode()
        except UnicodeError:
            # The original error carries the secret.
            raise ValueError(f"The {field} of {connection} is not UTF-8 text.") from None
        self._on_reveal(text)
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, raw, self._bound_to(connection, field))
        return _FORMAT + _packed(self.version) + nonce + sealed

    def unseal(self, connection: UUID, field: str, sealed: bytes) -> str:
        """Return the plaintext that was sealed for exactly this field of this row.

        Raises: SealBroken: changed, moved from another place, or sealed under another key.
        """
        if len(sealed[_SEALED_BODY]) < _TAG_BYTES:
            raise SealBroken(f"The sealed {field} of {connection} was cut or changed. {_REMEDY}")
        version = key_version(sealed)
        if version != self.version:
            raise SealBroken(
                f"The sealed {field} of {connection} needs version {version} of its organization's key, and "
                f"version {self.version} was tried. {_REMEDY}"
            )
        try:
            opened = self._cipher.decrypt(
                sealed[_SEALED_NONCE], sealed[_SEALED_BODY], self._bound_to(connection, field)
            )
        except InvalidTag:
            raise SealBroken(
                f"The sealed {field} of {connection} cannot be opened: it was changed, moved from another "
                f"row or field, or sealed under another key. {_REMEDY}"
            ) from None
        text = opened.decode()
        self._on_reveal(text)
        return text

    def _bound_to(self, connection: UUID, field: str) -> bytes:
        # Everything before the field has a fixed length, so no two places share these bytes.
        place = self.organization.bytes + connection.bytes + _packed(self.version)
        return b"enalysis field 1" + place + field.encode()


def key_version(sealed: bytes) -> int:
    """Return the version of the organization's key that a sealed value or a wrapped key names.

    Raises: SealBroken: the bytes are not in a form this release knows.
    """
    if sealed[:1] != _FORMAT or len(sealed) < _VERSION.stop:
        raise SealBroken(f"A sealed value is in a form this release does not know. {_REMEDY}")
    return int.from_bytes(sealed[_VERSION])


class Keyring:
    """What the operator's key can do: wrap organizations' keys, prove itself, and make fingerprints.

    Args: kek: the operator's key, 32 random bytes, from the setting ENCRYPTION_KEY.
        on_reveal: is told every secret that is sealed or opened.
    Raises: ValueError: the key has another length.
    """

    __slots__ = ("_canary", "_fingerprint", "_on_reveal", "_wrap", "id")

    def __init__(self, kek: bytes, on_reveal: Reveal = lambda _: None) -> None:
        if len(kek) != KEY_BYTES:
            raise ValueError(f"The operator's key must have {KEY_BYTES} bytes.")
        self.id = hashlib.sha256(b"enalysis key id 1" + kek).digest()[:_KEY_ID_BYTES]
        self._on_reveal = on_reveal
        # One key per purpose, so that nothing made for one purpose means anything to another.
        self._wrap = AESGCM(_derived(kek, b"enalysis wrap 1"))
        self._canary = AESGCM(_derived(kek, b"enalysis canary 1"))
        self._fingerprint = _derived(kek, b"enalysis fingerprint 1")

    def new_organization_key(self, organization: UUID, version: int = FIRST_VERSION) -> bytes:
        """Make a fresh key for an organization and return it wrapped, fit to be stored."""
        nonce, key = secrets.token_bytes(_NONCE_BYTES), secrets.token_bytes(KEY_BYTES)
        wrapped = self._wrap.encrypt(nonce, key, self._bound_to(organization, _packed(version)))
        return _FORMAT + _packed(version) + self.id + nonce + wrapped

    def open_organization_key(self, organization: UUID, wrapped: bytes) -> OrganizationKey:
        """Return the organization's key, ready to seal and open.

        Raises: SealBroken: wrapped by another operator's key, for another organization, or changed.
        """
        if wrapped[:1] != _FORMAT or len(wrapped[_WRAPPED_BODY]) != KEY_BYTES + _TAG_BYTES:
            raise SealBroken(f"The key of organization {organization} was cut or changed. Restore it from a backup.")
        self._refuse_other_key(wrapped[_WRAPPED_ID], f"The key of organization {organization}")
        try:
            key = self._wrap.decrypt(
                wrapped[_WRAPPED_NONCE],
                wrapped[_WRAPPED_BODY],
                self._bound_to(organization, wrapped[_VERSION]),
            )
        except InvalidTag:
            raise SealBroken(
                f"The key of organization {organization} cannot be opened: it was changed, or is another "
                "organization's. Restore it from a backup."
            ) from None
        return OrganizationKey(organization, int.from_bytes(wrapped[_VERSION]), key, self._on_reveal)

    def canary(self) -> bytes:
        """Return a sealed mark to store once; `check_canary` proves by it that the key is still the same."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return _FORMAT + self.id + nonce + self._canary.encrypt(nonce, _CANARY, _FORMAT + self.id)

    def check_canary(self, sealed: bytes) -> None:
        """Return quietly if the mark was made by this operator's key.

        Raises: SealBroken: it was made by another key, or changed. Nothing may be sealed then.
        """
        broken = SealBroken("The mark that proves ENCRYPTION_KEY was cut or changed. Restore it from a backup.")
        if sealed[:1] != _FORMAT or len(sealed[_CANARY_BODY]) != len(_CANARY) + _TAG_BYTES:
            raise broken
        self._refuse_other_key(sealed[_CANARY_ID], "This database")
        try:
            self._canary.decrypt(sealed[_CANARY_NONCE], sealed[_CANARY_BODY], _FORMAT + self.id)
        except InvalidTag:
            raise broken from None

    def fingerprint(self, vendor: str, text: str) -> str:
        """Return 16 hex characters that tell two secrets of a vendor apart and betray neither.

        Equal for equal text under one operator's key; used as the quota scope of an account, and to show
        people which secret is set.
        """
        message = len(vendor.encode()).to_bytes(4) + vendor.encode() + text.encode()
        return hmac.new(self._fingerprint, message, hashlib.sha256).hexdigest()[:16]

    def _bound_to(self, organization: UUID, version: bytes) -> bytes:
        return b"enalysis wrap 1" + organization.bytes + version + self.id

    def _refuse_other_key(self, key_id: bytes, what: str) -> None:
        if key_id != self.id:
            raise SealBroken(
                f"{what} was sealed under another ENCRYPTION_KEY (its id is {key_id.hex()}, the one set has "
                f"{self.id.hex()}). Put the former key back."
            )


def _derived(kek: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=purpose).derive(kek)


def _packed(version: int) -> bytes:
    return version.to_bytes(_VERSION.stop - _VERSION.start)
