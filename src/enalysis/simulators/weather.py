"""Sun, cloud and photovoltaic arrays of a make-believe site, as mean powers of 5-minute slots."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

import numpy as np
import numpy.typing as npt
import pvlib

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

SLOT_S = 300
# Below this elevation an inverter sleeps; between it and the first watt it is awake and reports zero.
WAKE_DEG = -3.0
# Dust, wiring, temperature and inverter together: what reaches the meter of what the arrays are rated for.
_PERFORMANCE_RATIO = 0.80
# An inverter needs this share of the arrays' rating before it feeds anything.
_STARTUP_SHARE = 0.004
_J2000_S = 946_728_000
_JULIAN_YEAR_D = 365.25


@dataclass(frozen=True, slots=True)
class Array:
    """Panels that face one way: tilt from the horizontal and azimuth from north, degrees; capacity in Wp."""

    tilt: float
    azimuth: float
    capacity_wp: float


class Sky(StrEnum):
    """What kind of day it is."""

    CLEAR = "clear"
    MIXED = "mixed"
    OVERCAST = "overcast"


_SKIES = (Sky.CLEAR, Sky.MIXED, Sky.OVERCAST)
_SHARES = (0.35, 0.40, 0.25)


def seeded(*parts: object) -> np.random.Generator:
    """Return a random generator that depends on the parts: the same on every machine and in every run."""
    digest = hashlib.blake2b("|".join(str(p) for p in parts).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest)))


def sun(start_s: float, slots: int, latitude: float, longitude: float) -> tuple[Floats, Floats, Floats]:
    """Return zenith and azimuth of the sun at the middle of each slot in degrees, and the day of year.

    Args: start_s: first slot's start, seconds since 1970 UTC. latitude, longitude: degrees, north and east +.
    Returns: three arrays of shape (slots,); azimuth from north, clockwise; day of year 1 to 366.
    """
    middle_s = start_s + SLOT_S * (np.arange(slots) + 0.5)
    # Fractional, so that declination and the equation of time do not jump at midnight UTC.
    day = ((middle_s - _J2000_S) / 86400 + 0.5) % _JULIAN_YEAR_D + 1
    declination = pvlib.solarposition.declination_spencer71(day)
    minutes = pvlib.solarposition.equation_of_time_spencer71(day)
    angle_deg = (middle_s % 86400) / 240 - 180 + longitude + minutes / 4
    hour_angle = np.radians((angle_deg + 180) % 360 - 180)
    phi = np.radians(latitude)
    zenith = pvlib.solarposition.solar_zenith_analytical(phi, hour_angle, declination)
    azimuth = pvlib.solarposition.solar_azimuth_analytical(phi, hour_angle, declination, zenith)
    return np.degrees(zenith), np.degrees(azimuth), day


def cloud(seed: object, key: str, day: date, slots: int) -> Floats:
    """Return the clear-sky index of each slot of a site's day, 0 to 1.05, shape (slots,)."""
    random = seeded("cloud", seed, key, day)
    sky = _SKIES[int(random.choice(len(_SKIES), p=_SHARES))]
    # Noise with a memory of about an hour, of unit variance.
    kernel = np.exp(-np.arange(48) / 12.0)
    noise = np.convolve(random.standard_normal(slots + 47), kernel / np.sqrt((kernel**2).sum()), "valid")
    if sky is Sky.CLEAR:
        return np.asarray(np.clip(1.0 - 0.02 * np.abs(noise), 0.0, 1.05))
    if sky is Sky.MIXED:
        # A steep curve: the sun is out or it is not, with the brightness of cloud edges now and then.
        return np.asarray(0.30 + 0.75 / (1.0 + np.exp(-3.0 * (noise + random.uniform(-0.4, 0.8)))))
    return np.asarray(np.clip(random.uniform(0.15, 0.40) * np.exp(0.3 * noise), 0.05, 0.65))


def pv_w(
    arrays: Sequence[Array], limit_w: float, zenith: Floats, azimuth: Floats, day: Floats, index: Floats
) -> Floats:
    """Return the alternating-current power of the arrays in W, never negative nor above `limit_w`.

    Args: zenith, azimuth: of the sun, degrees. day: day of year. index: clear-sky index. All shape (n,).
    """
    rated_wp = sum(a.capacity_wp for a in arrays)
    power: Floats = np.zeros_like(zenith)
    up = zenith < 90.0  # noqa: PLR2004 - the horizon
    if not up.any():
        return power
    zenith, azimuth, day = zenith[up], azimuth[up], day[up]
    ghi = pvlib.clearsky.simplified_solis(90.0 - zenith)["ghi"] * index[up]
    split = pvlib.irradiance.erbs(ghi, zenith, day)
    for array in arrays:
        poa = pvlib.irradiance.get_total_irradiance(
            array.tilt, array.azimuth, zenith, azimuth, split["dni"], ghi, split["dhi"]
        )["poa_global"]
        power[up] += np.maximum(poa, 0.0) / 1000.0 * array.capacity_wp * _PERFORMANCE_RATIO
    power[power < _STARTUP_SHARE * rated_wp] = 0.0
    return np.minimum(power, limit_w)
