"""Landmarks: exact coordinates under mirroring, shifting, scaling, turning and cutting."""

import cv2
import numpy as np
import pytest

from reenactor.face.geometry import mean_face
from reenactor.face.perception import FaceMesher, Region
from reenactor.face.perception.landmarks import PATCH_PX, _points, cut_patch


@pytest.fixture(scope="module")
def mesher():
    one = FaceMesher()
    yield one
    one.close()


@pytest.fixture(scope="module")
def region(finder, photo):
    return Region.of_mesh(finder.observe(photo).landmarks.mesh)


def test_lie_on_the_face(finder, photo):
    marks = finder.observe(photo).landmarks
    assert marks.mesh.dtype == np.float32
    # Read in the picture by eye: pupils, tip of the nose, lower edge of the upper lip.
    np.testing.assert_allclose(marks.irises[:, :2], [[203.5, 101], [246.5, 103]], atol=1.5)
    np.testing.assert_allclose(marks.mesh[[4, 13], :2], [[223, 126], [223, 143]], atol=3)
    # Depth has the scale of x and points away: the nose is nearer than the temples by most of the eye distance.
    depth = (marks.mesh[[127, 356], 2].mean() - marks.mesh[4, 2]) / marks.interocular_px
    assert 0.5 < depth < 1.6


def test_mirroring_the_picture_mirrors_them(mesher, photo, region):
    mesh, _ = mesher.mesh(photo, region)
    there = Region(511 - region.x, region.y, region.side_px, -region.angle_deg)
    mirrored, _ = mesher.mesh(np.ascontiguousarray(photo[:, ::-1]), there)
    back = mirrored[mean_face().mirror] * [-1, 1, 1] + [511, 0, 0]
    # Pixel centres: taken for pixel edges, the mean would be off by 1.
    assert np.abs((mesh - back).mean(axis=0)[:2]).max() < 0.25
    assert np.abs(mesh - back).mean() < 0.6


def test_scaling_the_picture_scales_them_about_pixel_centres(finder, photo):
    mesh = finder.observe(photo).landmarks.mesh
    for factor in (2, 3, 5):
        large = photo.repeat(factor, axis=0).repeat(factor, axis=1)
        scaled = finder.observe(large).landmarks.mesh
        back = (scaled[:, :2] + 0.5) / factor - 0.5
        assert np.abs((back - mesh[:, :2]).mean(axis=0)).max() < 0.15  # edges for centres: 0.25 to 0.4
        np.testing.assert_allclose(scaled[:, 2] / factor, mesh[:, 2], atol=1.5)


def test_shifting_the_picture_shifts_them(finder, photo):
    mesh = finder.observe(photo).landmarks.mesh
    shifted = finder.observe(np.ascontiguousarray(photo[17:400, 31:450])).landmarks.mesh
    difference = shifted[:, :2] + [31, 17] - mesh[:, :2]
    assert np.abs(difference.mean(axis=0)).max() < 0.2
    assert np.abs(difference).mean() < 0.4


def test_a_patch_shows_what_its_map_says():
    """A bright block's centroid gives the position to a hundredth of a patch pixel."""
    image = np.zeros((900, 1300, 3), dtype=np.uint8)
    image[300:360, 700:760] = 255
    # From no shrinking to blocks of 5 x 5.
    for side in (191.0, 383.0, 450.0, 800.0, 1100.0):
        region = Region(x=700.0, y=350.0, side_px=side, angle_deg=-25.0)
        patch = cut_patch(image, region)[..., 0].astype(float)
        v, u = np.mgrid[:PATCH_PX, :PATCH_PX]
        centroid = np.array([(patch * u).sum(), (patch * v).sum(), patch.sum()]) / patch.sum()
        np.testing.assert_allclose(region.to_picture() @ centroid, [729.5, 329.5], atol=0.03 * side / PATCH_PX)


def test_regions_beyond_the_border_are_continued(photo):
    patch = cut_patch(photo, Region(x=0.0, y=0.0, side_px=800.0, angle_deg=0.0))
    np.testing.assert_allclose(patch[:60, :60], np.broadcast_to(photo[:4, :4].mean((0, 1)), (60, 60, 3)), atol=6)
    assert cut_patch(photo, Region(x=-900.0, y=-900.0, side_px=700.0, angle_deg=10.0)).shape == (192, 192, 3)


def test_presence_tells_faces_from_walls(mesher, photo, region):
    assert mesher.mesh(photo, region)[1] > 0.95
    elsewhere = Region(x=420.0, y=400.0, side_px=region.side_px, angle_deg=0.0)
    assert mesher.mesh(photo, elsewhere)[1] < 0.3


def test_the_same_twice(mesher, photo, region):
    np.testing.assert_array_equal(mesher.mesh(photo, region)[0], mesher.mesh(photo, region)[0])


def test_the_region_of_a_mesh_is_upright_to_the_eyes(finder, photo):
    region = Region.of_mesh(finder.observe(photo).landmarks.mesh)
    assert (region.x, region.y) == pytest.approx((222, 125), abs=12)
    M = cv2.getRotationMatrix2D((222, 130), -40, 1.0)
    turned = Region.of_mesh(finder.observe(cv2.warpAffine(photo, M, (512, 512))).landmarks.mesh)
    assert turned.angle_deg - region.angle_deg == pytest.approx(40, abs=1)
    assert turned.side_px == pytest.approx(region.side_px, rel=0.03)


def test_wire_format_is_read_like_protobuf():
    from mediapipe.framework.formats import landmark_pb2

    points = np.random.default_rng(0).normal(size=(478, 3)).astype(np.float32)
    message = landmark_pb2.NormalizedLandmarkList()
    for x, y, z in points.tolist():
        message.landmark.add(x=x, y=y, z=z)
    np.testing.assert_array_equal(_points(message), points)
    message.landmark[0].visibility = 0.5  # another layout: the slow way
    np.testing.assert_array_equal(_points(message), points)
