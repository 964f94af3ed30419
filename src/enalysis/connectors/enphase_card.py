"""Enphase's card: the ways in, the app it wants, its plans, and the streams."""

from dataclasses import replace

from enalysis.connectors.base import AppCard, AppKind, Auth, Field, OAuth, Plan, Spec, Stream, Subject, Way
from enalysis.connectors.enphase_series import METER_S, MICRO_S
from enalysis.connectors.enphase_wire import VENDOR
from enalysis.core.metrics import Metric
from enalysis.core.quotas import Alignment, Quota, QuotaScope, QuotaWindow

DAY_S = 86400
_WEEK_S = 7 * DAY_S


def _plan(key: str, label: str, minute: int, month: int, note: str) -> Plan:
    return Plan(
        key,
        label,
        (
            # Months of the calendar in UTC are recorded of v2 only, and assumed of v4.
            Quota(QuotaScope.APP, QuotaWindow.MONTH, month, Alignment.CALENDAR),
            Quota(QuotaScope.APP, QuotaWindow.MINUTE, minute),
        ),
        f"{month:,} calls a calendar month (UTC, seen on v2 and assumed here) and {minute} a minute for the whole app,"
        f" all its sites together: documented. {note}",
    )


def _series(
    name: str,
    label: str,
    *metrics: Metric,
    needs: str,
    unless: str | None = None,
    window_s: int = DAY_S,
    step_s: int = METER_S,
    daylight_only: bool = False,
) -> Stream:
    return Stream(
        name,
        label,
        every_s=900,
        cost=1,
        window_s=window_s,
        # Gateways report every quarter of an hour, and the report takes a few minutes. One on a cellular line
        # reports every six hours: its buckets stay unanswered and are asked for again.
        delay_s=1200,
        step_s=step_s,
        daylight_only=daylight_only,
        backfill=True,
        needs=frozenset({needs}),
        unless=frozenset({unless} if unless else ()),
        metrics=metrics,
    )


_HOST = "https://api.enphaseenergy.com"
# A month is "one month" in the documentation and was 30.4 days in a recording: the shorter reading is safe.
_OWNER = OAuth(
    token_url=f"{_HOST}/oauth/token",
    authorize_url=f"{_HOST}/oauth/authorize",
    shows_code_at=f"{_HOST}/oauth/redirect_uri",
    basic=True,
    access_s=86400,
    refresh_s=30 * 86400,
    subject="enl_uid",
    # Nobody knows whether these count; so they do.
    cost=1,
)

SPEC = Spec(
    key=VENDOR,
    label="Enphase",
    origin=f"{_HOST}/api/v4",
    hosts=("api.enphaseenergy.com",),
    docs_url="https://developer-v4.enphase.com/docs.html",
    ways=(
        Way(
            "developer",
            "Owner's consent",
            Auth.OAUTH,
            (
                _plan("watt", "Watt", 10, 1000, "Free."),
                _plan("kilowatt", "Kilowatt", 50, 50_000, "$249 a month."),
                _plan("megawatt", "Megawatt", 100, 300_000, "$999 a month."),
            ),
            app=AppKind.DEVELOPER,
            oauth=_OWNER,
            where_to_find="Sign in at Enphase as the owner of the system and allow the app.",
            note="Each owner signs in at Enphase and allows the app to read; no password comes here.",
        ),
        Way(
            "partner",
            "Installer's sign-in",
            Auth.LOGIN,
            (
                # The first is what is taken where nobody chooses: collecting must not run up a bill by itself.
                Plan(
                    "partner_free",
                    "Partner, free calls only",
                    (
                        Quota(QuotaScope.APP, QuotaWindow.MONTH, 10_000, Alignment.CALENDAR),
                        Quota(QuotaScope.APP, QuotaWindow.MINUTE, 300),
                    ),
                    "Stays inside the 10,000 calls a calendar month that cost nothing: documented. Enphase would serve"
                    " more and charge for it; choose Partner to let it.",
                ),
                _plan(
                    "partner",
                    "Partner",
                    300,
                    1_500_000,
                    "10,000 of them are free, each further one costs $0.005: all of them used are $7,450 a month.",
                ),
            ),
            (
                Field("username", "Enlighten e-mail", "The e-mail you sign in with at Enphase's own app."),
                Field(
                    "password",
                    "Enlighten password",
                    "That of Enphase's own app, not of the developer portal. It buys tokens once and is not kept.",
                    secret=True,
                ),
            ),
            app=AppKind.PARTNER,
            oauth=replace(_OWNER, authorize_url=None, shows_code_at=None),
            where_to_find="The e-mail and password of your installer account at enlighten.enphaseenergy.com.",
            note="For installers with a partner app: one sign-in reads every system of the company.",
        ),
    ),
    app=AppCard(
        fields=(
            Field("client_id", "Client ID", "On the application's page at developer-v4.enphase.com."),
            Field("client_secret", "Client secret", "Beside the client ID on the same page.", secret=True),
            Field("api_key", "API key", "On the same page; it must be of the same application.", secret=True),
        ),
        register_url="https://developer-v4.enphase.com",
        steps=(
            "Create an account at developer-v4.enphase.com; it is not the one of Enphase's own app.",
            "Open Applications and create a new application.",
            "Give it a name that owners will recognise, for they see it when they are asked.",
            "Describe what it does in a sentence, such as: reads production and consumption for our own monitoring.",
            "Where a redirect address is asked for, enter {redirect}.",
            "Tick the access control System Details, which the lists of sites and devices need.",
            "Tick Site Level Production, which the streams of pv energy need.",
            "Tick Site Level Consumption, which the streams of grid, load and battery need.",
            "Look twice: access controls cannot be added later without a new application and new consent.",
            "Choose the plan: Watt is free and allows 1,000 calls a month for all sites of the application together.",
            "Copy API key, client ID and client secret from the application's page, all three of the same application.",
        ),
        usual_wait="Developer apps work at once as far as is known. A partner app needs a company, or a"
        " self-installer, with ten installed systems or more; it stays pending until Enphase has verified it, for"
        " how long is not published.",
    ),
    streams=(
        Stream("systems", "Systems of the sign-in", every_s=DAY_S, cost=1, subject=Subject.CONNECTION),
        Stream("inventory", "A system and its devices", every_s=_WEEK_S, cost=3),
        _series(
            "production",
            "PV energy by the production meter",
            Metric.PV_WH,
            needs="meter:pv",
            window_s=_WEEK_S,
            daylight_only=True,
        ),
        _series(
            "micros",
            "PV energy by the micro-inverters",
            Metric.PV_WH,
            # Until the devices are known, neither of the two fits.
            needs="site_total:pv",
            unless="meter:pv",
            step_s=MICRO_S,
            daylight_only=True,
        ),
        _series("import", "Energy bought", Metric.GRID_IMPORT_WH, needs="site_total:grid"),
        _series("export", "Energy fed in", Metric.GRID_EXPORT_WH, needs="site_total:grid"),
        # Not with a Net meter: there the vendor's consumption is production + import - export and leaves the
        # battery out. Our own balance knows the battery, and the call is saved.
        _series("consumption", "Energy of the load", Metric.LOAD_WH, needs="site_total:load", window_s=_WEEK_S),
        _series(
            "battery",
            "Energy and charge of the batteries",
            Metric.BATTERY_CHARGE_WH,
            Metric.BATTERY_DISCHARGE_WH,
            Metric.SOC_PCT,
            needs="site_total:battery",
            window_s=_WEEK_S,
        ),
    ),
    status_note="v2 of this API was closed in June 2024; this is v4.",
    # Ranges must begin within two years.
    history_days=729,
)
