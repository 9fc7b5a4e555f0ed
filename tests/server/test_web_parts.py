"""What the page is made of, without a browser."""

import threading
import time

import numpy as np
import pytest

from factories import head
from reenactor.core import ReenactError
from reenactor.media import write_image
from reenactor.server.page.faces import Looker
from reenactor.server.page.guard import Guard
from reenactor.server.page.settings import WebSettings
from reenactor.server.page.words import note, problem, progress, sentence_of, without_folders
from reenactor.server.page.work import CancelledError, Work, remaining


def test_work_gives_its_result():
    work = Work(lambda told: 3)
    assert work.result() == 3
    assert list(work.watch()) == []


def test_work_tells_how_far_it_is():
    step = threading.Event()

    def job(told):
        told.start("drawing", 0, 10)
        time.sleep(0.02)
        told.step(5, 10)
        step.wait(5)

    work = Work(job)
    seen = []
    for one in work.watch():
        seen.append(one)
        if one[1] == 0.5:
            step.set()
    assert seen[-1][1] == 0.5
    assert "drawing: 5 of 10, about 1 s left" in seen[-1][0]


def test_work_stops_when_told():
    begun = threading.Event()

    def job(told):
        told.start("drawing", 0, None)
        begun.set()
        for i in range(10**9):
            time.sleep(0.001)
            told.step(i, None)

    work = Work(job)
    begun.wait(5)
    work.cancel()
    with pytest.raises(CancelledError):
        work.result()


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "about 1 s"), (45.4, "about 45 s"), (150, "about 2 min")])
def test_remaining_time(seconds, text):
    assert remaining(seconds) == text


def test_sentences_name_no_folder_of_this_computer(tmp_path):
    text = f"cannot read {tmp_path}/uploads/0a1b2c/my photo.png: damaged; save {tmp_path}/x.png again"
    assert without_folders(text, tmp_path) == "cannot read my photo.png: damaged; save x.png again"
    assert sentence_of(ReenactError("no face found; use another"), tmp_path) == "No face found; use another."


def test_other_errors_are_told_in_the_terminal(tmp_path, capsys):
    said = sentence_of(KeyError("secret"), tmp_path)
    assert "secret" not in said
    assert "KeyError: 'secret'" in capsys.readouterr().err


def test_names_of_files_are_no_html():
    for made in (note("<b>x"), problem("<b>x"), progress("<b>x", 0.5)):
        assert "<b>" not in made
        assert "&lt;b&gt;x" in made
    assert 'aria-valuenow="50"' in progress("x", 0.5)


@pytest.fixture(scope="module")
def looker():
    one = Looker()
    yield one
    one.close()


@pytest.fixture(scope="module")
def two_faces(tmp_path_factory):
    face = head()
    path = tmp_path_factory.mktemp("two") / "two.png"
    write_image(path, np.ascontiguousarray(np.concatenate([face, face[:, ::-1]], axis=1)))
    return path


def test_faces_are_numbered_from_the_left(looker, two_faces):
    (seen,) = looker.look([two_faces])
    assert len(seen.meshes) == 2
    assert seen.meshes[0][:, 0].mean() < 256 < seen.meshes[1][:, 0].mean()
    assert seen.face_at(100, 100) == 1
    assert seen.face_at(400, 100) == 2
    # Only the chosen face's box changes colour.
    one, two = seen.with_boxes(1), seen.with_boxes(2)
    assert (one != two).any()
    assert seen.crop(1).shape == seen.crop(2).shape == (128, 128, 3)
    assert np.abs(seen.crop(1).astype(int) - seen.crop(2)).mean() > 10


def test_photos_that_cannot_be_used_are_refused(looker, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    write_image(tmp_path / "grey.png", np.full((200, 200, 3), 128, np.uint8))
    with pytest.raises(ReenactError, match=r"broken\.png"):
        looker.look([tmp_path / "broken.png"])
    with pytest.raises(ReenactError, match=r"no face found in grey\.png"):
        looker.look([tmp_path / "grey.png"])
    with pytest.raises(ReenactError, match="one to 8"):
        looker.look([tmp_path / "grey.png"] * 9)


@pytest.mark.parametrize(
    ("settings", "host", "origin", "passes"),
    [
        (WebSettings(), "127.0.0.1:7860", None, True),
        (WebSettings(), "localhost:7860", "http://localhost:7860", True),
        (WebSettings(), "[::1]:7860", None, True),
        (WebSettings(), "evil.example", None, False),  # a name that resolves to 127.0.0.1
        (WebSettings(), "192.168.0.5", None, False),
        (WebSettings(), "127.0.0.1:7860", "https://evil.example", False),
        (WebSettings(), "127.0.0.1:7860", "null", False),
        (WebSettings(), "", None, False),
        (WebSettings(host="0.0.0.0"), "192.168.0.5:7860", None, True),
        (WebSettings(host="0.0.0.0"), "evil.example", None, False),
        (WebSettings(host="0.0.0.0", names=("box.lan",)), "box.lan", None, True),
    ],
)
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_only_own_pages_may_ask(settings, host, origin, passes, kind):
    import asyncio

    reached, sent = [], []

    async def app(scope, receive, send):
        reached.append(scope)
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message)

    headers = [(b"host", host.encode())] + ([(b"origin", origin.encode())] if origin else [])
    asyncio.run(Guard(app, settings)({"type": kind, "headers": headers}, receive, send))
    assert bool(reached) == passes
    if passes:
        assert "default-src 'self'" in dict(sent[0]["headers"])[b"content-security-policy"].decode()
    else:
        assert sent[0].get("status", 403) == 403
        assert sent[0].get("code", 1008) == 1008


@pytest.mark.parametrize(
    "settings",
    [WebSettings(port=70000), WebSettings(live=0), WebSettings(sign_cert="a"), WebSettings(max_upload_mib=0)],
)
def test_settings_that_cannot_be(settings):
    with pytest.raises(ReenactError):
        settings.check()


def test_the_page_is_for_this_computer_unless_told_otherwise():
    assert WebSettings().local
    assert not WebSettings(host="0.0.0.0").local
