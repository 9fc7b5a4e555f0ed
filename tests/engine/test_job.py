"""Files in, a file out: what is not seen from the command line."""

import numpy as np
import pytest
import torch

from reenactor import Reenactor, animate
from reenactor.core import Options
from reenactor.engine import job
from reenactor.engine.shipped import demo_photo, shipped_motions
from reenactor.media import VideoReader, read_motion, write_image, write_motion

FRAMES = 11


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("job")
    write_image(folder / "person.png", np.ascontiguousarray(demo_photo()[:256, 100:356]))
    whole = read_motion(shipped_motions()["talk"])
    write_motion(folder / "driver.motion", whole.between(0, FRAMES / whole.fps - 1e-6))
    return folder


def made(files, name):
    options = Options(model="warp", size=64, max_side=128, provenance=False)
    report = animate([files / "person.png"], files / "driver.motion", files / name, options)
    assert report.frames == FRAMES
    with VideoReader(files / name) as reader:
        return [frame.image for frame in reader]


def test_a_gpu_is_given_frames_together_and_the_cpu_one_by_one(files, monkeypatch):
    sizes = []
    draw_many = Reenactor.draw_many
    monkeypatch.setattr(Reenactor, "draw_many", lambda self, mesh: sizes.append(len(mesh)) or draw_many(self, mesh))
    one_by_one = made(files, "cpu.mp4")
    assert sizes == [1] * FRAMES
    sizes.clear()
    monkeypatch.setattr(job, "device_of", lambda model: torch.device("cuda"))
    together = made(files, "gpu.mp4")
    assert sizes == [8, FRAMES - 8]
    np.testing.assert_array_equal(one_by_one, together)
