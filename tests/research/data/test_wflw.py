"""From other people's points to our mesh: simulated annotations of the astronaut, and the pack made from them."""

import numpy as np
import pytest
import torch
from scipy.interpolate import CubicSpline

from reenactor.core import FrameBatch
from reenactor.core.landmarks import MESH_TO_IBUG68
from reenactor.engine.shipped import demo_photo
from reenactor.face.geometry import contours, head_angles, matrix_from_angles, mean_face
from reenactor.face.maps.boundaries import BOUNDARIES, boundary_maps
from reenactor.face.perception import FaceFinder
from reenactor.media import write_image
from reenactor.models.oneshot.shape_encoder import (
    CURVE_POINTS,
    ShapeEncoderConfig,
    ShapeEncoderObjective,
    ShapeEncoderObjectiveConfig,
)
from reenactor.research.data import ShardReader
from reenactor.research.data.datasets import wflw
from reenactor.research.data.datasets.wflw import mesh_of_wflw
from reenactor.research.data.items import Annotation, AnnotationKind, Item, Kind, Split
from reenactor.research.data.packing import Plan
from reenactor.research.data.prepare import prepare
from reenactor.research.data.process import fingerprint, move_irises, process_item
from reenactor.research.data.samples import Settings
from reenactor.research.data.streams import FrameData, FrameStream, batch_loader

JAW = BOUNDARIES["contour"]
EVENLY = [
    (BOUNDARIES[name], numbers, np.linspace(0, 1, len(numbers)))
    for name, numbers in {
        "image_left_brow_lower": (33, 41, 40, 39, 38),
        "image_right_brow_lower": (50, 49, 48, 47, 46),
        "nose_bridge": (51, 52, 53, 54),
        "image_left_eye_upper": (60, 61, 62, 63, 64),
        "image_left_eye_lower": (60, 67, 66, 65, 64),
        "image_right_eye_upper": (68, 69, 70, 71, 72),
        "image_right_eye_lower": (68, 75, 74, 73, 72),
        "upper_lip_lower": (88, 89, 90, 91, 92),
        "lower_lip_upper": (88, 95, 94, 93, 92),
    }.items()
]
LINES = [
    *EVENLY,
    # The chin is point 16; to either side of it WFLW's steps have lengths of their own.
    (JAW[:12], tuple(range(17)), np.linspace(-0.04, 1, 17)),
    (JAW[11:], tuple(range(16, 33)), np.linspace(0, 1.04, 17)),
    (BOUNDARIES["image_left_brow_upper"], (34, 35, 36, 37), (0.31, 0.54, 0.77, 1)),
    (BOUNDARIES["image_right_brow_upper"], (42, 43, 44, 45), (0, 0.23, 0.46, 0.69)),
    (BOUNDARIES["nose_tip"], tuple(range(55, 60)), (0.26, 0.38, 0.5, 0.62, 0.74)),
    (BOUNDARIES["upper_lip_upper"], tuple(range(76, 83)), (0, 0.19, 0.41, 0.5, 0.59, 0.81, 1)),
    (BOUNDARIES["lower_lip_lower"], (76, 87, 86, 85, 84, 83, 82), (0, 0.15, 0.32, 0.5, 0.68, 0.85, 1)),
]
"""Vertices along the line, WFLW's points, shares of the line's length."""
# As other libraries mirror WFLW: 33 becomes 46, 38 becomes 50, and so on.
MIRRORED = {
    **{k: 32 - k for k in range(33)},
    **{33: 46, 34: 45, 35: 44, 36: 43, 37: 42, 38: 50, 39: 49, 40: 48, 41: 47},
    **{51: 51, 52: 52, 53: 53, 54: 54, 55: 59, 56: 58, 57: 57},
    **{60: 72, 61: 71, 62: 70, 63: 69, 64: 68, 65: 75, 66: 74, 67: 73},
    **{76: 82, 77: 81, 78: 80, 79: 79, 83: 87, 84: 86, 85: 85},
    **{88: 92, 89: 91, 90: 90, 93: 95, 94: 94, 96: 97},
}
MIRROR = [({**MIRRORED, **{b: a for a, b in MIRRORED.items()}})[k] for k in range(98)]


