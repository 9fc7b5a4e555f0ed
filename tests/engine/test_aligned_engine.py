"""Models whose faces are aligned to the mean shape: where a face goes in the photo does not depend on its crop."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.data import astronaut

from factories import psnr
from reenactor import Reenactor
from reenactor.core import Alignment
from reenactor.engine.shipped import demo_examples, shipped_motions
from reenactor.media import read_motion
from reenactor.models import create_model
from reenactor.models.oneshot import OneShot, OneShotConfig

TILT_DEG = 25.0


@pytest.fixture(scope="module")
def tilted():
    """The astronaut, tilted clockwise."""
    photo = Image.fromarray(astronaut())
    return np.asarray(photo.rotate(-TILT_DEG, Image.Resampling.BICUBIC, center=(210, 120)))


@pytest.fixture(scope="module")
def talk():
    motion = read_motion(shipped_motions()["talk"])
    return motion.between(0.8, 1.2)


def warp(alignment):
    """The classical warp, with one or the other crop."""
    model = create_model("warp")
    model.needs = replace(model.needs, alignment=alignment)
    return model


def drawn(model, photo, motion, **options):
    """The reenactor, its last frame, and that frame's landmarks in the photo."""
    one = Reenactor(model, **options)
    one.set_target([photo])
    *_, last = one.drive(motion)
    return one, last, one.target.crop.to_picture(last.mesh_px)


@pytest.mark.parametrize("options", [{}, {"transfer": "absolute"}, {"transfer": "transformer"}], ids=str)
def test_a_face_moves_alike_in_either_crop(tilted, talk, options):
    _, _, upright = drawn(warp(Alignment.BOX), tilted, talk, **options)
    one, frame, aligned = drawn(warp(Alignment.MEAN_SHAPE), tilted, talk, **options)
    assert one.target.crop.angle_deg == pytest.approx(TILT_DEG, abs=5)
    np.testing.assert_allclose(aligned, upright, atol=0.1)
    assert frame.image.shape == tilted.shape


def test_what_is_drawn_of_a_tilted_photo_is_pasted_tilted_again(tilted, talk):
    _, expected, _ = drawn(warp(Alignment.BOX), tilted, talk, background="moving")
    one, frame, mesh = drawn(warp(Alignment.MEAN_SHAPE), tilted, talk, background="moving")
    eyes = one.target.mesh_px[[33, 263], :2]
    across = eyes[1] - eyes[0]
    assert abs(np.degrees(np.arctan2(across[1], across[0]))) < 2
    low, high = mesh[:, :2].min(0).astype(int) + 15, mesh[:, :2].max(0).astype(int) - 15
    inner = slice(low[1], high[1]), slice(low[0], high[0])
    # The mouth has moved: both warps show that, and nearly the same pixels.
    assert psnr(frame.image[inner], expected.image[inner]) > psnr(tilted[inner], expected.image[inner]) + 4
    assert psnr(frame.image[inner], expected.image[inner]) > 32
    rows, columns = one.target.crop.inside(tilted.shape[1], tilted.shape[0])
    outside = np.ones(tilted.shape[:2], bool)
    outside[rows, columns] = False
    np.testing.assert_array_equal(frame.image[outside], tilted[outside])


def test_live_drives_it(tilted, talk):
    model = warp(Alignment.MEAN_SHAPE)
    one = Reenactor(model, size=96)
    one.set_target([tilted])
    with one.live(smooth=False) as live:
        frames = [live.step(astronaut(), number / 25) for number in range(2)]
    assert frames[-1].driver_seen
    # The driver stays as it is when it is seen first, so the target stays as in the photo.
    np.testing.assert_allclose(frames[-1].mesh_px, one.target.mesh_px, atol=0.7)


def test_a_cut_out_photo_keeps_its_opacity(tmp_path, tilted, talk):
    opacity = np.zeros(tilted.shape[:2], np.uint8)
    opacity[20:260, 90:330] = 255
    path = tmp_path / "cut.png"
    Image.fromarray(np.dstack([tilted, opacity])).save(path)
    _, frame, _ = drawn(warp(Alignment.MEAN_SHAPE), path, talk, alpha=True, size=128)
    inner = frame.image[60:200, 140:280, 3]
    assert (inner == 255).mean() > 0.99
    assert (frame.image[300:, 350:, 3] == 0).all()


def test_oneshots_config_decides(talk):
    config = OneShotConfig(resolution=64, base_width=4, max_width=8, fusion_width=4)
    torch.manual_seed(0)
    box, aligned = (OneShot(config.model_copy(update={"alignment": alignment})) for alignment in Alignment)
    aligned.load_state_dict(box.state_dict())
    for model, angled in ((box, False), (aligned, True)):
        one, frame, _ = drawn(model.eval(), astronaut(), talk, size=64)
        assert (one.target.crop.angle_deg != 0) == angled
        assert frame.face.shape == (64, 64, 3)
    (targets, _), (wide, _) = (next(iter(demo_examples(model, 1))) for model in (aligned, box))
    eyes, eyes_wide = (np.linalg.norm(np.diff(one.mesh_px[0, [33, 263], :2], axis=0)) for one in (targets, wide))
    assert eyes == pytest.approx(119 / 4, abs=0.75)
    assert eyes_wide < 20


def test_weights_that_do_not_name_the_alignment_keep_their_upright_crop():
    assert create_model("oneshot").needs.alignment is Alignment.BOX
    assert OneShotConfig.model_validate({}).needs.alignment is Alignment.BOX
    assert OneShotConfig.paper().needs.alignment is Alignment.MEAN_SHAPE
    assert OneShotConfig.lite().needs.alignment is Alignment.MEAN_SHAPE
