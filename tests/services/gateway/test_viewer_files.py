from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from services.gateway.viewer_files import HEADERS, VIEWER, ViewerFiles


@pytest.fixture
def client() -> TestClient:
    app = Starlette()
    app.mount("/", ViewerFiles())
    return TestClient(app)


def test_the_page_and_its_modules_come_with_the_policy(client) -> None:
    for path, kind in (
        ("/", "text/html"),
        ("/client.js", "text/javascript"),
        ("/viewer.css", "text/css"),
    ):
        answer = client.get(path)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(kind)
        for name, value in HEADERS.items():
            assert answer.headers[name] == value


def test_a_browser_that_has_the_file_is_told_so_with_the_policy(client) -> None:
    etag = client.get("/client.js").headers["etag"]
    answer = client.get("/client.js", headers={"If-None-Match": etag})
    assert answer.status_code == 304
    assert answer.headers["cache-control"] == "no-cache"


def test_nothing_outside_the_folder_is_served(client) -> None:
    for path in ("/../app.py", "/%2e%2e/app.py", "/nothing.js"):
        assert client.get(path).status_code == 404


def test_the_policy_of_the_header_holds_what_the_page_says_of_itself() -> None:
    page = (VIEWER / "index.html").read_text()
    said = page.split('http-equiv="Content-Security-Policy"')[1].split('content="')[1].split('"')[0]
    assert set(said.split("; ")) <= set(HEADERS["Content-Security-Policy"].split("; "))
