"""SolarEdge's card: the ways in, the app that one of them wants, the plans, and the streams."""

from dataclasses import replace

from enalysis.connectors.base import AppCard, AppKind, Auth, Field, OAuth, Plan, Spec, Stream, Subject, Way
from enalysis.connectors.solaredge_wire import STEP_S, VENDOR
from enalysis.core.metrics import Metric
from enalysis.core.quotas import Quota, QuotaScope, QuotaWindow
from enalysis.core.sites import DeviceKind

# The longest range of quarter-hours that is documented; longer ones were seen to work, but not everywhere.
RANGE_S = 12 * 3600


def _quarter_hours(name: str, label: str, *metrics: Metric, needs: DeviceKind | None = None) -> Stream:
    # How late a closed bucket appears is not documented: one client waits 90 s, users saw a quarter of an
    # hour. Five minutes are chosen, and what is later still is asked for again.
    return Stream(
        name,
        label,
        every_s=900,
        cost=1,
        window_s=RANGE_S,
        delay_s=300,
        step_s=STEP_S,
        daylight_only=needs is None,
        backfill=True,
        needs=frozenset({needs.value}) if needs else frozenset(),
        metrics=metrics,
    )


_PLANS = (
    Plan(
        "free",
        "Free",
        (
            Quota(QuotaScope.ACCOUNT, QuotaWindow.MONTH, 2000),
            Quota(QuotaScope.ACCOUNT, QuotaWindow.MINUTE, 10),
        ),
        "2,000 calls a month, from a billing day that only SolarEdge knows, and 10 a minute: documented.",
    ),
    Plan(
        "business",
        "Business",
        (
            Quota(QuotaScope.ACCOUNT, QuotaWindow.MONTH, 200_000, chosen=True),
            Quota(QuotaScope.ACCOUNT, QuotaWindow.MINUTE, 300, chosen=True),
        ),
        "SolarEdge publishes no figures for paid plans: 200,000 a month and 300 a minute are our choice.",
    ),
)

# The app's credits are shared by everyone whose consent goes through it.
_APP_PLANS = tuple(
    replace(plan, quotas=tuple(replace(quota, scope=QuotaScope.APP) for quota in plan.quotas)) for plan in _PLANS
)
_HOST = "https://monitoringapi.solaredge.com"
_OWNER = OAuth(
    token_url=f"{_HOST}/v2/oauth2/token",
    authorize_url="https://connect.solaredge.com/authorize",
    revoke_url=f"{_HOST}/v2/oauth2/revoke-token",
    scope="SITE_DATA DEVICE_DATA",
    # Months; the longest that can be asked for.
    extra=(("access_duration", "24"),),
    # Whether `state` comes back is not confirmed, `external_id` does: both carry the same one-time text.
    state_names=("state", "external_id"),
    json_body=True,
    access_s=7200,
    refresh_s=30 * 86400,
    # The callback tells which site was allowed; a grant is for one.
    kept=("site_id",),
)

SPEC = Spec(
    key=VENDOR,
    label="SolarEdge",
    origin=f"{_HOST}/v2",
    hosts=("monitoringapi.solaredge.com",),
    docs_url="https://api-docs.solaredge.com",
    ways=(
        Way(
            "fleet_key",
            "Fleet Access key",
            Auth.API_KEY,
            _PLANS,
            (
                Field(
                    "api_key",
                    "Fleet API key",
                    "The key of an app with Fleet Access. Keys of the retired V1 API do not work.",
                    secret=True,
                ),
            ),
            where_to_find="Sign in at developer.solaredge.com, create an app with Fleet Access, copy its API key.",
            note="For installers and fleets: one key reads every site of the account.",
        ),
        Way(
            "site_access",
            "Owner's consent",
            Auth.OAUTH,
            _APP_PLANS,
            app=AppKind.DEVELOPER,
            oauth=_OWNER,
            where_to_find="Sign in at SolarEdge as the owner of the site, choose the site and allow the app.",
            note="For owners: each consent opens one site, for at most 24 months; no password comes here.",
        ),
    ),
    app=AppCard(
        fields=(
            Field("client_id", "Client ID", "On the app's page at developer.solaredge.com."),
            Field("client_secret", "Client secret", "Beside the client ID on the same page.", secret=True),
        ),
        register_url="https://developer.solaredge.com",
        steps=(
            "Create an account at developer.solaredge.com.",
            "Create an app with Site Access; the free plan allows one app.",
            "Give it a name that owners will recognise, for they see it when they are asked.",
            "Describe what it does in a sentence, such as: reads production and consumption for our own monitoring.",
            "Enter {redirect} as its redirect address, letter by letter.",
            "Choose the scopes SITE_DATA, for the site and its energy, and DEVICE_DATA, for meters and batteries.",
            "Choose the plan: the free one allows 2,000 calls a month for all sites of the app together.",
            "Copy client ID and client secret from the app's page.",
        ),
        usual_wait="Not published; an app on the free plan is used at once by those who wrote about it.",
    ),
    streams=(
        Stream("sites", "Sites of the account", every_s=86400, cost=1, subject=Subject.CONNECTION),
        Stream("inventory", "A site and its devices", every_s=7 * 86400, cost=3),
        _quarter_hours("energy", "PV energy of the site", Metric.PV_WH),
        _quarter_hours(
            "meters",
            "Energy of the meters",
            Metric.GRID_IMPORT_WH,
            Metric.GRID_EXPORT_WH,
            Metric.PV_WH,
            Metric.LOAD_WH,
            needs=DeviceKind.METER,
        ),
        _quarter_hours(
            "storage",
            "Energy and charge of the batteries",
            Metric.BATTERY_CHARGE_WH,
            Metric.BATTERY_DISCHARGE_WH,
            Metric.SOC_PCT,
            needs=DeviceKind.BATTERY,
        ),
    ),
    status_note="V1 of this API was switched off in November 2026; this is V2.",
    # How far back quarter-hours are kept is not documented: a year is chosen.
    history_days=365,
)
