"""Findings about photos: each on a picture that shows it, and not on one that does not."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from factories import DATA, posed
from reenactor.core import FaceObservation, HeadPose, Landmarks, NoFaceError
from reenactor.face.geometry import mean_face
from reenactor.face.geometry.contours import (
    FACE_OVAL,
    INNER_LIPS_LOWER,
    LEFT_EYE,
    OUTER_LIPS,
    OUTER_LIPS_LOWER,
    RIGHT_EYE,
)
from reenactor.face.perception.covers import covered
from reenactor.face.perception.landmarks import Region, cut_patch, in_patch
from reenactor.face.perception.observe import several_faces
from reenactor.face.perception.photo_check import (
    Finding,
    checked_face,
    is_drawing,
    mouth_opening,
    photo_findings,
)
from reenactor.media import read_image

CASES = DATA.parent / "cases"
LABELS = Path(__file__).parents[3] / "docs" / "assets" / "glasses.csv"


@pytest.fixture(scope="module")
def picture():
    return np.ascontiguousarray(astronaut()[:300, 60:400])


@pytest.fixture(scope="module")
def mesh(finder, picture):
    return finder.observe(picture).landmarks.mesh


@pytest.fixture(scope="module")
def check(finder):
    def findings(picture):
        return set(checked_face(finder, picture, face=None, name="photo").findings)

    return findings


def filled(picture, points, colour):
    out = picture.copy()
    cv2.fillPoly(out, [np.round(points).astype(np.int32)], colour, cv2.LINE_AA)
    return out


def jpeg(picture, quality):
    return cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)


def closed_eyes(picture, mesh):
    out = picture
    skin = picture[int(mesh[119, 1]), int(mesh[119, 0])].tolist()
    for eye in (RIGHT_EYE, LEFT_EYE):
        points = mesh[list(eye), :2]
        middle = points.mean(0)
        out = filled(out, cv2.convexHull((middle + (points - middle) * [1.1, 1.7]).astype(np.float32))[:, 0], skin)
        lower = np.round(points[8:]).astype(np.int32)
        cv2.polylines(out, [lower], False, (60, 35, 30), 1, cv2.LINE_AA)
    return out


def masked(picture, mesh, colour):
    jaw = mesh[list(FACE_OVAL[FACE_OVAL.index(323) : FACE_OVAL.index(93) + 1]), :2]
    return filled(picture, np.concatenate([jaw, mesh[[6], :2]]), colour)


def with_microphone(picture, mesh, at):
    out, (x, y) = picture.copy(), np.round(at).astype(int).tolist()
    cv2.line(out, (x, y), (x + 20, 299), (20, 20, 22), 14, cv2.LINE_AA)
    cv2.circle(out, (x, y), 24, (38, 38, 40), -1, cv2.LINE_AA)
    cv2.circle(out, (x - 6, y - 6), 7, (80, 80, 84), -1, cv2.LINE_AA)
    return out


def with_glasses(picture, mesh):
    out = picture.copy()
    centres = [mesh[list(eye), :2].mean(0) for eye in (RIGHT_EYE, LEFT_EYE)]
    radius = round(0.36 * float(np.linalg.norm(centres[1] - centres[0])))
    for centre, ear in zip(centres, mesh[[127, 356], :2], strict=True):
        cv2.circle(out, np.round(centre).astype(int).tolist(), radius, (25, 20, 20), 3, cv2.LINE_AA)
        side = np.sign(ear[0] - centre[0]) * radius
        ends = [np.round(p).astype(int).tolist() for p in (centre + np.array([side, 0]), ear)]
        cv2.line(out, *ends, (25, 20, 20), 3, cv2.LINE_AA)
    inner = [
        np.round(c + np.array([s * radius, 0])).astype(int).tolist() for c, s in zip(centres, (1, -1), strict=True)
    ]
    cv2.line(out, *inner, (25, 20, 20), 3, cv2.LINE_AA)
    return out


def drawn(seed):
    """(400, 400, 3) a face of plain ellipses and arcs."""
    rng = np.random.default_rng(seed)
    out = np.empty((400, 400, 3), np.uint8)
    out[:] = rng.integers(0, 256, 3)
    skin = [(255, 214, 180), (224, 172, 130), (141, 85, 36), (250, 235, 215)][seed % 4]
    black, width = (0, 0, 0), int(rng.integers(94, 120))
    cv2.ellipse(out, (200, 140), (width + 20, 95), 0, 0, 360, rng.integers(0, 200, 3).tolist(), -1)
    for colour, line in ((skin, -1), (black, 2)):
        cv2.ellipse(out, (200, 213), (width, 140), 0, 0, 360, colour, line, cv2.LINE_AA)
    for x in (150, 250):
        cv2.ellipse(out, (x, 180), (27, 18), 0, 0, 360, (255, 255, 255), -1)
        cv2.circle(out, (x, 181), 14, rng.integers(0, 180, 3).tolist(), -1)
        cv2.circle(out, (x, 181), 6, black, -1)
        cv2.ellipse(out, (x, 180), (29, 18), 0, 0, 360, black, 2)
        cv2.ellipse(out, (x, 150), (33, 15), 0, 200, 340, black, 5)
    cv2.ellipse(out, (200, 227), (13, 27), 0, 20, 160, [0.75 * c for c in skin], 3)
    cv2.ellipse(out, (200, 280), (43, 20), 0, 20, 160, (170, 40, 40), 6)
    return out


def test_a_good_photo_needs_no_words(check, picture):
    assert check(picture) == set()


def test_closed_eyes(check, picture, mesh):
    assert check(closed_eyes(picture, mesh)) == {Finding.EYES_CLOSED}


def test_one_eye_is_a_wink(check, picture, mesh):
    wink = picture.copy()
    middle = int(mesh[168, 0])
    wink[:, :middle] = closed_eyes(picture, mesh)[:, :middle]
    assert check(wink) == set()


def test_open_mouths(picture, mesh):
    """The lower lip of the mesh is moved; the picture stays."""
    size = float(np.linalg.norm(mesh[263] - mesh[33]))
    shut = mouth_opening(mesh)
    lower = list({*INNER_LIPS_LOWER[1:-1], *OUTER_LIPS_LOWER[1:-1]})
    for gap, expected in ((0.1, False), (0.2, True)):
        moved = mesh.copy()
        moved[lower, 1] += np.float32((gap - shut) * size)
        assert mouth_opening(moved) == pytest.approx(gap, abs=0.02)
        assert (Finding.MOUTH_OPEN in photo_findings(picture, moved)) is expected


@pytest.mark.parametrize("colour", [(120, 180, 210), (30, 30, 30), (235, 235, 235), (160, 40, 50)])
def test_masks(check, picture, mesh, colour):
    assert Finding.MOUTH_COVERED in check(masked(picture, mesh, colour))


def test_a_microphone_before_the_mouth_and_one_below_it(check, picture, mesh):
    mouth = mesh[list(OUTER_LIPS), :2].mean(0)
    assert Finding.MOUTH_COVERED in check(with_microphone(picture, mesh, mouth))
    below = mesh[152, :2] + [0, 0.5 * (mesh[152, 1] - mouth[1]) + 24]
    assert Finding.MOUTH_COVERED not in check(with_microphone(picture, mesh, below))


@pytest.mark.parametrize("density", [(0.2, 0.4), (0.4, 0.7)])
def test_a_beard_is_no_cover(check, picture, mesh, density):
    """Dark skin around lips that stay as they are."""
    jaw = mesh[list(FACE_OVAL[FACE_OVAL.index(361) : FACE_OVAL.index(132) + 1]), :2]
    inside = filled(np.zeros(picture.shape[:2], np.float32), np.concatenate([jaw, mesh[[205, 2, 425], :2]]), (1.0,))
    inside = filled(inside, mesh[list(OUTER_LIPS), :2], (0.0,))
    hair = cv2.GaussianBlur(inside, (0, 0), 5) * cv2.GaussianBlur((inside > 0).astype(np.float32), (0, 0), 1)
    hair = hair * np.random.default_rng(0).uniform(*density, inside.shape)
    assert check((picture * (1 - hair[..., None])).astype(np.uint8)) == set()


def test_glasses(check, picture, mesh):
    assert check(with_glasses(picture, mesh)) == {Finding.GLASSES}


@pytest.mark.parametrize(("yaw", "expected"), [(20, False), (-20, False), (50, True), (-50, True)])
def test_profiles(picture, yaw, expected):
    mesh = posed(mean_face().points, (yaw, 0, 0), scale=90, at=(170, 150))
    assert (Finding.PROFILE in photo_findings(picture, mesh)) is expected


def test_small_faces(check, picture, mesh):
    side = float(np.ptp(mesh[:, :2], axis=0).max())
    for crop_px, expected in ((140, True), (185, False)):
        scale = crop_px / (2 * side)
        small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        assert (Finding.SMALL in check(small)) is expected


@pytest.mark.parametrize("seed", range(6))
def test_drawings(check, seed):
    for picture in (drawn(seed), jpeg(drawn(seed), 90)):
        assert check(picture) == {Finding.DRAWING}


@pytest.mark.parametrize(
    "change",
    [
        lambda p: np.clip(1.8 * p + 40.0, 0, 255),
        lambda p: 0.1 * p,
        lambda p: 100 + 0.25 * p,
        lambda p: cv2.GaussianBlur(p, (0, 0), 4),
        lambda p: jpeg(p, 10),
        lambda p: cv2.resize(cv2.resize(p, None, fx=0.2, fy=0.2, interpolation=cv2.INTER_AREA), p.shape[1::-1]),
    ],
    ids=["bright", "dark", "faint", "blurred", "compressed", "enlarged"],
)
def test_bad_photos_are_no_drawings(change, picture, mesh):
    region = Region.of_mesh(mesh)
    assert not is_drawing(cut_patch(change(picture).astype(np.uint8), region), in_patch(mesh, region))


def test_a_mask_makes_no_drawing(picture, mesh):
    region = Region.of_mesh(mesh)
    patch = cut_patch(masked(picture, mesh, (120, 180, 210)), region)
    assert not is_drawing(patch, in_patch(mesh, region))


def test_several_faces(finder, check, picture):
    assert Finding.SEVERAL_FACES in check(np.concatenate([picture, picture[:, ::-1]], axis=1))
    both = np.concatenate([picture, picture], axis=1)
    chosen = checked_face(finder, both, face=2, name="photo")
    assert (chosen.faces, Finding.SEVERAL_FACES in chosen.findings) == (2, False)
    assert chosen.mesh[:, 0].mean() > picture.shape[1]
    with pytest.raises(NoFaceError, match="shows 2"):
        checked_face(finder, both, face=3, name="photo")


def test_somebody_far_behind_is_not_meant():
    near, beside, behind = (
        FaceObservation(Landmarks(posed(mean_face().points, scale=scale)), HeadPose(0, 0, 0), 1.0)
        for scale in (100, 60, 40)
    )
    assert several_faces([near, beside])
    assert not several_faces([behind, near])
    assert not several_faces([near])


def test_the_patch_alone_says_what_is_covered(picture, mesh):
    region = Region.of_mesh(mesh)
    mouth, glasses = covered(cut_patch(picture, region))
    assert max(mouth, glasses) < 0.3
    assert covered(cut_patch(masked(picture, mesh, (120, 180, 210)), region))[0] > 0.7


@pytest.mark.skipif(not CASES.is_dir(), reason="the cases are not there")
def test_the_cases(check):
    assert check(read_image(CASES / "photo_mask.png")) == {Finding.MOUTH_COVERED}
    assert check(read_image(CASES / "drawn_face.png")) == {Finding.DRAWING}
    assert check(read_image(CASES / "photo_lattice.jpg")) == {Finding.GLASSES}
    for name in ("photo_grey.jpg", "display_p3_rgb.png"):
        assert check(read_image(CASES / name)) == set()


@pytest.mark.skipif(not DATA.is_dir(), reason="the data pack is not there")
def test_official_portraits_of_people_that_nothing_was_learned_from(check):
    """Bearded, grey, smiling: those with glasses are found, and nobody's mouth is covered."""
    with open(DATA / "manifest.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if (row["kind"], row["split"]) == ("portrait", "val")]
    files = [row["file"] for row in rows if row["tier"] in ("PD", "CC-BY", "likely-PD")]
    found = {file: check(read_image(DATA / file)) for file in files if file.startswith("portraits/")}
    with open(LABELS, newline="") as file:
        labelled = {row["source"] for row in csv.DictReader(file) if row["glasses"] == "1"}
    wearing = {file for file, findings in found.items() if Finding.GLASSES in findings}
    assert wearing <= labelled
    assert len(wearing) >= 0.9 * len(labelled & set(found)) > 5
    assert not any({Finding.MOUTH_COVERED, Finding.DRAWING} & findings for findings in found.values())