def annotated(mesh, *, measured_on=None):
    """98 points as an annotator sets them, who measures along the lines of this picture (or another of the face)."""
    points = np.full((98, 2), np.nan)
    ruler = mesh if measured_on is None else measured_on
    for vertices, numbers, shares in LINES:
        steps = np.linalg.norm(np.diff(ruler[list(vertices), :2].astype(float), axis=0), axis=1)
        along = np.r_[0, steps.cumsum()]
        points[list(numbers)] = CubicSpline(along, mesh[list(vertices), :2])(np.array(shares) * along[-1])
    points[96], points[97] = mesh[468, :2], mesh[473, :2]
    assert np.isfinite(points).all()
    return points


def off_percent(found, true):
    """Of the outer eye corners' distance, by vertex, in the picture plane."""
    eyes = np.linalg.norm(true[33, :2] - true[263, :2])
    return 100 * np.linalg.norm((found - true)[:, :2], axis=1) / eyes


def head(yaw=0.0, pitch=0.0, roll=0.0):
    """The mean face, turned by degrees, 150 pixels between the outer eye corners."""
    turned = mean_face().points @ matrix_from_angles(np.array([yaw, pitch, roll], float)).T
    return turned * 150 + np.array([300, 250, 0])


@pytest.fixture(scope="module")
def finder():
    with FaceFinder() as one:
        yield one


@pytest.fixture(scope="module")
def photos(finder):
    """Name -> picture and the meshes in it: the astronaut whole, mirrored and small, twice in one picture."""
    photo = np.ascontiguousarray(demo_photo()[:300, 80:380])
    found = {
        "0--Parade/whole.jpg": demo_photo(),
        "1--Handshaking/mirrored.jpg": np.ascontiguousarray(photo[::2, ::-2]),
        "2--Demonstration/two.jpg": np.concatenate([photo, photo[:, ::-1]], axis=1),
    }
    return {name: (image, [face.landmarks.mesh for face in finder.observe_all(image)]) for name, image in found.items()}


@pytest.fixture(scope="module")
def wflw_root(photos, tmp_path_factory):
    root = tmp_path_factory.mktemp("WFLW")
    rows = []
    for name, (image, meshes) in photos.items():
        (root / "WFLW_images" / name).parent.mkdir(parents=True)
        write_image(root / "WFLW_images" / name, image)
        for mesh in meshes:
            points = annotated(mesh)
            low, high = points.min(axis=0), points.max(axis=0)
            box = " ".join(str(round(x)) for x in (*low, *high))
            rows.append(" ".join(f"{x:.6f}" for x in points.ravel()) + f" {box} 0 0 0 0 0 0 {name}\n")
    lists = root / "WFLW_annotations" / "list_98pt_rect_attr_train_test"
    lists.mkdir(parents=True)
    (lists / wflw.TRAIN_LIST).write_text("".join(rows))
    (lists / wflw.TEST_LIST).write_text(rows[0])
    return root


@pytest.fixture(scope="module")
def wflw_pack(wflw_root, tmp_path_factory):
    out = tmp_path_factory.mktemp("packs") / "pack"
    prepare(Plan(wflw_root, out, dataset="wflw"))
    return out


