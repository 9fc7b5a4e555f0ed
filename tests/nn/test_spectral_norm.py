"""Spectral normalization against singular values from LAPACK."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.overrides import TorchFunctionMode

from reenactor.nn import PatchProjection, add_spectral_norm, fold_spectral_norm


@pytest.fixture
def net():
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 3, padding=1), nn.InstanceNorm2d(8, affine=True), nn.Conv2d(8, 5, 1), nn.Linear(6, 4)
    with torch.no_grad():
        for layer in layers:
            layer.weight.mul_(20)
    return add_spectral_norm(nn.Sequential(*layers))


def run(net, times):
    with torch.no_grad():
        for _ in range(times):
            result = net(torch.ones(1, 3, 6, 6))
    return result


def test_largest_singular_value_is_one(net):
    run(net.train(), 50)
    for layer in (net[0], net[2], net[3]):
        largest = torch.linalg.matrix_norm(layer.weight.flatten(1).detach(), 2)
        torch.testing.assert_close(largest, torch.tensor(1.0), rtol=1e-3, atol=0)


def test_norm_layers_keep_their_gains(net):
    assert not parametrize.is_parametrized(net[1])
    assert (net[1].weight == 20).all()


def test_twice_is_once(net):
    before = run(net.eval(), 1)
    add_spectral_norm(net)
    assert all(len(net[i].parametrizations.weight) == 1 for i in (0, 2, 3))
    assert torch.equal(run(net, 1), before)


def test_folding_keeps_outputs_and_the_original(net):
    run(net.train(), 3)
    folded = fold_spectral_norm(net)
    assert not any(parametrize.is_parametrized(layer) for layer in folded)
    assert sorted(folded.state_dict()) == sorted(f"{i}.{name}" for i in range(4) for name in ("weight", "bias"))
    assert net.training
    assert parametrize.is_parametrized(net[0])
    torch.testing.assert_close(run(folded, 1), run(net.eval(), 1))


def test_patch_scores_by_hand():
    head = PatchProjection(3, identities=4)
    features = torch.randn(2, 3, 2, 5, generator=torch.Generator().manual_seed(0))
    identity = torch.tensor([3, 0])
    scores = head(features, identity)
    assert scores.shape == (2, 1, 2, 5)
    for b, i, j in [(0, 0, 0), (0, 1, 4), (1, 1, 2)]:
        at = features[b, :, i, j]
        expected = head.score.weight[0, :, 0, 0] @ at + head.score.bias[0] + head.identity.weight[identity[b]] @ at
        torch.testing.assert_close(scores[b, 0, i, j], expected)


def test_embedding_is_normalized_too():
    head = add_spectral_norm(PatchProjection(3, identities=4))
    assert parametrize.is_parametrized(head.identity, "weight")
    for _ in range(50):
        head.identity(torch.tensor([0]))
    torch.testing.assert_close(torch.linalg.matrix_norm(head.identity.weight.detach(), 2), torch.tensor(1.0))


class _Watch(TorchFunctionMode):
    """Notes of every matrix-vector product whether autocast was on, and the number type of its result."""

    def __init__(self):
        self.seen = set()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func in (torch.mv, torch.vdot):
            self.seen.add((torch.is_autocast_enabled("cpu"), result.dtype))
        return result


def test_power_iteration_stays_outside_autocast():
    torch.manual_seed(0)
    plain = add_spectral_norm(nn.Conv2d(3, 8, 3, padding=1)).train()
    mixed = copy.deepcopy(plain)
    with _Watch() as watch, torch.autocast("cpu", torch.bfloat16):
        drawn = mixed(torch.ones(1, 3, 6, 6))
    plain(torch.ones(1, 3, 6, 6))
    assert drawn.dtype == torch.bfloat16
    assert watch.seen == {(False, torch.float32)}
    for name, tensor in plain.state_dict().items():
        assert torch.equal(tensor, mixed.state_dict()[name]), name
    assert torch.equal(plain.eval().weight, mixed.eval().weight)
