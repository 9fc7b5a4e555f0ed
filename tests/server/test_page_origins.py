"""Where compared pictures come from, without a browser."""

import base64
import re
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from reenactor.core.progress import Silent
from reenactor.engine import Reenactor
from reenactor.engine.portrait import UsedVideo
from reenactor.engine.shipped import shipped_motions
from reenactor.media import read_motion, write_motion
from reenactor.models import PhotoMap, PhotoUse
from reenactor.models.hybrid import Hybrid, HybridConfig
from reenactor.models.marionette import MarioNETte, MarioNETteConfig
from reenactor.server.page.origins import HEAT_PX, _heats, origins_of

SIZE = 64


def untrained(kind):
    torch.manual_seed(0)
    if kind == "hybrid":
        model = Hybrid(HybridConfig(resolution=SIZE, base_width=16))
    else:
        model = MarioNETte(MarioNETteConfig(resolution=SIZE, base_width=8, max_width=16))
    return Reenactor(model.eval(), size=128 if kind == "hybrid" else SIZE, cache=False)


@pytest.fixture(scope="module")
def talk(tmp_path_factory):
    path = tmp_path_factory.mktemp("talk") / "talk.motion"
    write_motion(path, read_motion(shipped_motions()["talk"]).between(1, 2))
    return path


@pytest.fixture
def ready(photo, talk, tmp_path):
    def make(reenactors, k=1, driver=talk):
        return origins_of(reenactors, [photo] * k, None, driver, tmp_path / "driver", Silent())

    return make


def pictures(html):
    return [
        cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        for data in re.findall(r"base64,([^\"]+)", html)
    ]


def test_ways_that_cannot_tell(ready):
    assert ready([("warp, relative", Reenactor("warp", cache=False))]) is None


def test_only_ways_that_can_tell_are_shown(ready):
    those = [("<marionette>", untrained("marionette")), ("hybrid", untrained("hybrid"))]
    told = ready([("warp", Reenactor("warp", cache=False)), *those], k=2).at(0.5)
    assert re.findall(r"<h3>(.*?)</h3>", told) == ["&lt;marionette&gt;", "hybrid"]
    # The picture, and both photos: what MarioNETte looked at, and what the hybrid took.
    assert len(pictures(told)) == (1 + 2) + (1 + 2)
    # Two equal photos: the network attends to both equally, and takes most from the first.
    assert told.count("photo 1: 50%") == told.count("photo 2: 50%") == 1
    first, second = (int(share) for share in re.findall(r"photo [12]: (\d+)%", told)[2:4])
    assert first > second
    whole = int(re.search(r"taken over: (\d+)% of the picture", told)[1])
    assert first + second == pytest.approx(whole, abs=1)


def test_one_photo_has_no_share(ready):
    told = ready([("marionette", untrained("marionette"))]).at(0.5)
    assert "photo 1" in told
    assert "%" not in told


def test_the_moment_that_is_shown(ready, photo, talk):
    origins = ready([("hybrid", untrained("hybrid"))])
    reenactor = untrained("hybrid")
    reenactor.set_target([photo])
    true = [frame.face.astype(int) for frame in reenactor.drive(talk)]
    assert len(true) == len(origins.times_s)
    for frame in (0, 7, 18):
        told = origins.at(origins.times_s[frame] + 0.01)
        shown = pictures(told)[0]
        assert int(np.argmin([np.abs(one - shown).mean() for one in true])) == frame
        assert f"{origins.times_s[frame]:.2f} s" in told


def test_of_a_video_the_frames_that_contribute_most_are_shown(photo):
    """A photo, ten frames of a video, and a photo, each with a crop of its own brightness."""
    crops = np.stack([np.full((64, 64, 3), 20 * i, np.uint8) for i in range(12)])
    weights = np.zeros((12, 4, 4), np.float32)
    weights[:, 0, 0] = np.array([9, 1, 20, 2, 12, 5, 7, 8, 10, 3, 4, 19]) / 100
    one = Reenactor("warp", size=64, cache=False).set_target([photo])
    target = replace(one, videos=(UsedVideo(2, 10, 0, 0.0),), sources=(1, *[2] * 10, 3))
    target.portrait.crops = crops
    told = _heats(target, PhotoMap(PhotoUse.TAKEN, weights, 1.0))
    assert re.findall(r"<figcaption>(.*?)</figcaption>", told) == [
        "photo 1: 9%",
        *[f"video 2: {share}%" for share in (20, 12, 5, 7, 8, 10)],
        "photo 3: 19%",
    ]
    shown = pictures(told)
    assert {one.shape for one in shown} == {(HEAT_PX, HEAT_PX, 3)}
    # Where nothing was taken a picture is at 0.4 of its brightness.
    corners = [float(one[-32:, -32:].mean()) for one in shown]
    assert corners == pytest.approx([0.4 * 20 * i for i in (0, 2, 4, 5, 6, 7, 8, 11)], abs=2)


def test_a_photo_drives(ready, photo):
    origins = ready([("marionette", untrained("marionette"))], driver=photo)
    assert origins.times_s.tolist() == [0]
    assert len(pictures(origins.at(0))) == 2
