"""What is measured on single pictures, against the metrics themselves and slow twins."""

import cv2
import numpy as np
import pytest
import torch

from reenactor.core import MESH_TO_IBUG68
from reenactor.face.maps import hull_mask
from reenactor.face.perception.identity import identity_distance
from reenactor.research.data import Split
from reenactor.research.evaluation import Protocol, choose_cases
from reenactor.research.evaluation.packs import Frame
from reenactor.research.evaluation.pixels import band_mask, mouth_mask
from reenactor.research.evaluation.readings import BEST_PSNR_DB, COMPARED, OF_EQUALS, FaceReader, compare
from reenactor.research.evaluation.store import Store
from reenactor.research.metrics import m_psnr, m_ssim, psnr, ssim


@pytest.fixture(scope="module")
def frames(packs):
    """Two pictures of a clip and their landmarks."""
    one = choose_cases(packs, Protocol.SELF, count=1, split=Split.TRAIN).sets[0]
    key = one.driver.key
    both = [Frame(key, 2), Frame(key, 30)]
    pictures = packs.driver.pictures(both, 128)
    return [pictures[f] for f in both], np.stack([packs.driver.mesh(f, 128) for f in both])


def test_comparison_is_the_metrics_own(frames):
    pictures, meshes = frames
    found = np.stack([compare(*pictures, meshes[0]), compare(*pictures[::-1], meshes[1])])
    a = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
    b = a.flip(0)
    face = hull_mask(torch.from_numpy(meshes), 128)
    mouth = torch.from_numpy(np.stack([mouth_mask(mesh, 128) for mesh in meshes]))
    wanted = {
        "ssim": ssim(a, b),
        "m_ssim": m_ssim(a, b, face),
        "psnr": psnr(a, b),
        "m_psnr": m_psnr(a, b, face),
        "mouth_psnr": m_psnr(a, b, mouth),
        "rim_error": [
            np.abs(np.int32(pictures[0]) - pictures[1])[band_mask(mesh, 128)[0] > 0].mean() for mesh in meshes
        ],
    }
    for column, name in enumerate(COMPARED):
        np.testing.assert_allclose(found[:, column], wanted[name], rtol=1e-5)


def test_equal_pictures(frames):
    pictures, meshes = frames
    for picture, mesh in zip(pictures, meshes, strict=True):
        np.testing.assert_allclose(compare(picture, picture, mesh), OF_EQUALS, atol=1e-6)
    least = pictures[0].copy()
    least[0, 0, 0] ^= 1
    assert compare(least, pictures[0], meshes[0])[2] < BEST_PSNR_DB


def test_mouth_mask_is_what_lies_near_the_lips(frames):
    mesh = frames[1][0]
    mask = mouth_mask(mesh, 128)[0]
    hull = cv2.convexHull(mesh[list(MESH_TO_IBUG68[48:60]), :2])
    reach = 0.1 * np.linalg.norm(mesh[263, :2] - mesh[33, :2])
    for y in range(0, 128, 2):
        for x in range(0, 128, 2):
            inside = cv2.pointPolygonTest(hull, (float(x), float(y)), True)
            if abs(inside + reach) > 1.6:  # whole pixels and a disk of them
                assert mask[y, x] == (inside > -reach)


@pytest.fixture(scope="module")
def reader():
    return FaceReader()


class TestFaceReader:
    def test_faces_and_none(self, reader, frames):
        pictures, meshes = frames
        nobody = np.full((128, 128, 3), 128, np.uint8)
        a, none, b = reader.read([pictures[0], nobody, pictures[1]])
        for row, mesh in ((a, meshes[0]), (b, meshes[1])):
            assert np.abs(row["mesh"] - mesh)[:, :2].mean() < 2
            assert 0 < row["sharpness"] < 1
        assert all(np.isnan(none[name]).all() for name in ("mesh", "embedding", "sharpness"))
        assert identity_distance(a["embedding"], b["embedding"]) < 0.6

    def test_second_reading_is_of_the_same_face(self, reader, frames):
        once, again = reader.mesh(frames[0][0]), reader.mesh_again(frames[0][0])
        apart = np.linalg.norm((once - again)[:, :2], axis=1).mean()
        assert 0 < apart < 1.5


class TestStore:
    def test_rows_come_back(self, tmp_path):
        store = Store(tmp_path / "a" / "s.npz", "one")
        store.put("x", {"mesh": np.arange(3.0), "n": np.array(1.5)}, "digest")
        store.put("y", {"mesh": np.full(3, np.nan), "n": np.array(2.5)})
        store.save()
        again = Store(tmp_path / "a" / "s.npz", "one")
        np.testing.assert_array_equal(again.get("x", "digest")["mesh"], [0, 1, 2])
        assert again.get("x", "other") is None
        assert again.get("y")["n"] == 2.5
        assert again.get("z") is None
        assert Store(tmp_path / "a" / "s.npz", "two").get("y") is None

    def test_nothing_new_writes_nothing(self, tmp_path):
        store = Store(tmp_path / "s.npz", "one")
        store.save()
        assert not (tmp_path / "s.npz").exists()
