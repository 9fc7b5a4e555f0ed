"""Inverse maps against barycentric coordinates pixel by pixel, linear solves and scipy."""

import numpy as np
import pytest
from scipy.interpolate import LinearNDInterpolator
from scipy.spatial import Delaunay

from reenactor.face.geometry import inverse_map, matrix_from_angles, mean_face
from reenactor.face.geometry.face_mesh import LEAST_AREA, affine_maps, signed_areas, upsample_map

SQUARE = np.array([[10.0, 10.0], [50.0, 10.0], [50.0, 50.0], [10.0, 50.0]])
TWO = np.array([[0, 1, 2], [0, 2, 3]])


def inverse_map_ref(source, output, depth, triangles, size):
    """`inverse_map`, pixel by pixel with barycentric coordinates and a depth buffer of whole triangles (slow)."""
    field, covered = np.zeros((*size, 2), np.float32), np.zeros(size, bool)
    nearest = np.full(size, np.inf)
    behind_all = np.ptp(depth) + 1
    for triangle, area in zip(triangles, signed_areas(output, triangles), strict=True):
        if abs(area) <= LEAST_AREA:
            continue
        a, b, c = output[triangle].astype(np.float64)
        z = depth[triangle].mean() + (behind_all if area < 0 else 0)
        low = np.maximum(np.floor(np.min([a, b, c], 0)).astype(int), 0)
        high = np.minimum(np.ceil(np.max([a, b, c], 0)).astype(int), np.array(size[::-1]) - 1)
        for y in range(low[1], high[1] + 1):
            for x in range(low[0], high[0] + 1):
                p = np.array([x, y])
                w = np.array([_cross(b - p, c - p), _cross(c - p, a - p), _cross(a - p, b - p)]) / area
                if (w >= 0).all() and z < nearest[y, x]:
                    nearest[y, x], covered[y, x] = z, True
                    field[y, x] = w @ source[triangle]
    return field, covered


def _cross(u, v):
    # NumPy's own is ten times slower for a single pair, and its plane form is deprecated from 2.0 on.
    return float(u[0] * v[1] - u[1] * v[0])


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def random_mesh(rng, n=25, side=64.0):
    """Points over the whole square, and clockwise Delaunay triangles."""
    corners = np.array([[-5, -5], [side + 4, -5], [side + 4, side + 4], [-5, side + 4]])
    points = np.concatenate([corners, rng.uniform(0, side - 1, (n, 2))])
    found = Delaunay(points)
    triangles = found.simplices.astype(np.int64)
    backwards = signed_areas(points, triangles) < 0
    triangles[backwards] = triangles[backwards][:, ::-1]
    return points, triangles, found


def face_in(side, angles_deg, opening=0.0):
    """The mean face in a picture, turned."""
    points = mean_face().points.copy()
    points[:, 1] += opening * np.clip((points[:, 1] - 0.4) / 0.1, 0, 1)
    R = matrix_from_angles(np.array(angles_deg, float))
    return points @ R.T * (side * 0.55) + np.array([side / 2, side * 0.45, 0.0])


def edge_distance(points, triangles, size):
    """Distance of each pixel to the nearest edge of the mesh."""
    pixels = np.stack(np.meshgrid(np.arange(size[1]), np.arange(size[0])), axis=-1).astype(float)
    edges = {tuple(sorted((int(t[i]), int(t[i - 1])))) for t in triangles for i in range(3)}
    nearest = np.full(size, np.inf)
    for a, b in ((points[i, :2], points[j, :2]) for i, j in edges):
        along = np.clip(((pixels - a) @ (b - a)) / max((b - a) @ (b - a), 1e-12), 0, 1)
        nearest = np.minimum(nearest, np.linalg.norm(pixels - a - along[..., None] * (b - a), axis=-1))
    return nearest


