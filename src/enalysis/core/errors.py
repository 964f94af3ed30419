"""Every error Enalysis raises on purpose.

EnalysisError
├── ConfigError              a setting is missing, malformed, weak or a sample
├── UnknownUnit              a vendor spelled a unit nobody knows
├── NotFound                 no such thing in this organization
├── Refused                  what the caller asked is against the rules; the message says which
└── VendorError              a vendor's answer, named by what the caller does next
    ├── Unavailable          try again later (retry_after_s)
    ├── QuotaSpent           wait until `until`
    ├── LoginNeeded          a person must sign in again or correct the key
    │   └── GrantDead        the consent itself is gone: revoked, expired or used up
    ├── AppFault             the app's own key, id or secret is wrong; nobody needs to sign in
    ├── Locked               the vendor locked the account until `until`; not even a login before
    ├── Forbidden            this subject is not ours to read; the rest is
    ├── WaitingForVendor     the app is pending the vendor's approval
    ├── Retired              the vendor switched this API off; never retry
    └── BadPayload           the answer is not what the vendor documents
"""

from datetime import datetime


class EnalysisError(Exception):
    """Base of all errors whose message is fit for a person to read."""


class ConfigError(EnalysisError):
    """A setting is missing, malformed, weak or still a sample; the process refuses to start."""


class UnknownUnit(EnalysisError):
    """A vendor spelled a unit nobody knows, so the number beside it means nothing."""

    def __init__(self, unit: str, kind: str) -> None:
        super().__init__(f"unknown unit of {kind}: {unit[:24]!r}")


class NotFound(EnalysisError):
    """No such thing in this organization."""


class Refused(EnalysisError):
    """What was asked is against a rule; the message says which and what to do instead."""


class VendorError(EnalysisError):
    """A vendor's refusal or failure: names vendor and operation, never a URL, a body or a secret.

    Attributes:
        vendor: connector key. operation: our name of the call. status: HTTP status or None.
        code: the vendor's own error code. request_id: the vendor's, for its support.
    """

    state = "vendor_error"

    def __init__(
        self,
        message: str,
        *,
        vendor: str,
        operation: str,
        status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.vendor = vendor
        self.operation = operation
        self.status = status
        self.code = code
        self.request_id = request_id


class Unavailable(VendorError):
    """The vendor did not answer, or said it cannot now; worth another try after `retry_after_s` seconds."""

    state = "vendor_unavailable"
    retry_after_s: float | None = None


class QuotaSpent(VendorError):
    """No call may be made before `until`; `ours` tells our own reservation from the vendor's refusal."""

    state = "quota_spent"
    until: datetime | None = None
    window: str | None = None
    ours: bool = False


class LoginNeeded(VendorError):
    """The credential was refused: a person must sign in again or correct the key."""

    state = "reauth_required"


class GrantDead(LoginNeeded):
    """The vendor says that the consent is gone (`invalid_grant`), and it is the one we hold."""


class AppFault(VendorError):
    """The app's key, id or secret is refused, or they are of different apps: whoever owns the app mends it."""

    state = "app_misconfigured"


class Locked(VendorError):
    """The vendor locked the account; no call and no login may be made before `until`."""

    state = "account_locked"
    until: datetime | None = None


class Forbidden(VendorError):
    """The credential is good but may not read `subject`; other subjects go on."""

    state = "forbidden"
    subject: str | None = None


class WaitingForVendor(VendorError):
    """The vendor has not approved the app yet."""

    state = "waiting_for_vendor"


class Retired(VendorError):
    """The vendor switched this API off for good."""

    state = "vendor_api_retired"


class BadPayload(VendorError):
    """The answer is not what the vendor documents: wrong type, shape, size, depth or content."""

    state = "bad_payload"


def as_sentence(text: str) -> str:
    """Return a message as a sentence: it begins with a capital and ends with a full stop."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
