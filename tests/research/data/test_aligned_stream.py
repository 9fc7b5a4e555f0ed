"""Aligned crops out of a pack's upright ones: pictures, landmarks and masks, against the same samples not aligned."""

from dataclasses import replace
from itertools import islice

import cv2
import numpy as np
import pytest

from factories import posed
from reenactor.core import Alignment
from reenactor.face.geometry import fit_similarity, mean_face
from reenactor.face.perception import FaceFinder
from reenactor.research.data.pair_stream import PairData, PairStream
from reenactor.research.data.pairs import Pair, PairKind, aligned
from reenactor.research.data.streams import FrameData, FrameStream

SIZE, STORED = 128, 256
KINDS = [PairKind.CLIP, PairKind.CONTOUR, PairKind.WARP_BACK]


def pairs_of(pack, kind, alignment, count, **options):
    size = SIZE if alignment is Alignment.MEAN_SHAPE else STORED
    data = PairData(size=size, alignment=alignment, targets=2, mix={kind: 1.0}, **options)
    return list(islice(PairStream(pack, data, seed=4), count))


def eyes_of(mesh):
    across = mesh[..., 263, :2] - mesh[..., 33, :2]
    return np.linalg.norm(across, axis=-1), np.degrees(np.arctan2(across[..., 1], across[..., 0]))


@pytest.mark.parametrize("kind", KINDS)
def test_the_truth_moves_with_the_first_target(pack, kind):
    raw = pairs_of(pack, kind, Alignment.BOX, 5)
    for before, after in zip(raw, pairs_of(pack, kind, Alignment.MEAN_SHAPE, 5), strict=True):
        distance, slope_deg = eyes_of(after["target_mesh"].numpy())
        # Turned heads (warp-back) have nearer eyes if the face would not fit in.
        assert (distance < 119 * SIZE / 256 + 1.5).all()
        assert (np.abs(slope_deg) < 2).all()
        moves = fit_similarity(before["target_mesh"][0, :, :2].numpy(), after["target_mesh"][0, :, :2].numpy())
        expected = moves.apply(before["driver_mesh"][:, :2].numpy().astype(float))
        np.testing.assert_allclose(after["driver_mesh"][:, :2], expected, atol=0.02)
        depth = before["driver_mesh"][:, 2].numpy() * float(moves.scale)
        np.testing.assert_allclose(after["driver_mesh"][:, 2], depth, atol=0.02)
        assert before["identity"] == after["identity"]


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_lie_where_their_landmarks_do(pack, kind):
    """By another resampling of the same pictures: SciPy's similarity of the landmarks, from the picture of the pack."""
    before, after = (pairs_of(pack, kind, how, 1)[0] for how in (Alignment.BOX, Alignment.MEAN_SHAPE))
    shown = [*zip(before["targets"], before["target_mesh"], after["targets"], after["target_mesh"], strict=True)]
    shown.append((before["truth"], before["driver_mesh"], after["truth"], after["driver_mesh"]))
    for picture, mesh, crop, crop_mesh in shown:
        back = fit_similarity(crop_mesh[:, :2].numpy(), mesh[:, :2].numpy())
        y, x = np.mgrid[:SIZE, :SIZE].astype(float)
        at = back.apply(np.stack([x.ravel(), y.ravel()], -1)).reshape(SIZE, SIZE, 2).astype(np.float32)
        expected = cv2.remap(picture.numpy().transpose(1, 2, 0), at, None, cv2.INTER_LINEAR)
        inside = ((at > 2) & (at < STORED - 3)).all(2)
        wrong = np.abs(crop.numpy().transpose(1, 2, 0).astype(int) - expected)[inside]
        assert wrong.mean() < 2.5
        assert inside.mean() > 0.7


def test_a_finder_finds_the_landmarks_in_the_aligned_picture(pack):
    pair = pairs_of(pack, PairKind.CONTOUR, Alignment.MEAN_SHAPE, 1)[0]
    with FaceFinder() as finder:
        found = finder.observe(pair["targets"][0].numpy().transpose(1, 2, 0).copy()).landmarks.mesh
    assert np.linalg.norm(found[:, :2] - pair["target_mesh"][0, :, :2].numpy(), axis=1).mean() < 2


