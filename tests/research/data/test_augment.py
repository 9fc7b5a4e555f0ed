"""Pairs that are changed: photos and truth alike, landmarks where the faces are then."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from reenactor.face.geometry import mean_face
from reenactor.research.data.pairs import Pair, PairAugmentation, PairKind, augmented

SIDE = 128


def picture(seed):
    coarse = np.random.default_rng(seed).integers(40, 216, (65, 65, 3), dtype=np.uint8)
    return cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)


def pair(k=2):
    rng = np.random.default_rng(3)
    meshes = (40 * mean_face().points + rng.normal(0, 0.5, (k + 1, 478, 3)) + SIDE / 2).astype(np.float32)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[:, :20] = 255
    targets = np.stack([picture(0)] * k)
    return Pair(PairKind.CLIP, "a", targets, meshes[:k], picture(0), meshes[k], mask)


def changed(seed=0, given=None, **how):
    (result,) = augmented([given or pair()], PairAugmentation(**how), np.random.default_rng(seed))
    return result


def test_the_defaults_change_nothing_and_draw_nothing():
    given, rng = pair(), np.random.default_rng(0)
    assert augmented([given], PairAugmentation(), rng)[0] is given
    assert rng.random() == np.random.default_rng(0).random()


def test_mirrored_pairs_keep_points_on_their_pixels():
    given = pair()
    result = changed(given=given, mirror=1.0)
    for before, after, mesh_before, mesh_after in (
        (given.truth, result.truth, given.driver_mesh, result.driver_mesh),
        (given.targets[1], result.targets[1], given.target_mesh[1], result.target_mesh[1]),
    ):
        # The outer corner of the one eye shows in the mirror what the other's showed.
        for vertex, partner in ((33, 263), (61, 291), (1, 1), (468, 473)):
            x, y = np.rint(mesh_before[partner, :2]).astype(int)
            mirrored_x, mirrored_y = np.rint(mesh_after[vertex, :2]).astype(int)
            assert (mirrored_x, mirrored_y) == (SIDE - 1 - x, y)
            assert (after[mirrored_y, mirrored_x] == before[y, x]).all()
    assert (result.mask[:, -20:] == 255).all()
    assert result.mask[:, :-20].max() == 0


@pytest.mark.parametrize("how", [{"light": 0.5}, {"colour": 0.5}, {"grey": 1.0}, {"blur": 1.0}, {"compression": 1.0}])
def test_photos_and_truth_change_alike(how):
    given = pair()
    for seed in range(3):
        result = changed(seed, given, **how)
        assert (result.targets[0] == result.truth).all()
        assert (result.targets[1] == result.truth).all()
        assert np.abs(result.truth.astype(int) - given.truth).mean() > 0.5
        assert (result.driver_mesh == given.driver_mesh).all()
    assert not (changed(0, given, **how).truth == changed(1, given, **how).truth).all() or how == {"grey": 1.0}


def test_what_light_and_colour_and_blur_do():
    given = pair()
    grey = changed(0, given, grey=1.0).truth
    assert (grey[..., 0] == grey[..., 1]).all()
    assert (grey[..., 1] == grey[..., 2]).all()
    # Levels keep their order, in each colour.
    lit = changed(4, given, light=0.4, colour=0.2).truth
    for channel in range(3):
        order = np.argsort(given.truth[..., channel], axis=None)
        assert (np.diff(lit[..., channel].flatten()[order].astype(int)) >= 0).all()
    noise = np.random.default_rng(0).integers(0, 256, given.truth.shape, dtype=np.uint8)
    blurred = changed(0, replace(given, truth=noise), blur=1.0).truth
    assert blurred.std() < 0.9 * noise.std()


def test_occluders_hide_other_photos_than_the_first():
    given, hidden = pair(k=3), []
    for seed in range(20):
        result = changed(seed, given, occlusion=1.0)
        assert (result.targets[0] == given.targets[0]).all()
        assert (result.truth == given.truth).all()
        hidden += [(photo != given.targets[0]).any(axis=2).mean() for photo in result.targets[1:]]
    # Ellipses 15 to 40% wide and high: at most pi / 4 * 0.4^2, less where the picture ends.
    assert 0.02 < np.mean(hidden) < 0.1
    assert 0.06 < max(hidden) < 0.14


def test_pairs_that_follow_each_other_change_alike():
    first = pair()
    later = replace(first, truth=picture(1), follows=True)
    how = PairAugmentation.photos().model_copy(update={"compression": 1.0, "mirror": 1.0})
    a, b = augmented([first, later], how, np.random.default_rng(5))
    assert (a.targets == b.targets).all()
    assert not a.follows
    assert b.follows
    (alone,) = augmented([later], how, np.random.default_rng(5))
    assert (alone.truth == b.truth).all()


def test_impossible_chances_are_refused():
    with pytest.raises(ValueError, match="less than or equal to 1"):
        PairAugmentation(mirror=1.5)
