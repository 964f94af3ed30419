"""The colours of the token file: enough contrast in both themes, and apart for colour-blind eyes."""

import itertools
import math
import re

import pytest

from enalysis.web.assets import FOLDER

TOKENS = (FOLDER / "css" / "tokens.css").read_text(encoding="utf-8")
MEANINGS = ("pv", "load", "battery", "import", "export")
STATES = ("good", "watch", "act", "unknown")
BACKGROUNDS = ("ground", "surface")
# Machado, Oliveira and Fernandes 2009, "A physiologically-based model for simulation of color vision
# deficiency", severity 1.0, on linear RGB.
BLIND = {
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
}
RGB = tuple[float, float, float]


def theme(name: str) -> dict[str, RGB]:
    """Return a theme's colours in linear RGB; what dark does not set is light's."""
    light, dark = TOKENS.split("@media (prefers-color-scheme: dark)")
    found = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", light))
    if name == "dark":
        found |= dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", dark))
    return {token: linear(colour) for token, colour in found.items()}


def linear(colour: str) -> RGB:
    """Turn #rrggbb into linear RGB (IEC 61966-2-1)."""
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return red, green, blue


def luminance(colour: RGB) -> float:
    """Return the relative luminance (WCAG 2.2)."""
    red, green, blue = colour
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: RGB, other: RGB) -> float:
    """Return the contrast ratio (WCAG 2.2)."""
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def seen_by(kind: str, colour: RGB) -> RGB:
    """Return a colour as somebody with that deficiency sees it."""
    red, green, blue = (min(1.0, max(0.0, sum(k * c for k, c in zip(row, colour, strict=True)))) for row in BLIND[kind])
    return red, green, blue


def apart(one: RGB, other: RGB) -> float:
    """Return the distance of two colours in OKLab, where 0.02 is just noticeable."""
    return math.dist(oklab(one), oklab(other))


def oklab(colour: RGB) -> RGB:
    """Turn linear RGB into OKLab (Ottosson 2020)."""
    red, green, blue = colour
    long = (0.4122214708 * red + 0.5363325363 * green + 0.0514459929 * blue) ** (1 / 3)
    medium = (0.2119034982 * red + 0.6806995451 * green + 0.1073969566 * blue) ** (1 / 3)
    short = (0.0883024619 * red + 0.2817188376 * green + 0.6299787005 * blue) ** (1 / 3)
    return (
        0.2104542553 * long + 0.7936177850 * medium - 0.0040720468 * short,
        1.9779984951 * long - 2.4285922050 * medium + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * medium - 0.8086757660 * short,
    )


@pytest.mark.parametrize("name", ["light", "dark"])
def test_every_meaning_and_every_edge_stands_out(name: str) -> None:
    colours = theme(name)
    weak = {
        (token, ground): round(contrast(colours[token], colours[ground]), 2)
        for token in (*MEANINGS, "edge", "accent")
        for ground in BACKGROUNDS
        if contrast(colours[token], colours[ground]) < 3
    }
    assert weak == {}


@pytest.mark.parametrize("name", ["light", "dark"])
def test_every_text_is_read(name: str) -> None:
    colours = theme(name)
    pairs = [
        *itertools.product(("ink", "quiet", "accent", *STATES), (*BACKGROUNDS, "sunken")),
        ("on-accent", "accent"),
        ("surface", "act"),
        *itertools.product(("ink",), ("good-wash", "watch-wash", "act-wash")),
        ("good", "good-wash"),
        ("watch", "watch-wash"),
        ("act", "act-wash"),
    ]
    weak = {
        pair: round(contrast(colours[pair[0]], colours[pair[1]]), 2)
        for pair in pairs
        if contrast(colours[pair[0]], colours[pair[1]]) < 4.5
    }
    assert weak == {}


@pytest.mark.parametrize("kind", BLIND)
@pytest.mark.parametrize("name", ["light", "dark"])
def test_meanings_stay_apart_for_colour_blind_eyes(name: str, kind: str) -> None:
    colours = theme(name)
    near = {
        (one, other): round(apart(seen_by(kind, colours[one]), seen_by(kind, colours[other])), 3)
        for one, other in itertools.combinations(MEANINGS, 2)
        if apart(seen_by(kind, colours[one]), seen_by(kind, colours[other])) < 0.07
    }
    assert near == {}


def test_colours_are_named_in_the_token_file_only() -> None:
    css = (FOLDER / "css" / "app.css").read_text(encoding="utf-8")
    assert re.findall(r"#[0-9a-fA-F]{3,8}\b|\brgba?\(|\bhsla?\(", css) == []
