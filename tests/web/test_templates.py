"""The templates and assets themselves: nothing inline, nothing from elsewhere, nothing missing."""

import re
from pathlib import Path

import pytest

from enalysis.web import views
from enalysis.web.assets import FOLDER, Assets
from tests.web.conftest import Browser, House

TEMPLATES = sorted((Path(views.__file__).parent / "templates").glob("*.html"))
SCRIPTS = sorted((FOLDER / "js").glob("*.js"))
# In a build without npm these two are left out, and the pages work without them.
LEFT_OUT = {"vendor/htmx.min.js", "vendor/echarts.min.js"}


def test_nothing_stands_inline_that_the_policy_would_block() -> None:
    assert len(TEMPLATES) > 12
    inline = [
        f"{template.name}: {found[0]}"
        for template in TEMPLATES
        for found in re.finditer(
            r"\sstyle\s*=|<style\b|\son[a-z]+\s*=|javascript:|<script(?! src=)|hx-on|hx-vals='js:|\| *safe\b",
            template.read_text(encoding="utf-8"),
        )
    ]
    assert inline == []


def test_scripts_make_no_markup_of_text() -> None:
    assert len(SCRIPTS) == 2
    made = [
        f"{script.name}: {found[0]}"
        for script in SCRIPTS
        for found in re.finditer(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|setAttribute\(\"style",
            script.read_text(encoding="utf-8"),
        )
    ]
    assert made == []


def test_every_asset_named_is_there_and_nothing_comes_from_elsewhere() -> None:
    assets = Assets()
    for template in TEMPLATES:
        text = template.read_text(encoding="utf-8")
        named = set(re.findall(r"asset\('([^']+)'\)", text))
        assert {name for name in named - LEFT_OUT if assets.address(name) is None} == set(), template.name
        assert re.findall(r"(?:src|href)=\"(?:https?:)?//", text) == []
    styles = "".join((FOLDER / "css" / name).read_text(encoding="utf-8") for name in ("tokens.css", "app.css"))
    assert re.findall(r"url\(|@import|expression\(", styles) == []


def test_every_colour_a_style_asks_for_is_a_token() -> None:
    tokens = set(re.findall(r"(--[\w-]+):", (FOLDER / "css" / "tokens.css").read_text(encoding="utf-8")))
    used = set(re.findall(r"var\((--[\w-]+)", (FOLDER / "css" / "app.css").read_text(encoding="utf-8")))
    assert len(used) > 25
    assert used - tokens == set()


async def test_assets_are_kept_as_long_as_their_address_says(house: House) -> None:
    browser = Browser(house.app)
    address = Assets().address("css/app.css")
    assert address
    for path, rule in (
        (address, "public, max-age=31536000, immutable"),
        ("/static/css/app.css", "no-cache"),
        ("/static/css/app.css?v=000000000000", "no-cache"),
    ):
        answer = await browser.get(path)
        assert (answer.status_code, answer.headers["cache-control"]) == (200, rule)
        again = await browser.get(path, **{"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.headers["cache-control"]) == (304, rule)
    for path in ("/static/../app.py", "/static/%2e%2e/app.py", "/static/", "/static/css"):
        assert (await browser.get(path)).status_code == 404


@pytest.mark.usefixtures("owner")
async def test_pages_without_the_browser_files_name_none(house: House, browser: Browser, tmp_path: Path) -> None:
    for name in ("css/tokens.css", "css/app.css", "js/app.js", "icon.svg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((FOLDER / name).read_bytes())
    house.app.state.views = views.Views(Assets(tmp_path))
    page = await browser.get("/")
    assert page.status_code == 200
    assert "vendor/" not in page.text
    assert "No sites yet" in page.text
