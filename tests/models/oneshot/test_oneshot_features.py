"""Trained parts of paper A as feature networks of the losses."""

import pytest
import torch
import torch.nn.functional as F

from reenactor.core import CheckpointError
from reenactor.models.oneshot import (
    SHAPE_ENCODER,
    VERIFICATION,
    ShapeEncoder,
    ShapeEncoderConfig,
    VerificationConfig,
    VerificationNet,
    face_centre,
    identity_features,
    shape_features,
)
from reenactor.nn.checkpoint import Checkpoint, write_checkpoint
from reenactor.nn.losses import FeatureNetwork, TrainedFeatures, build_features

READERS = {SHAPE_ENCODER: shape_features, VERIFICATION: identity_features}


def noise(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture(params=READERS)
def trained(request, tmp_path):
    """A network and its checkpoint's folder."""
    torch.manual_seed(0)
    is_shape = request.param == SHAPE_ENCODER
    config = ShapeEncoderConfig(width=8, resolution=64) if is_shape else VerificationConfig(width=8)
    network = (ShapeEncoder if is_shape else VerificationNet)(config)
    network(noise(4, 3, 112, 112)[..., : 64 if is_shape else 112, : 64 if is_shape else 112])
    write_checkpoint(tmp_path, Checkpoint(request.param, config.model_dump(mode="json"), network.state_dict()))
    return network.eval(), tmp_path


def test_read_from_a_checkpoint_and_frozen(trained):
    network, folder = trained
    features = build_features(TrainedFeatures(folder=folder), READERS)
    assert isinstance(features, FeatureNetwork)
    image = noise(2, 3, 128, 128).requires_grad_()
    found = features(image)
    sum(one.square().sum() for one in found).backward()
    assert image.grad.abs().max() > 0
    assert all(p.grad is None for p in features.parameters())
    if isinstance(network, ShapeEncoder):
        half = F.interpolate(image, (64, 64), mode="bilinear", antialias=True)
        for one, other in zip(found, network.features(half), strict=True):
            torch.testing.assert_close(one, other)
    else:
        # Standardized, not of length 1; the direction is the embedding's.
        faces = face_centre(image, 200 / 256)
        raw, norm = network.embed(network.gather(network.features(faces)[-1]).flatten(1)), network.norm
        expected = (raw - norm.running_mean) / (norm.running_var + 1e-5).sqrt()
        torch.testing.assert_close(found[0][..., 0, 0], expected)
        torch.testing.assert_close(F.normalize(expected), network(faces))
        assert len(found) == 1
    with pytest.raises(CheckpointError):
        build_features(TrainedFeatures(folder=folder), {})


def test_the_middle_of_the_face():
    ramp = torch.arange(256.0)[None, None, None].expand(1, 3, 256, 256)
    found = face_centre(ramp, 200 / 256)[0, 0, 50]
    assert found.shape == (112,)
    # Pixels 28 to 227 of 256, in 112 equal steps.
    expected = 28 - 0.5 + (torch.arange(112) + 0.5) * 200 / 112
    torch.testing.assert_close(found[1:-1], expected[1:-1], atol=0.3, rtol=0)