class TestMesh:
    @pytest.mark.parametrize("angles", [(0, 0, 0), (30, 0, 0), (-20, 15, 10), (50, -10, -20)])
    def test_a_turned_mean_face_comes_back(self, angles):
        """Annotated at the same points of the skin, whatever the pose."""
        true = head(*angles)
        found = mesh_of_wflw(annotated(true, measured_on=head()))
        assert off_percent(found, true)[list(CURVE_POINTS)].mean() < 1
        np.testing.assert_allclose(head_angles(found), angles, atol=2)

    def test_left_and_right(self):
        points = annotated(head(20, 5, 10))
        size = np.array([600, 0])
        found = mesh_of_wflw(points)
        mirrored = mesh_of_wflw((size - points * [1, -1])[MIRROR])
        back = (mirrored * [-1, 1, 1] + [600, 0, 0])[mean_face().mirror]
        np.testing.assert_allclose(back[:468], found[:468], atol=0.5)

    def test_it_moves_turns_and_grows_with_the_points(self):
        points = annotated(head(15, 5, 0))
        turn = matrix_from_angles(np.array([0, 0, 30.0]))[:2, :2]
        found = mesh_of_wflw(points)
        moved = mesh_of_wflw(3 * points @ turn.T + [40, -20])
        np.testing.assert_allclose(moved[:, :2], 3 * found[:, :2] @ turn.T + [40, -20], atol=0.01)
        np.testing.assert_allclose(moved[:, 2], 3 * found[:, 2], atol=0.01)

    def test_points_near_those_of_the_68_that_measure_best(self, photos):
        """WFLW's lips, eyes and nose have iBUG-68's points among them, whose vertices were chosen another way."""
        (_, (mesh,)) = photos["0--Parade/whole.jpg"]
        points = annotated(mesh)
        pairs = {36: 60, 39: 64, 42: 68, 45: 72, 48: 76, 51: 79, 54: 82, 57: 85, 60: 88, 62: 90, 64: 92, 66: 94, 8: 16}
        pairs |= {27: 51, 30: 54, 33: 57, 17: 33, 21: 37, 22: 42, 26: 46, 3: 6, 13: 26}
        eyes = np.linalg.norm(mesh[33, :2] - mesh[263, :2])
        off = [np.linalg.norm(points[ours] - mesh[MESH_TO_IBUG68[theirs], :2]) / eyes for theirs, ours in pairs.items()]
        assert np.mean(off) < 0.02
        assert max(off) < 0.12

    def test_irises_are_round_and_where_the_pupils_are(self):
        points = annotated(head())
        points[96] += [6, -2]
        mesh = mesh_of_wflw(points)
        for iris, pupil in ((contours.RIGHT_IRIS, 96), (contours.LEFT_IRIS, 97)):
            np.testing.assert_allclose(mesh[iris[0], :2], points[pupil], atol=1e-3)
            radii = np.linalg.norm(mesh[list(iris[1:]), :2] - points[pupil], axis=1)
            np.testing.assert_allclose(radii, 150 * 0.07, rtol=0.2)


