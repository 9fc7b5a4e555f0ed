"""Places of the photos that a frame comes from, through the models' own contract."""

import numpy as np
import pytest
import torch

from reenact.core import DriverFrame, TargetSet
from reenact.geometry import mean_face
from reenact.inference.attention import Use, has_photo_maps, heat_over, photo_maps
from reenact.maps import draw_maps
from reenact.models import create_model
from reenact.models.hybrid import Hybrid, HybridConfig
from reenact.models.marionette import MarioNETte, MarioNETteConfig

SIZE = 64


def of_frame(model, k):
    """The maps of one frame; the photos are noise."""
    model.eval()
    mesh = (mean_face().points * 0.3 * SIZE + (SIZE / 2, SIZE / 2, 0)).astype(np.float32)
    meshes = np.stack([mesh + np.float32(2 * i) for i in range(k)])
    photos = torch.rand(k, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    kinds = model.needs.maps
    with torch.inference_mode():
        code = model.encode_target(TargetSet(photos, meshes, draw_maps(kinds, torch.from_numpy(meshes), SIZE)))
    return photo_maps(model, code, DriverFrame(mesh[None], draw_maps(kinds, torch.from_numpy(mesh[None]), SIZE)))


def marionette(blender="attention"):
    torch.manual_seed(0)
    return MarioNETte(MarioNETteConfig(resolution=SIZE, base_width=8, max_width=16, blender=blender))


@pytest.mark.parametrize("k", [1, 3])
def test_marionette_looks(k):
    (looked,) = of_frame(marionette(), k)
    assert looked.use is Use.LOOKED
    assert looked.shares.shape[0] == k
    assert looked.shares.sum() == pytest.approx(1, abs=1e-4)
    assert looked.brightest == looked.shares.max()


@pytest.mark.parametrize("k", [1, 3])
def test_the_hybrid_takes_and_looks(k):
    torch.manual_seed(0)
    taken, looked = of_frame(Hybrid(HybridConfig(resolution=SIZE, base_width=8, attention_width=8)), k)
    assert (taken.use, looked.use) == (Use.TAKEN, Use.LOOKED)
    assert taken.shares.shape == (k, SIZE // 2, SIZE // 2)
    # Before training the mask is 1/2: half of the frame is taken, each place once, and half painted.
    assert taken.shares.sum() == pytest.approx(0.5, abs=0.02)
    if k == 1:
        assert np.median(taken.shares) == pytest.approx(0.5 * taken.brightest, rel=0.02)
    assert looked.shares.sum() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("model", [create_model("warp"), marionette("adain")])
def test_others_have_none(model):
    assert not has_photo_maps(model)
    assert of_frame(model, 1) == []


def test_heat_is_brightest_where_the_map_is():
    picture = np.full((64, 64, 3), 100, np.uint8)
    heat = np.zeros((8, 8), np.float32)
    heat[2, 5] = 1
    shown = heat_over(picture, heat, 1.0).sum(axis=2)
    y, x = np.unravel_index(shown.argmax(), shown.shape)
    assert abs(y - 20) < 8
    assert abs(x - 44) < 8
