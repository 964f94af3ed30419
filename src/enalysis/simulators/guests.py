"""Guests: whoever waits for the real vendor may look around here as somebody whose app is verified, by a word."""

from datetime import datetime

from enalysis.simulators.accounts import made_up
from enalysis.simulators.oauth import App, AppKind, AppState, AuthServer, Grant, Standing


def guest_word(vendor: str, way: str) -> str:
    """Return the word that lets anybody in: no secret, and the same whatever the seed.

    It stands for every field of an app and for an access token that never ends.
    """
    return made_up("guest", 0, f"{vendor} {way}")


class HostServer(AuthServer):
    """An authorization server that lets guests in; each is taken for the first account of its way that may host."""

    def _host(self, word: str) -> tuple[App, Grant] | None:
        # Only an installer's app ever waits, and so only such an app has guests.
        for account in self.accounts.values():
            app = self.app_of(account)
            if app is None or app.kind is not AppKind.PARTNER or app.state is not AppState.VERIFIED:
                continue
            if word == guest_word(account.vendor, account.way):
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
