"""Where a clip is cut, and which square shows a stretch."""

import numpy as np
import pytest

from reenactor.face.geometry import FACE_CROP_SCALE, face_crop, mean_face
from reenactor.face.perception.tracking import CutDetector
from reenactor.research.data.clips import MAX_FRAMES, SegmentCutter, box_at, thinned
from reenactor.research.data.items import FaceBoxes

FACE = 100.0


def face(x, y, size=FACE):
    """A mesh whose box has the centre (x, y) and the longer side `size`."""
    points = mean_face().points.astype(np.float32)
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    points = points * np.float32(size / (high - low).max())
    middle = (points[:, :2].min(axis=0) + points[:, :2].max(axis=0)) / 2
    points[:, :2] += np.array([x, y], np.float32) - middle
    return points


def cut(meshes, *, cuts=(), gap=12):
    """Segments of frames 10 ticks apart."""
    cutter = SegmentCutter(gap * 10)
    found = [
        cutter.add(i, 10 * i, mesh, 0.9 if mesh is not None else 0.0, cut=i in cuts) for i, mesh in enumerate(meshes)
    ]
    return [one for one in [*found, cutter.finish(10 * len(meshes))] if one is not None]


def spans(segments):
    return [(one.first, len(one), one.end_pts) for one in segments]


class TestCutting:
    def test_a_still_face_is_one_segment(self):
        assert spans(cut([face(200, 200)] * 30)) == [(0, 30, 300)]

    def test_a_moving_face_that_fits_is_one_segment(self):
        assert len(cut([face(200 + 55 * np.sin(i / 5), 200) for i in range(60)])) == 1

    def test_a_face_that_wanders_off_is_cut_again(self):
        segments = cut([face(200 + 5 * i, 200) for i in range(120)])
        assert len(segments) > 1
        assert sum(map(len, segments)) == 120
        for one in segments:
            crop = face_crop(one.mesh_px, picture_px=(1280, 720), size=256)
            inside = crop.to_crop(one.mesh_px)[..., :2]
            assert inside.min() > 0
            assert inside.max() < 255

    def test_scene_cut(self):
        assert spans(cut([face(200, 200)] * 20, cuts={7})) == [(0, 7, 70), (7, 13, 200)]

    def test_jump_to_another_face(self):
        assert spans(cut([face(200, 200)] * 5 + [face(290, 200)] * 5)) == [(0, 5, 50), (5, 5, 100)]

    def test_short_gap_is_bridged_and_marked(self):
        meshes = [face(200, 200)] * 5 + [None] * 3 + [face(208, 200)] * 5
        (one,) = cut(meshes)
        assert len(one) == 13
        assert one.pts == [10 * i for i in range(13)]
        assert [i for i, seen in enumerate(one.seen) if not seen] == [5, 6, 7]
        np.testing.assert_allclose([m[:, 0].mean() - one.meshes[0][:, 0].mean() for m in one.meshes[5:8]], [2, 4, 6])

    def test_long_gap_divides(self):
        meshes = [face(200, 200)] * 5 + [None] * 30 + [face(200, 200)] * 5
        assert spans(cut(meshes)) == [(0, 5, 50), (35, 5, 400)]

    def test_edges_without_a_face_are_left_out(self):
        assert spans(cut([None] * 4 + [face(200, 200)] * 5 + [None] * 4)) == [(4, 5, 90)]

    def test_zoom_divides(self):
        segments = cut([face(300, 300, 80 * 1.03**i) for i in range(40)])
        assert len(segments) > 1
        for one in segments:
            sizes = np.ptp(one.mesh_px[..., :2], axis=1).max(axis=1)
            assert sizes.max() / np.median(sizes) < 2

    def test_memory_is_bounded(self):
        assert max(map(len, cut([face(200, 200)] * (MAX_FRAMES + 10)))) == MAX_FRAMES

    def test_nothing_seen(self):
        assert cut([None] * 10) == []


class TestSquare:
    def test_with_room_it_is_the_face_crop(self):
        mesh = face(403.3, 301.7)
        assert face_crop(mesh[None], picture_px=(1280, 720), size=256) == face_crop(mesh, size=256)

    def test_scale_is_of_the_median_face(self):
        meshes = np.stack([face(400, 300)] * 5 + [face(400, 300, 120)])
        assert face_crop(meshes, picture_px=(1280, 720), size=256).side == FACE_CROP_SCALE * FACE

    @pytest.mark.parametrize("x", [60, 640, 1220])
    def test_stays_inside(self, x):
        crop = face_crop(face(x, 80)[None], picture_px=(1280, 720), size=256)
        assert crop.left >= 0
        assert crop.top >= 0
        assert crop.left + crop.side <= 1280

    def test_a_tight_picture_is_taken_whole(self):
        crop = face_crop(face(112, 120, 130)[None], picture_px=(224, 224), size=256)
        assert (crop.left, crop.top, crop.side) == (0, 0, 224)

    def test_a_picture_too_tight_is_padded_a_little(self):
        crop = face_crop(face(50, 50, 90)[None], picture_px=(100, 100), size=256)
        assert crop.side == 135
        assert -35 <= crop.left <= 0


def test_cut_detector():
    finder, scene = CutDetector(), np.full((90, 160, 3), 90, np.uint8)
    assert [finder.is_cut(image) for image in (scene, scene, scene + 20, scene + 120)] == [False, False, False, True]


def test_thinned_keeps_what_is_far_enough_apart():
    from fractions import Fraction

    def rate(fps):
        kept = thinned(list(range(100)), Fraction(1, fps), 12.5)
        return set(np.diff(kept))

    assert rate(25) == {2}
    assert rate(30) == {3}
    assert rate(24) == {2}
    assert rate(12) == {1}
    assert thinned([0, 1, 2], Fraction(1, 25), None) == [0, 1, 2]


class TestBoxes:
    boxes = FaceBoxes(np.array([10, 20, 100]), np.array([[0.1, 0, 0, 0], [0.2, 0, 0, 0], [0.9, 0, 0, 0]]), fps=25.0)

    @pytest.mark.parametrize(("frame", "left"), [(10, 0.1), (15, 0.15), (20, 0.2), (20.5, 0.2), (100, 0.9), (9.5, 0.1)])
    def test_between(self, frame, left):
        assert box_at(self.boxes, frame / 25)[0] == pytest.approx(left)

    @pytest.mark.parametrize("frame", [0, 8, 50, 102])
    def test_beyond(self, frame):
        assert box_at(self.boxes, frame / 25) is None
