"""SolarEdge, simulated: what it makes of a site (view), its JSON (body), its accounts (access), its manners (cloud)."""

from enalysis.simulators.solaredge.access import KEY, PLANS, demo_accounts, site_access_account
from enalysis.simulators.solaredge.cloud import SolarEdgeCloud, Switches

__all__ = ["KEY", "PLANS", "SolarEdgeCloud", "Switches", "demo_accounts", "site_access_account"]
