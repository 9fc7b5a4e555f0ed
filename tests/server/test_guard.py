"""The request guard in front of API and page: host names, origins, the login."""

import asyncio

import httpx
import pytest

from reenactor.server import Settings
from reenactor.server.guard import RequestGuard
from reenactor.server.keys import one_time_key
from reenactor.server.metrics import Metrics
from reenactor.server.store import Store

KEYS, KEY = one_time_key()
OPEN = {"host": "0.0.0.0", "keys": KEYS}


@pytest.mark.parametrize(
    ("settings", "host", "origin", "passes"),
    [
        ({}, "127.0.0.1:7860", None, True),
        ({}, "localhost:7860", "http://localhost:7860", True),
        ({}, "[::1]:7860", None, True),
        ({}, "127.8.8.8", None, True),
        ({}, "evil.example", None, False),  # a name that resolves to 127.0.0.1
        ({}, "192.168.0.5", None, False),
        ({}, "[::1", None, False),
        ({}, "127.0.0.1:7860", "https://evil.example", False),
        ({}, "127.0.0.1:7860", "http://[", False),
        ({}, "127.0.0.1:7860", "null", False),
        ({}, "", None, False),
        (OPEN, "192.168.0.5:7860", None, True),
        (OPEN, "evil.example", None, False),
        ({**OPEN, "names": ("box.lan",)}, "box.lan", None, True),
    ],
)
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_only_own_pages_may_ask(settings, host, origin, passes, kind, tmp_path):
    reached, sent = [], []

    async def app(scope, receive, send):
        reached.append(scope)
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message)

    guard = RequestGuard(
        app,
        settings=Settings(data=tmp_path, page=True, **settings),
        store=Store(tmp_path),
        metrics=Metrics(),
        retry_s=lambda: 1.0,
    )
    headers = [(b"host", host.encode()), (b"x-api-key", KEY.encode())]
    if origin:
        headers.append((b"origin", origin.encode()))
    asyncio.run(guard({"type": kind, "path": "/", "headers": headers}, receive, send))
    assert bool(reached) == passes
    if passes:
        assert "default-src 'self'" in dict(sent[0]["headers"])[b"content-security-policy"].decode()
    else:
        assert sent[0].get("status", 403) in (400, 403)
        assert sent[0].get("code", 1008) == 1008


@pytest.fixture
def page(paged):
    with httpx.Client(base_url=paged.url, trust_env=False, timeout=30) as client:
        yield client


@pytest.mark.slow
def test_page_asks_for_the_key(page, paged):
    browser = {"Accept": "text/html"}
    answer = page.get("/", headers=browser)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/login")
    assert page.get("/config").status_code == page.post("/gradio_api/upload").status_code == 401
    assert page.get("/v1/motions").status_code == 401
    assert "API key" in page.get("/login", headers=browser).text
    assert page.post("/login", data={"key": "wrong"}).status_code == 401
    assert page.post("/login", data={"key": KEY}, headers={"Origin": "https://evil.example"}).status_code == 403
    answer = page.post("/login", data={"key": paged.key})
    assert answer.status_code == 303
    cookie = answer.headers["Set-Cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert page.get("/", headers=browser).status_code == 200
    assert "blink" in page.get("/v1/motions").json()["motions"]
    assert page.get("/v1/nothing").json() == {
        "error": "there is nothing at this address; see /openapi.json for what there is"
    }
    assert page.get("/v1/motions", headers={"Origin": "https://evil.example"}).status_code == 403
