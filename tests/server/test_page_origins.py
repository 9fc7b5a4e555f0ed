"""Where compared pictures come from, without a browser."""

import base64
import re

import cv2
import numpy as np
import pytest
import torch

from reenactor.core.progress import Silent
from reenactor.engine import Reenactor
from reenactor.engine.shipped import shipped_motions
from reenactor.media import read_motion, write_motion
from reenactor.models.hybrid import Hybrid, HybridConfig
from reenactor.models.marionette import MarioNETte, MarioNETteConfig
from reenactor.server.page.origins import HEAT_PX, origins_of

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
def ready(photo, face, talk, tmp_path):
    def make(reenactors, k=1, driver=talk):
        crops = [cv2.resize(face, (HEAT_PX, HEAT_PX))] * k
        return origins_of(reenactors, [photo] * k, None, crops, driver, tmp_path / "driver", Silent())

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


def test_a_photo_drives(ready, photo):
    origins = ready([("marionette", untrained("marionette"))], driver=photo)
    assert origins.times_s.tolist() == [0]
    assert len(pictures(origins.at(0))) == 2
