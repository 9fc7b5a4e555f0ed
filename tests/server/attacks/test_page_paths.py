"""The page's paths and session names come from browsers: none of them reaches a file that the visitor did not send."""

import json
import os
import re
import shutil

import pytest

pytest.importorskip("gradio")

FILES = ("choose", "run", "read", "run_1", "inspect")
"""Gradio's names of the functions that take files."""
JSON = {"Content-Type": "application/json"}
SECRET = b"the secret of the server"


@pytest.fixture
def page(shared_page):
    for client in (shared_page.first, shared_page.second):
        client.cookies.clear()
    uploads = shared_page.settings.data / "uploads"
    shutil.rmtree(uploads)
    uploads.mkdir()
    return shared_page


class Browser:
    """A visitor who has opened the page."""

    def __init__(self, client):
        self.http = client
        assert client.get("/", headers={"Accept": "text/html"}).status_code == 200
        config = client.get("/config").json()
        self.functions = {one["api_name"]: one["id"] for one in config["dependencies"]}
        self.inputs = {one["api_name"]: len(one["inputs"]) for one in config["dependencies"]}

    def upload(self, name="face.png", data=b"mine"):
        answer = self.http.post("/gradio_api/upload", files={"files": (name, data)})
        assert answer.status_code == 200, answer.text
        return answer.json()[0]

    def call(self, function, file, session="a1", route="/gradio_api/run/predict", **more):
        data = [None] * self.inputs[function]
        data[{"run": 2, "run_1": 3}.get(function, 0)] = [file] if function == "choose" else file
        body = {"fn_index": self.functions[function], "data": data, "session_hash": session, **more}
        return self.http.post(route, json=body)


def file(path, **more):
    return {"path": str(path), "meta": {"_type": "gradio.FileData"}, "orig_name": "a.png", **more}


@pytest.fixture
def forbidden(page, tmp_path):
    """Files of the server, inside the folder of uploads and outside of it."""
    uploads = page.settings.data / "uploads"
    (tmp_path / "secret.png").write_bytes(SECRET)
    os.mkfifo(tmp_path / "fifo")
    os.mkfifo(uploads / "fifo")
    (uploads / "link.png").symlink_to(tmp_path / "secret.png")
    return [
        tmp_path / "secret.png",
        "/etc/passwd",
        tmp_path / "fifo",
        uploads / "fifo",
        uploads / "link.png",
        uploads,
        uploads / ".." / "reenactor.sqlite",
        "http://127.0.0.1:1/a.png",
        "https://example.com/a.png",
        "file:///etc/passwd",
        "a\0b",
        "x" * 5000,
        "",
    ]


@pytest.mark.parametrize("route", ["/gradio_api/run/predict", "/gradio_api/queue/join"])
def test_only_own_uploads_are_files(page, forbidden, route, capfd):
    visitor = Browser(page.first)
    own = visitor.upload()
    before = sorted(page.settings.data.rglob("*"))
    for function in FILES:
        for path in forbidden:
            for asked in (file(path), {"path": str(path)}, file(path, is_stream=True, url=own)):
                answer = visitor.call(function, asked, route=route)
                assert (answer.status_code, "not uploaded here" in answer.text) == (422, True), (function, path)
        assert visitor.call(function, {"path": ["/etc/passwd"]}, route=route).status_code == 422
        nested = visitor.call(function, None, route=route, event_data={"deep": [[file("/etc/passwd")]]})
        assert nested.status_code == 422
    assert sorted(page.settings.data.rglob("*")) == before
    assert "Traceback" not in capfd.readouterr().err


def test_a_link_in_ones_own_folder(page, tmp_path):
    """It cannot be made over HTTP; whoever finds a way must not be able to read with it."""
    visitor = Browser(page.first)
    folder = os.path.dirname(visitor.upload())
    (tmp_path / "secret.png").write_bytes(SECRET)
    os.symlink(tmp_path / "secret.png", f"{folder}/link.png")
    os.mkfifo(f"{folder}/fifo")
    for name in ("link.png", "fifo", ".", ".."):
        assert visitor.call("inspect", file(f"{folder}/{name}")).status_code == 422, name


def test_files_of_other_visitors(page):
    """Even who knows the path of another visitor's file can neither use nor fetch it; with the same key, too."""
    first = Browser(page.first)
    path = first.upload(data=SECRET)
    assert page.first.get(f"/gradio_api/file={path}").content == SECRET
    page.first.cookies.clear()
    for other in (Browser(page.second), Browser(page.first)):
        assert other.call("inspect", file(path)).status_code == 422
        fetched = other.http.get(f"/gradio_api/file={path}")
        assert (fetched.status_code, SECRET in fetched.content) == (422, False)


@pytest.mark.parametrize("path", ["/etc/passwd", "http://127.0.0.1:1/", "https://example.com/", "../../keys", "%00"])
def test_nothing_else_is_fetched(page, path):
    visitor = Browser(page.first)
    assert visitor.http.get(f"/gradio_api/file={path}").status_code in (404, 422)


