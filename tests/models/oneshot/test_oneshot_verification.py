"""Paper A's verification network: the margin by hand, and that it learns to tell people apart."""

import math

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from reenactor.core import CheckpointError
from reenactor.models.oneshot import (
    VERIFICATION,
    AngularMargin,
    VerificationConfig,
    VerificationNet,
    angular_margin_logits,
    identity_features,
)
from reenactor.nn.checkpoint import Checkpoint
from reenactor.nn.losses import perceptual_loss


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_margin_by_hand():
    degrees = torch.tensor([[60.0, 90.0], [30.0, 120.0]], dtype=torch.float64)
    cosines, margin = torch.cos(torch.deg2rad(degrees)), math.radians(15)
    logits = angular_margin_logits(cosines, torch.tensor([0, 1]), scale=10.0, margin=margin)
    # 60 + 15 and 120 + 15 degrees for their own; the others as they were.
    expected = [[2.5881904510, 0.0], [8.6602540378, -7.0710678119]]
    torch.testing.assert_close(logits, torch.tensor(expected, dtype=torch.float64))


def test_margin_against_arccosines():
    cosines = torch.linspace(-0.999, 0.999, 41, dtype=torch.float64)[:, None]
    own = torch.zeros(41, dtype=torch.long)
    logits = angular_margin_logits(cosines, own, scale=30.0, margin=0.5)[:, 0]
    angle = torch.arccos(cosines[:, 0])
    near = angle < math.pi - 0.5
    assert near.any()
    assert (~near).any()
    torch.testing.assert_close(logits[near], 30 * torch.cos(angle + 0.5)[near])
    torch.testing.assert_close(logits[~near], 30 * (torch.cos(angle) - 0.5 * math.sin(0.5))[~near])
    # The farther, the lower, up to the opposite side.
    assert (logits.diff() > 0).all()


def test_without_margin_it_is_a_scaled_cosine():
    head = AngularMargin(VerificationConfig(embedding=4, scale=7.0, margin=0.0), 3)
    embeddings = noise(5, 4)
    logits = head(embeddings, torch.tensor([0, 1, 2, 0, 1]))
    expected = 7 * F.cosine_similarity(embeddings[:, None], head.directions[None], dim=2)
    torch.testing.assert_close(logits, expected)


def test_slopes_stay_finite_at_both_ends():
    cosines = torch.tensor([[1.0], [-1.0]], requires_grad=True)
    angular_margin_logits(cosines, torch.tensor([0, 0]), scale=30.0, margin=0.5).sum().backward()
    assert torch.isfinite(cosines.grad).all()


def test_paper_sizes():
    with torch.device("meta"):
        network = VerificationNet(VerificationConfig())
        faces = torch.empty(2, 3, 112, 112)
        assert network(faces).shape == (2, 128)
        shapes = [tuple(f.shape[1:]) for f in network.features(faces)]
    assert shapes == [(32, 56, 56), (64, 28, 28), (128, 14, 14), (256, 7, 7)]


def test_embeddings_have_length_one_and_gradients_reach_every_parameter():
    torch.manual_seed(0)
    config = VerificationConfig(width=8, embedding=16)
    network, head = VerificationNet(config), AngularMargin(config, 3)
    embeddings = network(noise(4, 3, 112, 112))
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(4))
    F.cross_entropy(head(embeddings, torch.tensor([0, 1, 2, 0])), torch.tensor([0, 1, 2, 0])).backward()
    assert all(p.grad.abs().max() > 1e-8 for p in (*network.parameters(), *head.parameters()))


def test_learns_two_people():
    torch.manual_seed(0)
    config = VerificationConfig(width=8, embedding=8, scale=10.0, margin=0.3)
    network, head = VerificationNet(config), AngularMargin(config, 2)
    people = F.interpolate(noise(2, 3, 8, 8), 112)
    who = torch.arange(2).repeat(4)
    optimizer = torch.optim.Adam([*network.parameters(), *head.parameters()], lr=3e-3)
    for step in range(25):
        faces = people[who] + noise(8, 3, 112, 112, seed=step)
        optimizer.zero_grad()
        F.cross_entropy(head(network(faces), who), who).backward()
        optimizer.step()
    with torch.no_grad():
        cosines = (lambda e: e @ e.T)(network.eval()(people[who] + noise(8, 3, 112, 112, seed=99)))
    same = who[:, None] == who
    assert cosines[same].min() > cosines[~same].max() + 0.3


def test_two_strangers_differ_by_1_1_in_the_identity_loss():
    """Two independent normal numbers of variance 1 differ by 2 / sqrt(pi) on average; of length 1, by 0.28 and less."""
    torch.manual_seed(0)
    network = VerificationNet(VerificationConfig(width=8, embedding=16))
    people = F.interpolate(noise(40, 3, 8, 8), 112)
    with torch.no_grad():
        for _ in range(60):  # the running mean and variance, as training gathers them
            network(people)
        features = identity_features(Checkpoint(VERIFICATION, network.config.model_dump(), network.state_dict()))
        whole = F.pad(people, (16, 16, 16, 16))  # of 144 pixels it looks at the middle 112
        mine, theirs = (features(whole.roll(shift, 0)) for shift in (0, 1))
        loss = perceptual_loss(features, whole, whole.roll(1, 0))
    assert loss.item() == pytest.approx(2 / math.sqrt(math.pi), abs=0.1)
    # By hand, component by component.
    off = [abs(a - b) for a, b in zip(mine[0].flatten().tolist(), theirs[0].flatten().tolist(), strict=True)]
    assert loss.item() == pytest.approx(sum(off) / len(off), rel=1e-5)
    unit = [F.normalize(one[0].flatten(1)) for one in (mine, theirs)]
    assert (unit[0] - unit[1]).abs().mean() < 0.35


def test_a_network_of_another_release_is_refused():
    network = VerificationNet(VerificationConfig(width=8))
    old = {name: tensor for name, tensor in network.state_dict().items() if "norm.running" not in name}
    with pytest.raises(CheckpointError, match="another release; train it again"):
        identity_features(Checkpoint(VERIFICATION, network.config.model_dump(), old))


def test_other_sizes_are_refused():
    with pytest.raises(ValueError, match="112"):
        VerificationNet(VerificationConfig(width=8))(torch.zeros(1, 3, 128, 128))


def test_config_is_checked():
    with pytest.raises(ValidationError):
        VerificationConfig(margin=2.0)