def test_signed_area_by_hand():
    points = np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 3.0]])
    # Right, then down: clockwise in a picture; twice the area is 12.
    np.testing.assert_allclose(signed_areas(points, np.array([[0, 1, 2], [0, 2, 1], [0, 1, 1]])), [12, -12, 0])


def test_affine_maps_solve_the_linear_system(rng):
    source, output = rng.uniform(0, 100, (2, 30, 2))
    triangles = np.array([rng.choice(30, 3, replace=False) for _ in range(40)])
    maps = affine_maps(source, output, triangles)
    for triangle, matrix in zip(triangles, maps, strict=True):
        corners = np.concatenate([output[triangle], np.ones((3, 1))], axis=1)
        np.testing.assert_allclose(matrix, np.linalg.solve(corners, source[triangle]).T, rtol=1e-6, atol=1e-6)


def test_identity_maps_each_pixel_to_itself():
    field, covered = inverse_map(SQUARE, SQUARE, np.zeros(4), TWO, (60, 60))
    y, x = np.mgrid[:60, :60]
    inside = (x >= 10) & (x <= 50) & (y >= 10) & (y <= 50)
    np.testing.assert_array_equal(covered, inside)
    np.testing.assert_allclose(field[inside], np.stack([x, y], axis=-1)[inside], atol=1e-4)
    assert (field[~covered] == 0).all()


