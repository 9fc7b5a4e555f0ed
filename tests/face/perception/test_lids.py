"""Lids: what the shipped network reads, how landmarks close, and how clips label themselves."""

import cv2
import numpy as np
import pytest
import torch

from reenactor.core import FrameBatch
from reenactor.face.geometry import mean_face, mirrored_mesh
from reenactor.face.geometry.contours import LEFT_EYE_LOWER, LEFT_EYE_UPPER, RIGHT_EYE_LOWER, RIGHT_EYE_UPPER
from reenactor.face.perception.landmarks import FaceMesher, Region, cut_patch
from reenactor.face.perception.lids import CROP_PX, eye_crops, eye_openness, lid_network, with_lids
from reenactor.face.perception.lids_objective import (
    LidObjective,
    LidObjectiveConfig,
    blinks,
    eye_openings,
    lid_statistics,
)

LIDS = ((RIGHT_EYE_LOWER, RIGHT_EYE_UPPER), (LEFT_EYE_LOWER, LEFT_EYE_UPPER))


def face(size=256, openings=(1.0, 1.0)):
    """The mean face, its lids at a fraction of their opening."""
    mesh = (mean_face().points * (0.3 * size) + [size / 2, size / 2, 0]).astype(np.float32)
    for (lower, upper), part in zip(LIDS, openings, strict=True):
        mesh[list(upper)] = mesh[list(lower)] + part * (mesh[list(upper)] - mesh[list(lower)])
    return mesh


def gaps(mesh):
    return [float(np.linalg.norm(mesh[list(u[1:-1])] - mesh[list(low[1:-1])], axis=1).mean()) for low, u in LIDS]


@pytest.fixture(scope="module")
def astronaut(finder, photo):
    return photo, finder.observe(photo).landmarks.mesh


@pytest.fixture(scope="module")
def patch(astronaut):
    """The astronaut as the mesh network sees her, and her landmarks there."""
    picture, mesh = astronaut
    region = Region.of_mesh(mesh)
    to_picture = region.to_picture()
    back = np.linalg.inv(np.vstack([to_picture, [0, 0, 1]]))
    points = mesh.copy()
    points[:, :2] = mesh[:, :2] @ back[:2, :2].T + back[:2, 2]
    points[:, 2] *= back[0, 0]
    return cut_patch(picture, region), points.astype(np.float32)


def with_closed_eyes(patch, mesh):
    """The picture with skin and a dark line in place of the right eye."""
    closed = patch.copy()
    eye = mesh[list(RIGHT_EYE_LOWER + RIGHT_EYE_UPPER), :2]
    skin = patch[int(mesh[119, 1]), int(mesh[119, 0])].tolist()
    box = cv2.convexHull(np.round((eye - eye.mean(0)) * [1.15, 1.7] + eye.mean(0)).astype(np.int32))
    cv2.fillConvexPoly(closed, box, skin)
    line = np.round(mesh[list(RIGHT_EYE_LOWER), :2]).astype(np.int32)
    cv2.polylines(closed, [line], False, (40, 25, 25), 2, cv2.LINE_AA)
    return closed


def test_open_eyes_are_read_as_open_and_closed_ones_as_closed(patch):
    picture, mesh = patch
    both = eye_openness(picture, mesh)
    assert both.min() > 0.7
    one = eye_openness(with_closed_eyes(picture, mesh), mesh)
    assert one[0] < 0.3
    assert one[1] == pytest.approx(both[1], abs=1e-5)


def test_a_mirrored_picture_is_read_the_same(patch):
    picture, mesh = patch
    mirrored = eye_openness(picture[:, ::-1], mirrored_mesh(mesh, picture.shape[1]))
    np.testing.assert_allclose(mirrored[::-1], eye_openness(picture, mesh), atol=1e-4)