def test_frames_that_follow_have_the_crop_of_the_frame_before(pack):
    pairs = pairs_of(pack, PairKind.CLIP, Alignment.MEAN_SHAPE, 8, follow=1.0)
    assert [pair["follows"] for pair in pairs[:4]] == [False, True, False, True]
    first, second = pairs[:2]
    assert (first["targets"] == second["targets"]).all()
    moved = np.linalg.norm((first["driver_mesh"] - second["driver_mesh"])[:, :2].numpy(), axis=1)
    assert 0 < moved.mean() < 3


def test_what_lies_outside_of_the_packs_crop_is_not_supervised():
    picture, everywhere = np.full((256, 256, 3), 90, np.uint8), np.full((256, 256), 255, np.uint8)
    # The right edge cuts through the face, which is tilted by 30 degrees.
    mesh = posed(mean_face().points, (0.0, 0.0, 30.0), scale=100, at=(215, 128))
    pair = Pair(PairKind.CLIP, "a", picture[None], mesh[None], picture, mesh, everywhere)
    done = aligned(pair, 256)
    back = fit_similarity(done.driver_mesh[:, :2], mesh[:, :2])
    y, x = np.mgrid[:256, :256].astype(float)
    column, row = back.apply(np.stack([x.ravel(), y.ravel()], -1)).T.reshape(2, 256, 256)
    beyond = np.maximum.reduce([column - 255.5, -0.5 - column, row - 255.5, -0.5 - row])
    assert 0.1 < (beyond > 0).mean() < 0.6
    assert (done.mask[beyond > 1] == 0).all()
    assert (done.mask[beyond < -1] == 255).all()
    assert (done.truth == 90).all()


def test_photos_of_other_occasions_are_each_aligned_by_themselves():
    picture, everywhere = np.zeros((256, 256, 3), np.uint8), np.full((256, 256), 255, np.uint8)
    mine, other = (posed(mean_face().points, (0.0, 0.0, roll), scale=s) for roll, s in ((-20.0, 60), (15.0, 80)))
    pair = Pair(PairKind.PHOTOS, "a", picture[None], mine[None], picture, other, everywhere)
    np.testing.assert_allclose(
        aligned(pair, 256).driver_mesh[:, :2], aligned(pair, 256).target_mesh[0, :, :2], atol=1.5
    )
    moved = aligned(replace(pair, kind=PairKind.CLIP), 256).driver_mesh
    distance, slope_deg = eyes_of(moved)
    assert distance == pytest.approx(119 * 80 / 60, abs=1.5)
    assert slope_deg == pytest.approx(35, abs=0.5)


def test_single_frames_are_each_aligned(pack):
    data = FrameData(size=SIZE, photo_share=0.5, alignment=Alignment.MEAN_SHAPE)
    frames = list(islice(FrameStream(pack, data, seed=1), 12))
    distance, slope_deg = eyes_of(np.stack([frame["mesh_px"].numpy() for frame in frames]))
    np.testing.assert_allclose(distance, 119 * SIZE / 256, atol=1.5)
    assert (np.abs(slope_deg) < 2).all()
    assert {tuple(frame["image"].shape) for frame in frames} == {(3, SIZE, SIZE)}
    with FaceFinder() as finder:
        found = finder.observe(frames[0]["image"].numpy().transpose(1, 2, 0).copy()).landmarks.mesh
    assert np.linalg.norm(found[:, :2] - frames[0]["mesh_px"][:, :2].numpy(), axis=1).mean() < 2
    alone = FrameStream(pack, data.model_copy(update={"pictures": False}), seed=1)
    distance, _ = eyes_of(np.stack([frame["mesh_px"].numpy() for frame in islice(alone, 6)]))
    np.testing.assert_allclose(distance, 119 * SIZE / 256, atol=1.5)
