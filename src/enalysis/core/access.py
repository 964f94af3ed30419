"""Who is asking: the scope every query and action takes first, and what each role may do."""

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from enalysis.core.errors import Refused


class Role(StrEnum):
    """What a member may do in an organization; each includes the ones below it."""

    OWNER = "owner"
    ADMIN = "admin"
    OPERATOR = "operator"
    VIEWER = "viewer"


_RANK = {Role.VIEWER: 0, Role.OPERATOR: 1, Role.ADMIN: 2, Role.OWNER: 3}


@dataclass(frozen=True, slots=True)
class Scope:
    """One organization as seen by one caller; `user` is None for the platform's own work."""

    organization: UUID
    user: UUID | None = None
    role: Role = Role.VIEWER

    def allow(self, needed: Role) -> None:
        """Raise Refused unless the caller's role includes `needed`."""
        if _RANK[self.role] < _RANK[needed]:
            msg = f"this needs the role {needed.value}; yours is {self.role.value}"
            raise Refused(msg)


def platform(organization: UUID) -> Scope:
    """Return the scope of the platform's own work for an organization: collection, rollups, repair."""
    return Scope(organization, None, Role.OWNER)
