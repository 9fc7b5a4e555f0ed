"""Fusion of the drawn face with the classical warp of the photo (paper A, section 3.2), learned and hand-made."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from reenactor.face.geometry.mesh_flow import FLAGS
from reenactor.models.oneshot.blocks import PARSING_WIDTH
from reenactor.models.oneshot.classical import WARPED_WIDTH
from reenactor.models.oneshot.config import OneShotConfig
from reenactor.nn import conv3x3

_FACE, _GAZE = 0, 3
_DRAWN_PARTS = slice(2, PARSING_WIDTH)
"""Eyes, gaze, nose, lips, teeth: all parts but the face itself and the brows."""
_UNSURE = [3 + FLAGS.index(name) for name in ("occluded", "stretched")]
"""Channels of the warp: what it shows that may be no skin."""


def blend(
    mask: Float[Tensor, "b 1 h w"], warped: Float[Tensor, "b 3 h w"], drawn: Float[Tensor, "b 3 h w"]
) -> Float[Tensor, "b 3 h w"]:
    """`mask * warped + (1 - mask) * drawn`."""
    return drawn + mask * (warped - drawn)


def drawn_parts(parsing: Float[Tensor, "b 9 h w"]) -> Float[Tensor, "b 1 h w"]:
    """Mask of eyes, nose and mouth, in [0, 1]: what is drawn better than warped."""
    return parsing[:, _DRAWN_PARTS].amax(dim=1, keepdim=True)


class FusionNet(nn.Module):
    """A small U-Net that predicts the warped photo's weight of each pixel."""

    def __init__(self, config: OneShotConfig) -> None:
        super().__init__()
        self.config, width = config, config.fusion_width

        def down(channels_in: int, channels_out: int) -> nn.Sequential:
            conv = nn.Conv2d(channels_in, channels_out, 4, stride=2, padding=1)
            return nn.Sequential(conv, nn.GroupNorm(4, channels_out), nn.LeakyReLU(0.2))

        def mix(channels_in: int, channels_out: int) -> nn.Sequential:
            return nn.Sequential(conv3x3(channels_in, channels_out), nn.GroupNorm(4, channels_out), nn.LeakyReLU(0.2))

        self.down1 = down(3 + WARPED_WIDTH + PARSING_WIDTH, width)
        self.down2 = down(width, 2 * width)
        self.down3 = down(2 * width, 2 * width)
        self.mix2 = mix(4 * width, width)
        self.mix1 = mix(2 * width, width)
        self.logit = conv3x3(width, 1)
        # A fresh network leaves the first mask as it is.
        nn.init.zeros_(self.logit.weight)
        assert self.logit.bias is not None
        nn.init.zeros_(self.logit.bias)

    def forward(
        self,
        drawn: Float[Tensor, "b 3 h w"],
        warped: Float[Tensor, "b 8 h w"],
        parsing: Float[Tensor, "b 9 h w"],
    ) -> Float[Tensor, "b 1 h w"]:
        """The logit of the warped photo's weight of each pixel; made at half the pictures' size and enlarged.

        | | shape |
        |---|---|
        | drawn | (B, 3, H, W) in [-1, 1], the decoder's result, `toned` |
        | warped | (B, 8, H, W), the photo at the same landmarks and flags, `warped_m1p1` |
        | parsing | (B, 9, H, W) in [0, 1], of the same landmarks |
        | result | (B, 1, H, W), for `mask_of` |
        """
        half = self.down1(torch.cat([drawn, warped, parsing], dim=1))
        quarter = self.down2(half)
        eighth = self.down3(quarter)
        quarter = self.mix2(torch.cat([_doubled(eighth), quarter], dim=1))
        half = self.mix1(torch.cat([_doubled(quarter), half], dim=1))
        change = F.interpolate(self.logit(half), scale_factor=2.0, mode="bilinear", align_corners=False)
        return change + self.config.fusion_first_logit * (1 - 2 * drawn_parts(parsing))


def mask_of(logit: Float[Tensor, "b 1 h w"], least: float) -> Float[Tensor, "b 1 h w"]:
    """The mask, in [least, 1 - least]."""
    return least + (1 - 2 * least) * torch.sigmoid(logit)


