"""Pixels in OpenCV against `metrics`, and places against slow ones of SciPy and scikit-image."""

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt, gaussian_filter
from skimage.draw import polygon

from reenactor.face.geometry import mean_face
from reenactor.face.geometry.face_mesh import face_mesh_triangles
from reenactor.face.maps import face_mask, hull_mask
from reenactor.research.data import Split
from reenactor.research.evaluation import Protocol, choose_cases
from reenactor.research.evaluation.pixels import BAND_PX, band_mask, fine_detail, mean_difference, similarity_map
from reenactor.research.metrics import sharpness, ssim_map


@pytest.fixture(scope="module")
def pair(packs):
    one = choose_cases(packs, Protocol.SELF, count=1, split=Split.TRAIN).sets[0]
    frames = [one.driver, one.targets[0]]
    pictures = packs.driver.pictures(frames, 128)
    return [np.ascontiguousarray(pictures[f]) for f in frames], packs.driver.mesh(one.driver, 128)


def tensor(picture):
    return torch.from_numpy(picture).permute(2, 0, 1)[None]


def test_similarity_is_the_metrics(pair):
    a, b = pair[0]
    wanted = ssim_map(tensor(a), tensor(b))[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(similarity_map(a, b), wanted, atol=1e-6)
    assert np.ptp(wanted) > 0.5, "a pair that tells something"


def test_fine_detail_is_the_metrics(pair):
    (picture, _), mesh = pair
    mask = hull_mask(torch.from_numpy(mesh[None]), 128)
    assert fine_detail(picture, mask[0, 0].numpy()) == pytest.approx(float(sharpness(tensor(picture), mask)), rel=1e-5)
    blurred = np.stack([gaussian_filter(picture[..., c], 1.0) for c in range(3)], axis=-1)
    assert fine_detail(blurred, mask[0, 0].numpy()) < 0.8 * fine_detail(picture, mask[0, 0].numpy())


def outside_ref(mesh, size):
    """Pixels that no triangle's inside holds."""
    outside = np.ones((size, size), bool)
    for corners in face_mesh_triangles():
        if (corners < 478).all():
            outside[polygon(mesh[corners, 1], mesh[corners, 0], (size, size))] = False
    return outside


@pytest.mark.parametrize("size", [128, 256])
def test_the_band_lies_around_the_silhouette(size):
    mesh = (mean_face().points * 0.25 * size + size / 2).astype(np.float32)
    band = band_mask(mesh, size)[0] > 0
    away = distance_transform_edt(outside_ref(mesh, size))
    # OpenCV's fill has the edge's pixels, too: up to one pixel of difference.
    assert band[(away > 1.5) & (away < BAND_PX * size / 256 - 0.5)].all()
    assert not band[(away == 0) | (away > BAND_PX * size / 256 + 1.5)].any()
    inside = face_mask(torch.from_numpy(mesh[None]), size)[0, 0].numpy() > 0.99
    assert not (band & inside & (distance_transform_edt(inside) > 3)).any(), "eyes and mouth are no outside"


def test_the_difference_is_a_mean_in_grey_levels():
    a, b = np.full((8, 8, 3), 100, np.uint8), np.full((8, 8, 3), 100, np.uint8)
    mask = np.zeros((1, 8, 8), np.float32)
    assert np.isnan(mean_difference(a, b, mask))
    mask[0, 2:4, 2:4] = 1
    b[2, 2] = (90, 100, 130)
    b[7, 7] = 0
    assert mean_difference(a, b, mask) == pytest.approx((10 + 30) / 12)
