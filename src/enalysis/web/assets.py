"""Style sheets, scripts and pictures, each under an address that changes when its content does."""

import hashlib
import os
from pathlib import Path

from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

FOLDER = Path(__file__).parent / "static"
_FOR_EVER = "public, max-age=31536000, immutable"
_ASK_AGAIN = "no-cache"


class Assets(StaticFiles):
    """The static folder: a request that names the content's hash is cached for ever, any other must ask."""

    def __init__(self, folder: Path = FOLDER) -> None:
        super().__init__(directory=folder)
        self._hashes = {
            path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()[:12]
            for path in folder.rglob("*")
            if path.is_file()
        }

    def address(self, name: str) -> str | None:
        """Return the address of a file with its hash, or None where the build left the file out."""
        found = self._hashes.get(name)
        return None if found is None else f"/static/{name}?v={found}"

    def file_response(
        self,
        full_path: "str | os.PathLike[str]",
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        """Serve a file with the cache rule its address earns."""
        answer = super().file_response(full_path, stat_result, scope, status_code)
        # The mount puts what it took off the path back in front of the file's name.
        name = scope["path"].removeprefix(scope.get("root_path", "")).lstrip("/")
        asked = scope.get("query_string", b"").decode("ascii", "replace")
        fresh = asked == f"v={self._hashes.get(name)}"
        answer.headers["Cache-Control"] = _FOR_EVER if fresh else _ASK_AGAIN
        return answer
