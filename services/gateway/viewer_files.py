"""The viewer's files, and the headers that keep its page to its own origin.

A browser asks each time whether a file is still the one it has, so that the page of one gateway
never runs with a module of another. It knows files and no sessions.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

from starlette.responses import Response
from starlette.staticfiles import StaticFiles

VIEWER = Path(__file__).parent / "viewer"
HEADERS = {
    # Start images are data: URLs of /v1/worlds.
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none';"
        " object-src 'none'; frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # a shared link holds a prompt
    "Cache-Control": "no-cache",
}


class ViewerFiles(StaticFiles):
    """Serves the page at `/` and its modules beside it."""

    def __init__(self) -> None:
        """Serve the folder beside this module."""
        super().__init__(directory=VIEWER, html=True)

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: MutableMapping[str, Any],
        status_code: int = 200,
    ) -> Response:
        """Return a file with the headers, or that the browser's own is still good."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers.update(HEADERS)
        return response