def test_names_of_uploads(page):
    """Whatever a browser calls its file, it lies in the visitor's own folder."""
    visitor = Browser(page.first)
    uploads = page.settings.data / "uploads"
    names = (
        "../../evil.png",
        "/etc/passwd",
        "..",
        ".",
        "...",
        "a\\..\\b.png",
        "\x1b[2Jx.png",
        "x" * 300,
        "",
        "\u202ea",
    )
    paths = {visitor.upload(name) for name in names if name}
    assert len(paths) == len(names) - 1
    for path in paths:
        _, folder, token, name = os.path.relpath(path, uploads.resolve()).split(os.sep)
        assert re.fullmatch("[0-9a-f]{32}", folder)
        assert re.fullmatch("[0-9a-f]{32}", token)
        assert name.isprintable()
    assert not list(page.settings.data.parent.glob("evil*"))


@pytest.mark.parametrize("name", ["..", ".", "../..", "/tmp/x", "a/b", "%2e%2e", "A", "", "x" * 65, -7, ["a"], {}])
def test_names_of_sessions(page, name, tmp_path, monkeypatch):
    visitor = Browser(page.first)
    path = visitor.upload()
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert visitor.call("inspect", file(path), session=name).status_code == 400
    assert visitor.http.post("/gradio_api/cancel", json={"session_hash": name, "fn_index": 0}).status_code == 400
    assert visitor.http.get("/gradio_api/queue/data", params={"session_hash": str(name)}).status_code == 400
    assert visitor.http.get(f"/gradio_api/heartbeat/{name}").status_code in (200, 303, 400, 404)
    assert sorted(tmp_path.rglob("*")) == before
    assert visitor.http.get(f"/gradio_api/file={path}").content == b"mine"


def test_sessions_of_others(page):
    """A session is of the visitor who named it first: its events and its pictures are not for others."""
    body = {"session_hash": "abc", "fn_index": 0, "event_id": "none"}
    Browser(page.first)
    assert page.first.post("/gradio_api/cancel", json=body).status_code == 200
    page.first.cookies.clear()
    for other in (page.second, page.first):
        Browser(other)
        assert other.get("/gradio_api/queue/data", params={"session_hash": "abc"}).status_code == 422
        assert other.get("/gradio_api/heartbeat/abc").status_code == 422
        assert other.post("/gradio_api/cancel", json=body).status_code == 422


def test_requests_of_no_page(page):
    """Without the cookie of a page that was opened here nothing of Gradio answers; another key's cookie is none."""
    assert page.first.post("/gradio_api/upload", files={"files": ("a.png", b"a")}).status_code == 403
    assert page.first.get("/gradio_api/queue/data?session_hash=a").status_code == 403
    Browser(page.first)
    page.second.cookies.update(page.first.cookies)
    assert page.second.post("/gradio_api/upload", files={"files": ("a.png", b"a")}).status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/deep_link?session_hash=a",
        "/gradio_api/proxy=http://127.0.0.1/",
        "/gradio_api/file/etc/passwd",
        "/gradio_api/dev/reload",
        "/gradio_api/runs",
        "/gradio_api/queue/status",
        "/gradio_api/stream/a/b/1/playlist-file",
        "/gradio_api/openapi.json",
        "/gradio_api/token",
        "/monitoring/summary",
        "/custom_component/a/client/component/index.js",
        "/logout",
        "/pwa_icon",
    ],
)
def test_routes_of_gradio_that_the_page_does_not_use(page, path):
    visitor = Browser(page.first)
    assert visitor.http.get(path).status_code == 404
    for route in ("process_recording", "component_server", "vibe-edit", "call/inspect", "api/inspect", "stream/a"):
        assert visitor.http.post(f"/gradio_api/{route}", json={}).status_code == 404, route
    assert not list((page.settings.data / "uploads").iterdir())


def test_what_is_checked_is_what_gradio_reads(page):
    """A name twice in JSON: readers differ in which they take."""
    visitor = Browser(page.first)
    body = json.dumps({"fn_index": visitor.functions["inspect"], "data": [file("PATH")], "session_hash": "a"})
    for paths in (("/etc/passwd", visitor.upload()), (visitor.upload(), "/etc/passwd")):
        twice = body.replace('"path": "PATH"', f'"path": "{paths[0]}", "path": "{paths[1]}"')
        answer = visitor.http.post(
            "/gradio_api/run/predict", content=twice, headers={"Content-Type": "application/json"}
        )
        assert "root:" not in answer.text
    for rubbish in (b"", b"[]", b"{", b"null", b"[" * 100_000, b"\xff"):
        assert visitor.http.post("/gradio_api/run/predict", content=rubbish).status_code == 400


def test_odd_requests_leave_no_tracebacks_and_no_files(page, capfd):
    visitor = Browser(page.first)
    own = file(visitor.upload())
    before = sorted(page.settings.data.rglob("*"))
    for odd in ({}, [], "x", 1e308, [None] * 50, {"a": [own]}, own, [own], True, "\x1b[2J"):
        for function, number in visitor.functions.items():
            if function in ("leave", "use_example"):  # the second takes nothing and makes a file
                continue
            data = [odd] * visitor.inputs[function] if odd != [] else []
            body = {"fn_index": number, "data": data, "session_hash": "a"}
            answer = visitor.http.post("/gradio_api/run/predict", json=body)
            assert str(page.settings.data) not in answer.text.replace(own["path"], ""), (function, odd)
    for number in (-1, 10**9, "x", None):
        body = {"fn_index": number, "data": [], "session_hash": "a"}
        assert visitor.http.post("/gradio_api/run/predict", json=body).status_code >= 400
    assert sorted(page.settings.data.rglob("*")) == before
    err = capfd.readouterr().err
    assert "Traceback" not in err
    assert "\x1b" not in err
