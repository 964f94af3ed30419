"""Enphase, simulated: what it makes of a site (view), its JSON (body, series), its accounts, its manners (cloud)."""

from enalysis.simulators.enphase.accounts import KEY, PLANS, crowd_account, demo_accounts, make_account
from enalysis.simulators.enphase.cloud import EnphaseCloud, Switches

__all__ = ["KEY", "PLANS", "EnphaseCloud", "Switches", "crowd_account", "demo_accounts", "make_account"]
