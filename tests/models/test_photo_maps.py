"""Heat maps of where a frame comes from, through the models' own contract."""

import numpy as np
import pytest
import torch

from reenactor.core import DriverFrame, TargetSet
from reenactor.engine.composite import heat_over
from reenactor.face.geometry import mean_face
from reenactor.face.maps import draw_maps
from reenactor.models import PhotoUse, create_model
from reenactor.models.hybrid import Hybrid, HybridConfig
from reenactor.models.marionette import MarioNETte, MarioNETteConfig

SIZE = 64


def of_frame(model, k, device="cpu"):
    """The maps of one frame; the photos are noise."""
    model.eval().to(device)
    mesh = (mean_face().points * 0.3 * SIZE + (SIZE / 2, SIZE / 2, 0)).astype(np.float32)
    meshes = np.stack([mesh + np.float32(2 * i) for i in range(k)])
    photos = torch.rand(k, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    kinds = model.needs.maps
    with torch.inference_mode():
        there, wanted = (
            {kind: drawn.to(device) for kind, drawn in draw_maps(kinds, torch.from_numpy(of), SIZE).items()}
            for of in (meshes, mesh[None])
        )
        code = model.encode_target(TargetSet(photos.to(device), meshes, there))
    return model.photo_maps(code, DriverFrame(mesh[None], wanted))


def marionette(blender="attention"):
    torch.manual_seed(0)
    return MarioNETte(MarioNETteConfig(resolution=SIZE, base_width=8, max_width=16, blender=blender))


def hybrid():
    torch.manual_seed(0)
    return Hybrid(HybridConfig(resolution=SIZE, base_width=16))


@pytest.mark.parametrize("k", [1, 3])
def test_marionette_looks(k):
    (looked,) = of_frame(marionette(), k)
    assert looked.use is PhotoUse.ATTENDED
    assert looked.weights.shape[0] == k
    assert looked.weights.sum() == pytest.approx(1, abs=1e-4)
    assert looked.brightest == looked.weights.max()


@pytest.mark.parametrize("k", [1, 3])
def test_the_hybrid_takes_all_but_holes(k):
    (taken,) = of_frame(hybrid(), k)
    assert taken.use is PhotoUse.TAKEN
    assert taken.weights.shape == (k, SIZE, SIZE)
    assert taken.weights.sum() == pytest.approx(1, abs=0.02)
    if k == 1:  # also where its mirror image was taken
        assert np.median(taken.weights) == pytest.approx(taken.brightest, rel=0.05)


@pytest.mark.parametrize(
    ("model", "uses"),
    [
        (create_model("warp"), []),
        (marionette("adain"), []),
        (marionette(), [PhotoUse.ATTENDED]),
        (hybrid(), [PhotoUse.TAKEN]),
    ],
)
def test_who_has_what(model, uses):
    assert [one.use for one in of_frame(model, 1)] == uses
    assert model.photo_uses == tuple(uses)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("make", [hybrid, marionette])
def test_on_a_gpu(make):
    for here, there in zip(of_frame(make(), 2), of_frame(make(), 2, "cuda"), strict=True):
        np.testing.assert_allclose(there.weights, here.weights, atol=1e-2 * here.brightest)


def test_the_drivers_raster_is_asked_for():
    model = hybrid().eval()
    meshes = np.stack([mean_face().points * 20 + SIZE / 2]).astype(np.float32)
    maps = draw_maps(model.needs.maps, torch.from_numpy(meshes), SIZE)
    with torch.inference_mode():
        code = model.encode_target(TargetSet(torch.zeros(1, 3, SIZE, SIZE), meshes, maps))
    with pytest.raises(ValueError, match="irises of the driver frames"):
        model.photo_maps(code, DriverFrame(meshes))


def test_heat_is_brightest_where_the_map_is():
    picture = np.full((64, 64, 3), 100, np.uint8)
    heat = np.zeros((8, 8), np.float32)
    heat[2, 5] = 1
    shown = heat_over(picture, heat, 1.0).sum(axis=2)
    y, x = np.unravel_index(shown.argmax(), shown.shape)
    assert abs(y - 20) < 8
    assert abs(x - 44) < 8