def test_crops_are_upright():
    """Against OpenCV's, at a turn of 30 degrees."""
    rng = np.random.default_rng(0)
    picture = cv2.resize(rng.integers(0, 255, (16, 16, 3), np.uint8), (256, 256), interpolation=cv2.INTER_CUBIC)
    turn = cv2.getRotationMatrix2D((128, 128), 30, 1)
    mesh = face()
    turned = mesh.copy()
    turned[:, :2] = mesh[:, :2] @ turn[:, :2].T + turn[:, 2]
    image = torch.from_numpy(cv2.warpAffine(picture, turn, (256, 256))).permute(2, 0, 1)[None].float()
    ours = eye_crops(image, torch.from_numpy(turned)[None])
    theirs = eye_crops(torch.from_numpy(picture).permute(2, 0, 1)[None].float(), torch.from_numpy(mesh)[None])
    assert ours.shape == (2, 1, *CROP_PX)
    assert (ours - theirs).abs().mean() < 0.05
    # One column of the crop is a fortieth of 1.6 eye lengths along the eye; rows lie across.
    along = (mesh[133] - mesh[33])[:2]
    step = 1.6 * float(np.linalg.norm(mesh[133] - mesh[33])) / CROP_PX[1] * along / np.linalg.norm(along)
    A = np.array([[step[0], -step[1]], [step[1], step[0]]])
    middle = (mesh[33, :2] + mesh[133, :2]) / 2
    grey = picture.astype(np.float32).mean(2)
    M = np.column_stack([A, middle - A @ [19.5, 11.5]])
    wanted = cv2.warpAffine(grey, M, CROP_PX[::-1], flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    wanted = (wanted - wanted.mean()) / wanted.std()
    # OpenCV rounds positions to a 32nd of a pixel.
    assert np.abs(theirs[0, 0].numpy() - wanted).mean() < 0.02


def test_lids_close_as_far_as_the_eyes_are():
    mesh = face(openings=(0.3, 0.3))
    assert gaps(with_lids(mesh, np.array([0.1, 0.9]))) == pytest.approx([0, gaps(mesh)[1]], abs=1e-3)
    steps = [gaps(with_lids(mesh, np.array([o, 1.0])))[0] for o in np.linspace(0, 1, 21)]
    assert all(np.diff(steps) > -1e-6)
    assert np.diff(steps).max() < 0.3 * steps[-1]
    # Corners, irises and all else stay.
    moved = np.flatnonzero((with_lids(mesh, np.zeros(2)) != mesh).any(1))
    allowed = {v for low, up in LIDS for v in (*low[1:-1], *up[1:-1])}
    assert set(moved.tolist()) == allowed


def test_the_mesher_closes_lids(astronaut, monkeypatch):
    picture, mesh = astronaut
    mesher = FaceMesher()
    region = Region.of_mesh(mesh)
    opened, _ = mesher.mesh(picture, region)
    monkeypatch.setattr("reenactor.face.perception.landmarks.eye_openness", lambda *_: np.array([1.0, 0.0]))
    closed, _ = mesher.mesh(picture, region)
    mesher.close()
    right, left = gaps(closed)
    assert right == pytest.approx(gaps(opened)[0], rel=1e-3)
    assert left < 0.01 * right


def blinking(frames=200, every=50, shut=0.35):
    """Landmarks of a clip: each blink takes six frames, and the mesh leaves `shut` of the opening."""
    dip = np.array([0.7, 0.2, 0.0, 0.1, 0.5, 0.9])
    parts = np.ones(frames)
    for start in range(20, frames - 6, every):
        parts[start : start + 6] = shut + (1 - shut) * dip
    return np.stack([face(openings=(part, part)) for part in parts]), parts


def test_blinks_are_found():
    meshes, parts = blinking()
    opening = eye_openings(torch.from_numpy(meshes)).numpy()[:, 0]
    found, usual = blinks(opening, 25.0)
    assert found.tolist() == [22, 72, 122, 172]
    assert usual == pytest.approx(opening.max())
    # A squint of two seconds is none.
    parts = np.ones(200)
    parts[60:110] = 0.4
    assert len(blinks(parts, 25.0)[0]) == 0


def test_clips_label_themselves():
    meshes, parts = blinking()
    still = np.repeat(face()[None], 50, axis=0)
    statistics = lid_statistics([(3, meshes, 25.0), (5, still, 25.0)])
    np.testing.assert_allclose(statistics.shut / statistics.usual, 0.35, atol=0.02)
    objective = LidObjective(LidObjectiveConfig(), statistics)
    batch = FrameBatch(
        torch.zeros(4, 3, 256, 256),
        torch.from_numpy(meshes[[0, 22, 21, 24]]),
        torch.zeros(4, dtype=torch.long),
        torch.tensor([3, 3, 3, 5]),
    )
    wanted = (parts[[0, 22, 21, 24]] - 0.35) / 0.65
    np.testing.assert_allclose(objective._targets(batch).view(4, 2), np.stack([wanted] * 2, 1), atol=0.03)


def test_it_learns():
    """Dark bars of two heights stand for open and closed eyes."""
    meshes, _ = blinking(60)
    objective = LidObjective(LidObjectiveConfig(width=4), lid_statistics([(0, meshes, 25.0)]))
    mesh = torch.from_numpy(meshes[[0, 22]])
    images = torch.zeros(2, 3, 256, 256)
    for i, height in enumerate((9, 2)):
        for eye in (RIGHT_EYE_LOWER, LEFT_EYE_LOWER):
            x, y = mesh[0, list(eye), :2].mean(0).round().int().tolist()
            images[i, :, y - height : y + 1, x - 12 : x + 12] = -1
    batch = FrameBatch(images, mesh, torch.zeros(2, dtype=torch.long), torch.zeros(2, dtype=torch.long))
    optimizer = torch.optim.Adam(objective.network.parameters(), 1e-2)
    torch.manual_seed(0)
    for _ in range(60):
        optimizer.zero_grad()
        objective.generator_step(batch).loss.backward()
        optimizer.step()
    assert objective.measure(objective.network, batch)["error"] < 0.15
    checkpoint = objective.checkpoint(objective.network)
    assert checkpoint.config == {"width": 4}
    assert checkpoint.kind == "lids"
    assert sum(p.numel() for p in lid_network().parameters()) * 4 < 500_000
