"""Points, groups, decomposition and bases, against closed forms and a singular value decomposition of all frames."""

import numpy as np
import pytest
from clips import clips
from faces import mirrored, shape

from factories import posed
from reenactor.core import MESH_TO_IBUG68, ReenactError
from reenactor.face.geometry import contours, in_mean_pose, matrix_from_angles
from reenactor.face.retarget.transformer import GROUPS, LandmarkTransformerConfig, fit_statistics, point_set

CLIPS = clips()
POINTS = ("mesh", "ibug68")


@pytest.fixture(scope="module", params=POINTS)
def config(request):
    return LandmarkTransformerConfig(points=request.param, pca_bases=(3, 3, 2, 6, 4))


@pytest.fixture(scope="module")
def fitted(config):
    return fit_statistics(CLIPS, config)


def shapes_of(config):
    """number -> (T, N, 3) normalized, in the order of their numbers."""
    return {number: point_set(config.points).normalized(meshes)[1] for number, meshes in sorted(CLIPS)}


@pytest.mark.parametrize("name", POINTS)
def test_every_point_is_in_one_group(name):
    points = point_set(name)
    assert sorted(np.concatenate(points.groups)) == list(range(len(points)))
    assert len(points.groups) == len(GROUPS)


def test_the_meshes_contours_are_in_their_groups():
    left, right, brows, mouth, other = (set(group) for group in point_set("mesh").groups)
    assert left >= {*contours.LEFT_EYE, *contours.LEFT_IRIS}
    assert right >= {*contours.RIGHT_EYE, *contours.RIGHT_IRIS}
    assert brows >= {70, 63, 105, 66, 107, 336, 296, 334, 293, 300}
    assert mouth >= {*contours.INNER_LIPS, *contours.OUTER_LIPS_UPPER}
    assert other >= {*contours.FACE_OVAL, 1, 4, 168}


def test_ibugs_groups_are_the_papers():
    assert [len(group) for group in point_set("ibug68").groups] == [6, 6, 10, 20, 26]
    assert [group[0] for group in point_set("ibug68").groups] == [42, 36, 17, 48, 0]


@pytest.mark.parametrize("name", POINTS)
def test_mirroring_changes_the_eyes_and_keeps_the_other_groups(name):
    points = point_set(name)
    left, right, *others = (set(group) for group in points.groups)
    assert set(points.mirror[list(left)]) == right
    for group in others:
        assert set(points.mirror[list(group)]) == group
    mesh = posed(shape(seed=3, opening=0.1, eyes=(0.4, 1.0)), angles_deg=(10, 4, -7))
    flipped = points.of(mirrored(mesh))[points.mirror]
    np.testing.assert_allclose(flipped[:, 0], 255 - points.of(mesh)[:, 0], atol=1e-4)


@pytest.mark.parametrize("name", POINTS)
def test_size_place_and_turn_do_not_matter(name):
    points, mesh = point_set(name), posed(shape(seed=5, smile=0.05))
    _, straight = points.normalized(mesh)
    R = matrix_from_angles(np.array([25.0, -12.0, 40.0]))
    head, turned = points.normalized(3 * mesh @ R.T + np.array([7.0, -90.0, 12.0]))
    np.testing.assert_allclose(turned, straight, atol=1e-5)
    np.testing.assert_allclose(head.R @ points.normalized(mesh)[0].R.T, R, atol=1e-5)


def test_normalized_mesh_is_the_face_in_mean_pose():
    meshes = CLIPS[0][1]
    np.testing.assert_allclose(point_set("mesh").normalized(meshes)[1], in_mean_pose(meshes)[1], atol=1e-9)


def test_the_68_may_come_alone():
    points, meshes = point_set("ibug68"), CLIPS[0][1]
    alone = points.normalized(meshes[:, list(MESH_TO_IBUG68)])
    np.testing.assert_array_equal(alone[1], points.normalized(meshes)[1])
    with pytest.raises(ValueError, match="the 478 of the mesh or these 68"):
        points.normalized(meshes[:, :100])


def test_mean_identity_and_expression_add_up(config, fitted):
    for (number, shapes), at, identity in zip(shapes_of(config).items(), fitted.clips, fitted.identities, strict=True):
        assert number == at
        expression = shapes - fitted.mean - identity
        np.testing.assert_allclose(expression.mean(0), 0, atol=1e-9)
        np.testing.assert_allclose(fitted.mean + identity + expression, shapes, atol=1e-6)
    np.testing.assert_allclose(fitted.identities.mean(0), 0, atol=1e-9)


def test_long_clips_weigh_no_more_than_short_ones(config, fitted):
    doubled = [(number, np.concatenate([meshes] * (1 + i % 2))) for i, (number, meshes) in enumerate(CLIPS)]
    again = fit_statistics(reversed(doubled), config)
    np.testing.assert_allclose(again.mean, fitted.mean, atol=1e-9)
    np.testing.assert_allclose(again.identities, fitted.identities, atol=1e-9)
    np.testing.assert_allclose(again.std, fitted.std, rtol=1e-6)


def test_bases_are_those_of_a_singular_value_decomposition(config, fitted):
    shapes = shapes_of(config)
    first = 0
    for group, count in zip(point_set(config.points).groups, config.pca_bases, strict=True):
        moved = [(s - s.mean(0))[:, group].reshape(len(s), -1) / np.sqrt(len(s) * len(shapes)) for s in shapes.values()]
        _, values, directions = np.linalg.svd(np.concatenate(moved), full_matrices=False)
        ours = fitted.basis[first : first + count, group].reshape(count, -1)
        np.testing.assert_allclose(np.abs(np.sum(ours * directions[:count], axis=1)), 1, atol=1e-6)
        np.testing.assert_allclose(fitted.std[first : first + count], values[:count], rtol=1e-6)
        first += count
    assert first == len(fitted.basis) == config.bases


def test_bases_are_orthonormal_and_move_one_group_each(config, fitted):
    flat = fitted.basis.reshape(len(fitted.basis), -1)
    np.testing.assert_allclose(flat @ flat.T, np.eye(len(flat)), atol=1e-9)
    of = np.repeat(np.arange(5), config.pca_bases)
    for basis, number in zip(fitted.basis, of, strict=True):
        outside = np.setdiff1d(np.arange(len(basis)), point_set(config.points).groups[number])
        assert np.abs(basis[outside]).max() == 0


def test_scale_is_the_root_mean_square_of_what_the_disentangler_sees(config, fitted):
    per_clip = [np.mean((s - fitted.mean) ** 2) for s in shapes_of(config).values()]
    assert fitted.scale == pytest.approx(np.sqrt(np.mean(per_clip)), rel=1e-9)


def test_too_few_expressions_are_refused():
    with pytest.raises(ReenactError, match="fewer expressions of the left eye than the 8 bases"):
        fit_statistics([(0, CLIPS[0][1][:5])], LandmarkTransformerConfig())
    with pytest.raises(ReenactError, match="no clip to learn expressions from"):
        fit_statistics([], LandmarkTransformerConfig())