class TestPack:
    def test_round_trip(self, wflw_pack, photos):
        samples = list(ShardReader(wflw_pack))
        meshes = [(name, mesh) for name, (_, found) in photos.items() for mesh in found]
        assert [s.row["source"] for s in samples[:-1]] == [f"WFLW_images/{name}" for name, _ in meshes]
        assert samples[-1].split is Split.TEST
        for sample, (_, mesh) in zip(samples, meshes, strict=False):
            crop = sample.meta["crop"]
            scale = sample.meta["size"] / crop["side"]
            true = (mesh - np.array([crop["left"] - 0.5, crop["top"] - 0.5, 0])) * scale - np.array([0.5, 0.5, 0])
            off = off_percent(sample.landmarks[0], true)
            assert off[list(CURVE_POINTS)].mean() < 1.5
            assert off[[468, 473]].max() < 0.2
            np.testing.assert_allclose(sample.poses_deg[0], head_angles(mesh), atol=4)
            ours, theirs = (
                boundary_maps(torch.tensor(m[None], dtype=torch.float32), 256) for m in (sample.landmarks[0], true)
            )
            # Heat is 4.7 px wide at half height.
            assert (ours * theirs).sum() > 0.8 * (theirs * theirs).sum()

    def test_a_face_that_no_finder_sees(self, tmp_path):
        write_image(tmp_path / "dark.png", np.full((500, 600, 3), 20, np.uint8))
        marks = Annotation(AnnotationKind.WFLW, annotated(head()).astype(np.float32))
        item = Item("a", Kind.PHOTO, tmp_path / "dark.png", "a", Split.TRAIN, annotation=marks)
        assert len(process_item(item, tmp_path, Settings()).samples) == 1
        processed = process_item(Item("a", Kind.PHOTO, item.path, "a", Split.TRAIN), tmp_path, Settings())
        assert processed.skipped is not None

    def test_other_points_make_another_fingerprint(self, tmp_path):
        def of(points):
            marks = None if points is None else Annotation(AnnotationKind.WFLW, points)
            return fingerprint(Item("a", Kind.PHOTO, tmp_path, "a", Split.TRAIN, annotation=marks), Settings())

        points = np.zeros((98, 2), np.float32)
        assert len({of(None), of(points), of(points + 1)}) == 3

    def test_a_shape_encoder_learns_from_it(self, wflw_pack):
        frames = FrameStream(wflw_pack, FrameData(size=64, photo_share=1.0), split=Split.TEST)
        raw = next(iter(batch_loader(frames, batch_size=2, workers=0)))
        batch = FrameBatch(raw["image"] / 127.5 - 1, raw["mesh_px"], torch.zeros(2, dtype=torch.long), raw["clip"])
        config = ShapeEncoderObjectiveConfig(model=ShapeEncoderConfig(resolution=64, width=8))
        objective = ShapeEncoderObjective(config, boundary_maps)
        step = objective.generator_step(batch)
        step.loss.backward()
        assert torch.isfinite(step.loss)
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in objective.E.parameters())


class TestPupils:
    def test_irises_move_and_nothing_else(self, photos):
        (_, (mesh,)) = photos["0--Parade/whole.jpg"]
        pupils = mesh[[468, 473], :2] + np.array([[3, -2], [-1, 4]])
        moved = move_irises(mesh, pupils)
        np.testing.assert_array_equal(moved[:468], mesh[:468])
        np.testing.assert_allclose(moved[468:473] - mesh[468:473], np.tile([3, -2, 0], (5, 1)), atol=1e-3)
        np.testing.assert_allclose(moved[473:] - mesh[473:], np.tile([-1, 4, 0], (5, 1)), atol=1e-3)

    def test_pack(self, photos, tmp_path):
        """Of two faces the annotated one; pupils that are in no eye are refused."""
        image, (left, right) = photos["2--Demonstration/two.jpg"]
        (tmp_path / "Annotation Subset").mkdir()
        annotated_meshes = {"p00": right, "p14": left + np.array([0, 40, 0])}
        for person, mesh in annotated_meshes.items():
            (tmp_path / "MPIIFaceGaze" / person / "day13").mkdir(parents=True)
            write_image(tmp_path / "MPIIFaceGaze" / person / "day13" / "0203.jpg", image)
            points = np.r_[mesh[[33, 133, 362, 263, 61, 291], :2], mesh[[468, 473], :2] + [2, 1]]
            row = " ".join(str(round(float(x))) for x in points.ravel())
            (tmp_path / "Annotation Subset" / f"{person}.txt").write_text(f"day13/0203.jpg {row}\n")
        prepare(Plan(tmp_path, tmp_path / "pack", dataset="mpiigaze"))
        pack = ShardReader(tmp_path / "pack")
        (sample,) = pack
        assert sample.identity == "p00"
        assert "no face where its pupils are marked" in (tmp_path / "pack" / "skipped.jsonl").read_text()
        crop = sample.meta["crop"]
        mesh = (sample.landmarks[0] + [0.5, 0.5, 0]) * crop["side"] / sample.meta["size"] + [
            crop["left"],
            crop["top"],
            0,
        ]
        moved = mesh - [0.5, 0.5, 0] - right
        # Pixels of the list are whole numbers, and those of the pack 1/16.
        np.testing.assert_allclose(moved[[468, 473], :2], [[2, 1]] * 2, atol=0.6)
        assert np.abs(moved[:468, :2]).max() < 1.5
