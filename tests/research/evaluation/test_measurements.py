"""What is measured on pictures, against the metrics themselves and slow twins; and the cache of what was measured."""

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from scipy.ndimage import distance_transform_edt
from skimage.draw import polygon

from reenactor.core import MESH_TO_IBUG68
from reenactor.face.geometry import mean_face
from reenactor.face.geometry.contours import INNER_LIPS
from reenactor.face.geometry.face_mesh import face_mesh_triangles
from reenactor.face.maps import face_mask, hull_mask
from reenactor.face.perception.identity import identity_distance
from reenactor.research.evaluation import Protocol
from reenactor.research.evaluation.cache import MeasurementCache, _Key
from reenactor.research.evaluation.judges import Judges
from reenactor.research.evaluation.measurements import (
    BAND_PX,
    BEST_PSNR_DB,
    COMPARISON,
    IDEAL_COMPARISON,
    MEASUREMENTS,
    Batch,
    compare,
    mouth_mask,
    silhouette_band,
)
from reenactor.research.evaluation.packs import Frame
from reenactor.research.metrics import psnr, ssim


@pytest.fixture(scope="module")
def frames(packs, cases_of):
    """Two pictures of a clip and their landmarks."""
    key = cases_of(Protocol.SELF, count=1)[0].driver.key
    both = [Frame(key, 2), Frame(key, 30)]
    pictures = packs.driver.pictures(both, 128)
    return [pictures[f] for f in both], np.stack([packs.driver.mesh(f, 128) for f in both])


def test_comparison_is_the_metrics_own(frames):
    pictures, meshes = frames
    a, b = pictures
    found = compare(a, b, meshes[0])
    face = hull_mask(torch.from_numpy(meshes[:1]), 128)[0, 0].numpy()
    expected = {
        "ssim": ssim(a, b),
        "m_ssim": ssim(a, b, face),
        "psnr": psnr(a, b),
        "m_psnr": psnr(a, b, face),
        "mouth_psnr": psnr(a, b, mouth_mask(meshes[0], 128)),
        "silhouette_error": np.abs(np.int32(a) - b)[silhouette_band(meshes[0], 128) > 0].mean(),
    }
    between = Image.new("1", (128, 128))
    ImageDraw.Draw(between).polygon([(x, y) for x, y in np.round(meshes[0][list(INNER_LIPS), :2]).tolist()], 1, 1)
    grey = [np.array(Image.fromarray(one).convert("L"))[np.array(between)].astype(float) for one in (a, b)]
    assert len(grey[0]) >= 40
    expected["inside_contrast"] = grey[0].std() / grey[1].std()
    top = [np.sort(one)[-(len(one) // 20) :].mean() for one in grey]
    expected["inside_bright"] = top[0] - top[1]
    np.testing.assert_allclose(found[:6], [expected[name] for name in COMPARISON[:6]], rtol=1e-6)
    # Pillow and OpenCV round grey and edges in their own ways.
    np.testing.assert_allclose(found[6:], [expected[name] for name in COMPARISON[6:]], rtol=0.05, atol=1)


def test_equal_pictures(frames):
    pictures, meshes = frames
    for picture, mesh in zip(pictures, meshes, strict=True):
        found = compare(picture, picture, mesh)
        # Closed lips have nothing between them.
        np.testing.assert_allclose(np.where(np.isnan(found), IDEAL_COMPARISON, found), IDEAL_COMPARISON, atol=1e-6)
        assert not np.isnan(found[:6]).any()
    least = pictures[0].copy()
    least[0, 0, 0] ^= 1
    assert compare(least, pictures[0], meshes[0])[2] < BEST_PSNR_DB


def test_mouth_mask_is_what_lies_near_the_lips(frames):
    mesh = frames[1][0]
    mask = mouth_mask(mesh, 128)
    hull = cv2.convexHull(mesh[list(MESH_TO_IBUG68[48:60]), :2])
    reach = 0.1 * np.linalg.norm(mesh[263, :2] - mesh[33, :2])
    for y in range(0, 128, 2):
        for x in range(0, 128, 2):
            inside = cv2.pointPolygonTest(hull, (float(x), float(y)), True)
            if abs(inside + reach) > 1.6:  # whole pixels and a disk of them
                assert mask[y, x] == (inside > -reach)


@pytest.fixture(scope="module")
def judges():
    return Judges()


class TestFaces:
    def test_faces_and_none(self, judges, frames):
        pictures, meshes = frames
        nobody = np.full((128, 128, 3), 128, np.uint8)
        batch = Batch(judges, [pictures[0], nobody, pictures[1]])
        found = {name: MEASUREMENTS[name].measure(batch) for name in ("mesh", "embedding", "sharpness")}
        for i, mesh in ((0, meshes[0]), (2, meshes[1])):
            assert np.abs(found["mesh"][i] - mesh)[:, :2].mean() < 2
            assert 0 < found["sharpness"][i] < 1
        assert all(np.isnan(values[1]).all() for values in found.values())
        assert identity_distance(found["embedding"][0], found["embedding"][2]) < 0.6

    def test_second_measurement_is_of_the_same_face(self, judges, frames):
        batch = Batch(judges, frames[0][:1])
        once, again = (MEASUREMENTS[name].measure(batch)[0] for name in ("mesh", "mesh_again"))
        assert 0 < np.linalg.norm((once - again)[:, :2], axis=1).mean() < 1.5


class TestCache:
    def test_values_come_back(self, tmp_path):
        path = tmp_path / "a" / "s.npz"
        cache = MeasurementCache(path)
        x, y, other = _Key("warp", "x", "mesh"), _Key("warp", "y", "mesh"), _Key("warp", "x", "sharpness")
        cache.put(x, "1 digest", np.arange(3.0))
        cache.put(y, "1", np.full(3, np.nan))
        cache.put(other, "2", np.array(1.5))
        cache.save()
        again = MeasurementCache(path)
        np.testing.assert_array_equal(again.get(x, "1 digest"), [0, 1, 2])
        assert again.get(x, "2 digest") is None, "another version"
        assert again.get(y, "1").shape == (3,)
        assert again.get(other, "2") == 1.5
        assert again.get(_Key("hybrid", "x", "mesh"), "1 digest") is None

    def test_nothing_new_writes_nothing(self, tmp_path):
        MeasurementCache(tmp_path / "s.npz").save()
        assert not (tmp_path / "s.npz").exists()


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
    band = silhouette_band(mesh, size) > 0
    away = distance_transform_edt(outside_ref(mesh, size))
    # OpenCV's fill has the edge's pixels, too: up to one pixel of difference.
    assert band[(away > 1.5) & (away < BAND_PX * size / 256 - 0.5)].all()
    assert not band[(away == 0) | (away > BAND_PX * size / 256 + 1.5)].any()
    inside = face_mask(torch.from_numpy(mesh[None]), size)[0, 0].numpy() > 0.99
    assert not (band & inside & (distance_transform_edt(inside) > 3)).any(), "eyes and mouth are no outside"