def test_enlargement_by_hand():
    # The square is drawn twice as large from (0, 0): output pixel p comes from 10 + p / 2.
    output = (SQUARE - 10) * 2
    field, covered = inverse_map(SQUARE, output, np.zeros(4), TWO, (80, 80))
    assert covered.all()
    np.testing.assert_allclose(field[30, 40], [30, 25], atol=1e-4)
    np.testing.assert_allclose(field[79, 0], [10, 49.5], atol=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_equals_slow_twin_on_random_meshes(seed):
    rng = np.random.default_rng(seed)
    output, triangles, _ = random_mesh(rng)
    source = output + rng.normal(0, 6, output.shape)
    depth = rng.uniform(0, 1, len(output))
    field, covered = inverse_map(source, output, depth, triangles, (64, 64))
    expected, expected_cover = inverse_map_ref(source, output, depth, triangles, (64, 64))
    clear = edge_distance(output, triangles, (64, 64)) > 0.75
    assert clear.mean() > 0.5
    assert covered.all()
    assert expected_cover.all()
    np.testing.assert_allclose(field[clear], expected[clear], atol=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_equals_scipys_linear_interpolation(seed):
    rng = np.random.default_rng(10 + seed)
    output, triangles, found = random_mesh(rng)
    source = output + rng.normal(0, 1, output.shape)
    field, _ = inverse_map(source, output, np.zeros(len(output)), triangles, (64, 64))
    y, x = np.mgrid[:64, :64]
    expected = LinearNDInterpolator(found, source)(np.stack([x, y], axis=-1))
    clear = edge_distance(output, triangles, (64, 64)) > 0.75
    np.testing.assert_allclose(field[clear], expected[clear], atol=1e-3)
    # A continuous map: a pixel given to the neighbour across an edge is off by a little, never by a jump.
    assert np.abs(field - expected).max() < 1.5


@pytest.mark.parametrize(
    ("angles_deg", "opening"), [((0, 0, 0), 0.0), ((35, 0, 0), 0.1), ((-50, 15, 10), 0.0), ((10, -30, -20), 0.2)]
)
def test_equals_slow_twin_on_faces(angles_deg, opening):
    side = 64
    triangles = mean_face().triangles
    source, output = face_in(side, (0, 0, 0)), face_in(side, angles_deg, opening)
    arguments = (source[:, :2], output[:, :2], output[:, 2], triangles, (side, side))
    field, covered = inverse_map(*arguments)
    expected, expected_cover = inverse_map_ref(*arguments)
    # Within the face most pixels touch an edge: away from edges equal, elsewhere near unless a fold runs there.
    clear = (edge_distance(output, triangles, (side, side)) > 0.75) & expected_cover
    assert clear.sum() > 50
    difference = np.abs(field - expected).max(axis=-1)
    assert (difference[clear] < 1e-2).mean() > 0.99
    assert (difference[covered & expected_cover] < 1.5).mean() > 0.97
    assert (covered | ~expected_cover).all()


@pytest.mark.parametrize("first_is_nearer", [True, False])
@pytest.mark.parametrize("swapped", [True, False])
def test_nearer_triangle_covers_whatever_the_order(first_is_nearer, swapped):
    # The same triangle twice in the output, from two positions in the photo.
    shape = np.array([[5.0, 5.0], [35.0, 5.0], [35.0, 35.0]])
    source = np.concatenate([shape, shape + 100])
    depth = np.array([-1.0] * 3 + [2.0] * 3) * (1 if first_is_nearer else -1)
    triangles = np.array([[3, 4, 5], [0, 1, 2]]) if swapped else np.array([[0, 1, 2], [3, 4, 5]])
    field, _ = inverse_map(source, np.concatenate([shape, shape]), depth, triangles, (40, 40))
    np.testing.assert_allclose(field[15, 25], [25, 15] if first_is_nearer else [125, 115], atol=1e-4)


def test_folded_triangle_only_fills_what_nothing_else_covers():
    # The folded triangle faces away, although its depth says that it is nearer.
    output = np.array([[10.0, 10.0], [50.0, 50.0], [10.0, 50.0], [10.0, 58.0]])
    front, folded = [0, 1, 2], [0, 3, 1]
    assert (np.sign(signed_areas(output, np.array([front, folded]))) == [1, -1]).all()
    source = output + np.array([100.0, 0.0])
    source[3, 0] += 50
    depth = np.array([0.0, 0.0, 0.0, -9.0])
    for triangles in (np.array([front, folded]), np.array([folded, front])):
        field, covered = inverse_map(source, output, depth, triangles, (64, 64))
        expected, _ = inverse_map_ref(source, output, depth, triangles, (64, 64))
        np.testing.assert_allclose(field[40, 20], [120, 40], atol=1e-4)  # both lie here; the front one shows
        assert covered[53, 20]  # only the folded one lies here
        np.testing.assert_allclose(field[53, 20], expected[53, 20], atol=1e-3)


def test_triangle_without_area_is_left_out():
    line = np.array([[5.0, 5.0], [20.0, 20.0], [35.0, 35.0]])
    field, covered = inverse_map(line, line, np.zeros(3), np.array([[0, 1, 2]]), (40, 40))
    assert not covered.any()
    assert (field == 0).all()


@pytest.mark.parametrize(("coarse", "fine"), [(64, 128), (64, 160), (96, 96)])
def test_enlarged_map_of_an_unmoved_picture_is_exact_to_the_border(coarse, fine):
    positions = (np.arange(coarse, dtype=np.float32) + 0.5) * (fine / coarse) - 0.5
    field = np.stack(np.meshgrid(positions, positions), axis=-1).astype(np.float32)
    y, x = np.mgrid[:fine, :fine]
    np.testing.assert_allclose(upsample_map(field, fine), np.stack([x, y], axis=-1), atol=1e-4)


def test_enlarged_map_equals_the_map_drawn_large(rng):
    # One affine map over the whole picture: drawn coarse and upsample_map, or drawn at full size.
    output = np.array([[-20.0, -20.0], [148.0, -20.0], [148.0, 148.0], [-20.0, 148.0]])
    source = output @ np.array([[0.9, 0.1], [-0.05, 1.1]]).T + [7, -3]
    full, _ = inverse_map(source, output, np.zeros(4), TWO, (128, 128))
    coarse, _ = inverse_map(source, (output + 0.5) / 2 - 0.5, np.zeros(4), TWO, (64, 64))
    np.testing.assert_allclose(upsample_map(coarse, 128)[2:-2, 2:-2], full[2:-2, 2:-2], atol=1e-3)
