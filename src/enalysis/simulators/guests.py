"""Guests: whoever waits for the real vendor may look around here as somebody whose app is verified, by a word."""

from datetime import datetime
from typing import Final

from enalysis.simulators.oauth import App, AppKind, AppState, AuthServer, Grant, Standing

WORD: Final = "SANDBOX-GUEST"
"""Lets anybody in, whatever the seed: it stands for every field of an app and for a token that never ends."""


class HostServer(AuthServer):
    """An authorization server that lets guests in; they are taken for its first installer whose app is verified."""

    def _host(self, word: str) -> tuple[App, Grant] | None:
        if word != WORD:
            return None
        for account in self.accounts.values():
            app = self.app_of(account)
            # Only an installer's app ever waits, and so only such an app has guests.
            if app is not None and app.kind is AppKind.PARTNER and app.state is AppState.VERIFIED:
                return app, Grant(account.key, app.client_id, None, self.lifetimes.access_s, self.lifetimes.refresh_s)
        return None

    def app_of_key(self, api_key: str) -> App | None:
        """Return the app an API key belongs to; a guest's is the host's."""
        host = self._host(api_key)
        return host[0] if host else super().app_of_key(api_key)

    def look(self, text: str, now: datetime) -> tuple[Standing, Grant | None]:
        """Return what an access token is worth, and the grant it belongs to."""
        host = self._host(text)
        return (Standing.VALID, host[1]) if host else super().look(text, now)

    def account_of(self, text: str) -> str | None:
        """Return whose token this is, of whatever kind and however dead."""
        host = self._host(text)
        return host[1].account if host else super().account_of(text)
