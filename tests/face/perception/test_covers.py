"""Covered mouths and glasses: what is painted, what is labelled, and that it is learned."""

import numpy as np
import pytest
import torch

from factories import head, posed
from reenactor.core import FrameBatch
from reenactor.face.geometry import mean_face
from reenactor.face.geometry.contours import OUTER_LIPS
from reenactor.face.perception.cover_painting import hidden, painted
from reenactor.face.perception.covers import cover_network
from reenactor.face.perception.covers_objective import CoverObjective, CoverObjectiveConfig
from reenactor.face.perception.landmarks import Region, _in_picture, cut_patch, in_patch


@pytest.fixture(scope="module")
def face(finder):
    """The astronaut's head and landmarks."""
    picture = head()
    return picture, finder.observe(picture).landmarks.mesh


@pytest.fixture(scope="module")
def patch(face):
    picture, mesh = face
    region = Region.of_mesh(mesh)
    return cut_patch(picture, region), in_patch(mesh, region)


def test_a_mesh_in_its_patch():
    mesh = posed(mean_face().points, (10, 5, 20), scale=90, at=(128, 120))
    region = Region(130.0, 118.0, 250.0, 17.0)
    np.testing.assert_allclose(_in_picture(in_patch(mesh, region), region), mesh, atol=1e-3)


def test_what_is_painted_hides_what_it_says(patch):
    picture, mesh = patch
    white = np.full_like(picture, 255)
    fractions = []
    for seed in range(60):
        out, alpha = painted(picture, mesh, (white, mesh), np.random.default_rng(seed))
        assert alpha.min() >= 0
        assert alpha.max() <= 1.001
        changed = np.abs(out.astype(int) - picture).max(-1) > 0
        fractions.append(hidden(alpha, mesh, OUTER_LIPS))
        if fractions[-1] > 0.9:
            assert changed[alpha > 0.5].mean() > 0.9
        again, _ = painted(picture, mesh, (white, mesh), np.random.default_rng(seed))
        np.testing.assert_array_equal(out, again)
    fractions = np.array(fractions)
    assert (fractions > 0.7).mean() > 0.4
    assert (fractions < 0.15).mean() > 0.1


def test_hidden_is_the_fraction_of_the_inside():
    mesh = np.zeros((478, 3), np.float32)
    contour = (0, 1, 2, 3)
    mesh[list(contour), :2] = [[40, 40], [120, 40], [120, 120], [40, 120]]
    alpha = np.zeros((192, 192), np.float32)
    assert hidden(alpha, mesh, contour) == 0
    alpha[:, :80] = 1
    assert hidden(alpha, mesh, contour) == pytest.approx(0.5, abs=0.02)


def batch_of(face, rows):
    picture, mesh = face
    images = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 127.5 - 1
    n = len(rows)
    return FrameBatch(
        images.repeat(n, 1, 1, 1),
        torch.from_numpy(mesh)[None].repeat(n, 1, 1),
        torch.zeros(n, dtype=torch.long),
        torch.tensor(rows),
    )


def test_labels(face):
    """Faces that nothing is painted onto are uncovered; whose glasses are not known count nothing."""
    objective = CoverObjective(CoverObjectiveConfig(width=4, painted=0), np.array([0, 1, -1]))
    _, wanted, known = objective._read(objective.network, batch_of(face, [0, 1, 2]), np.random.default_rng(0))
    assert wanted.tolist() == [[0, 0], [0, 1], [0, 0]]
    assert known.tolist() == [[1, 1], [1, 1], [1, 0]]
    objective = CoverObjective(CoverObjectiveConfig(width=4, painted=1), np.array([1]))
    _, wanted, known = objective._read(objective.network, batch_of(face, [0] * 40), np.random.default_rng(0))
    assert 0.3 < wanted[:, 0].mean() < 0.9
    # Halves and hidden eyes are left out.
    assert 0.6 < known[:, 0].mean() < 1
    assert 0.4 < known[:, 1].mean() < 1


def test_it_learns(face):
    """Two pictures, of which the inverted one counts as glasses."""
    torch.manual_seed(0)
    objective = CoverObjective(CoverObjectiveConfig(width=4, painted=0), np.array([0, 1]))
    optimizer = torch.optim.Adam(objective.network.parameters(), 3e-3)
    batch = batch_of(face, [0, 1] * 4)
    batch.images[1::2] *= -1
    for _ in range(30):
        optimizer.zero_grad()
        objective.generator_step(batch).loss.backward()
        optimizer.step()
    assert objective.generator_step(batch).parts["glasses"] < 0.3
    assert 0 <= objective.measure(objective.network.eval(), batch)["glasses_wrong"] < 0.3
    checkpoint = objective.checkpoint(objective.network)
    assert (checkpoint.kind, checkpoint.config) == ("covers", {"width": 4})


def test_the_network_is_small():
    assert sum(value.numel() for value in cover_network().state_dict().values()) * 2 < 300_000