def toned(
    drawn: Float[Tensor, "b 3 h w"],
    warped: Float[Tensor, "b 8 h w"],
    parsing: Float[Tensor, "b 9 h w"],
    config: OneShotConfig,
) -> Float[Tensor, "b 3 h w"]:
    """The drawn face in the photo's tones: corrected by the mean difference on nearby skin that the warp shows well.

    The decoder draws an unknown person with somebody else's skin. Without trusted skin nearby, the correction is the
    whole face's.
    """
    step, least = config.tone_step, config.tone_least
    unsure = warped[:, _UNSURE].amax(dim=1, keepdim=True)
    trust = (parsing[:, _FACE : _FACE + 1] - drawn_parts(parsing)).clamp_min(0) * (1 - unsure).square()
    found = F.avg_pool2d(torch.cat([trust * (warped[:, :3] - drawn), trust], dim=1), step)
    change, weight = found.split([3, 1], dim=1)
    mean = change.sum(dim=(2, 3), keepdim=True) / (weight.sum(dim=(2, 3), keepdim=True) + least)
    for _ in range(2):
        found = F.avg_pool2d(found, 3, stride=1, padding=1)
    change, weight = found.split([3, 1], dim=1)
    change = (change + least * mean) / (weight + least)
    change = F.interpolate(change, scale_factor=float(step), mode="bilinear", align_corners=False)
    return (drawn + change).clamp(-1, 1)


class Fused(NamedTuple):
    """A result and its parts."""

    drawn: Float[Tensor, "b 3 h w"]
    """The decoder's picture, `toned`."""
    logit: Float[Tensor, "b 1 h w"]
    mask: Float[Tensor, "b 1 h w"]
    image: Float[Tensor, "b 3 h w"]


def fused(
    network: FusionNet,
    face: Float[Tensor, "b 3 h w"],
    warped: Float[Tensor, "b 8 h w"],
    parsing: Float[Tensor, "b 9 h w"],
) -> Fused:
    """Correct the tones, predict the mask, blend.

    Args:
        network: FusionNet.
        face: what the decoder drew.
        warped: of `warped_m1p1`.
        parsing: of the same landmarks.
    """
    drawn = toned(face, warped, parsing, network.config)
    logit = network(drawn, warped, parsing)
    mask = mask_of(logit, network.config.fusion_least)
    return Fused(drawn, logit, mask, blend(mask, warped[:, :3], drawn))


def handmade_fusion(
    drawn: Float[Tensor, "b 3 h w"],
    warped: Float[Tensor, "b 3 h w"],
    parsing: Float[Tensor, "b 9 h w"],
    config: OneShotConfig,
) -> Float[Tensor, "b 3 h w"]:
    """The blend of the authors' released code: skin, then irises, are 0.9 warped and 0.1 drawn; the rest is drawn.

    Skin is the face without its parts (brows count as skin), eroded, blurred, and multiplied with the same mask of the
    warped photo; here that one is equal, for the warp moves all landmarks to their targets.

    Args:
        drawn: in [-1, 1], the decoder's result.
        warped: in [-1, 1], the photo at the same landmarks.
        parsing: in [0, 1], of the same landmarks.
        config: weight and sizes of the masks.
    """
    scale = min(parsing.shape[-2:]) / 256
    skin = (parsing[:, _FACE : _FACE + 1] - drawn_parts(parsing)).clamp_min(0)
    skin = eroded_and_blurred(skin, _odd(config.handmade_skin_px * scale)).square()
    irises = eroded_and_blurred(parsing[:, _GAZE : _GAZE + 1], _odd(config.handmade_iris_px * scale))
    weight = config.handmade_weight
    return blend(weight * irises, warped, blend(weight * skin, warped, drawn))


def eroded_and_blurred(mask: Float[Tensor, "b 1 h w"], side: int) -> Float[Tensor, "b 1 h w"]:
    """The smallest value in a square around each pixel, blurred by a Gaussian of the same width.

    Args:
        mask: any values.
        side: of the square, odd; the Gaussian's deviation is its root, as in the authors' code.
    """
    half = side // 2
    eroded = -F.max_pool2d(-mask, side, stride=1, padding=half)
    offset = torch.arange(-half, half + 1, device=mask.device, dtype=mask.dtype)
    bell = torch.exp(-offset.square() / (2 * math.sqrt(side) ** 2))
    bell = (bell / bell.sum())[None, None, None]
    padded = F.pad(eroded, (half, half, half, half), mode="reflect")
    return F.conv2d(F.conv2d(padded, bell), bell.mT)


def _odd(width: float) -> int:
    """The nearest odd number, 1 at least."""
    return 2 * max(round((width - 1) / 2), 0) + 1


def _doubled(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h2 w2"]:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")
