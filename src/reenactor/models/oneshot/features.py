"""Trained shape encoders and verification networks as frozen feature networks for losses."""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from reenactor.models.oneshot.shape_encoder import ShapeEncoder, ShapeEncoderConfig
from reenactor.models.oneshot.verification import FACE_SIZE, VerificationConfig, VerificationNet
from reenactor.nn.checkpoint import Checkpoint
from reenactor.nn.losses import FeatureReader

SHAPE_ENCODER, VERIFICATION = "oneshot-shape-encoder", "oneshot-verification"
"""Kinds of their checkpoints."""
_FACE_SHARE = 200 / 256
"""The identity loss looks at the middle 200 of 256 pixels (authors' code)."""


class ShapeFeatures(nn.Module):
    """What a frozen shape encoder sees at a half to a sixteenth of its size."""

    def __init__(self, network: ShapeEncoder) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)

    def forward(self, image_m1p1: Float[Tensor, "b 3 h w"]) -> tuple[Float[Tensor, "b _ _ _"], ...]:
        """Four maps, largest first, of pictures of any size in [-1, 1]."""
        return self.network.features(_scaled(image_m1p1, self.network.config.resolution))


class IdentityFeatures(nn.Module):
    """What a frozen verification network says of the face in the middle of a crop."""

    def __init__(self, network: VerificationNet) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)

    def forward(self, image_m1p1: Float[Tensor, "b 3 h w"]) -> tuple[Float[Tensor, "b _ 1 1"]]:
        """The embeddings, (B, 128, 1, 1) of length 1, of face crops of any size in [-1, 1]."""
        return (self.network(face_centre(image_m1p1))[..., None, None],)


def face_centre(image_m1p1: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 112 112"]:
    """The middle 200 / 256 of a face crop at the verification network's size."""
    height, width = image_m1p1.shape[-2:]
    top, left = (round(side * (1 - _FACE_SHARE) / 2) for side in (height, width))
    return _scaled(image_m1p1[..., top : height - top, left : width - left], FACE_SIZE)


def shape_features(checkpoint: Checkpoint) -> ShapeFeatures:
    """Reads a checkpoint of the kind `SHAPE_ENCODER`."""
    network = ShapeEncoder(ShapeEncoderConfig.model_validate(checkpoint.config))
    network.load_state_dict(dict(checkpoint.tensors))
    return ShapeFeatures(network)


def identity_features(checkpoint: Checkpoint) -> IdentityFeatures:
    """Reads a checkpoint of the kind `VERIFICATION`."""
    network = VerificationNet(VerificationConfig.model_validate(checkpoint.config))
    network.load_state_dict(dict(checkpoint.tensors))
    return IdentityFeatures(network)


FEATURE_READERS: Mapping[str, FeatureReader] = {SHAPE_ENCODER: shape_features, VERIFICATION: identity_features}
"""Both, for `losses.build_features`."""


def _scaled(image: Tensor, side: int) -> Tensor:
    if image.shape[-2:] == (side, side):
        return image
    return F.interpolate(image, (side, side), mode="bilinear", align_corners=False, antialias=True)
