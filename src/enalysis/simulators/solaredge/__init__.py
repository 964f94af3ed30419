"""SolarEdge's cloud, simulated: what it makes of a site (view), its JSON (body), and its manners (cloud)."""

from enalysis.simulators.solaredge.cloud import KEY, PLANS, SolarEdgeCloud, Switches, demo_accounts

__all__ = ["KEY", "PLANS", "SolarEdgeCloud", "Switches", "demo_accounts"]
