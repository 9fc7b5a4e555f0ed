"""Training of FusionNet, on top of trained F and D, which stay fixed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, final

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from reenactor.core import MapKind, PairBatch
from reenactor.models.contract import ANY, ModelConfig
from reenactor.models.oneshot.augment import with_occluded_cheek
from reenactor.models.oneshot.classical import warped_photos_m1p1
from reenactor.models.oneshot.fusion import FusionNet, fused
from reenactor.models.oneshot.model import GAZE
from reenactor.models.oneshot.objective import model_checkpoint, trained_generator
from reenactor.nn.checkpoint import Checkpoint
from reenactor.nn.losses import MapsNeeded, Objective, Step, masked_psnr, psnr_of_each

_OCCLUDED_CHEEK = {"begins": (0.5, 0.9), "beyond": (0.0, 0.3), "squeezed": (0.05, 0.3)}
"""Ranges from which the arguments of `with_occluded_cheek` are drawn."""
_MOST_MIXED = 0.7
"""Largest weight of another person in an identity mix."""
_WINDOW = 5
"""Side of the squares over which one best weight of the warp is found, pixels."""
_OUTSIDE_WEIGHT = 0.25
"""Weight of a pixel outside the face in the supervised loss; inside, this and 1."""
_LEAST_ERROR = 1e-4
"""Mean squared error of the better input below which all pictures have the same weight: 46 dB."""


class FusionObjectiveConfig(ModelConfig):
    """Ours: the paper only says that a mask is learned."""

    removed: ClassVar[dict[str, Any]] = {"pixel": 0, "perceptual": 0, "features": ANY, "parts": ANY}
    renamed: ClassVar[dict[str, str]] = {"told": "supervised", "strangers": "identity_mix", "hidden": "occluded"}

    kind: Literal["oneshot-fusion"] = "oneshot-fusion"
    decoder: Path
    """Folder of the trained model that gets a FusionNet; one that it has already is replaced."""
    supervised: float = Field(default=1, gt=0)
    """Cross entropy of the mask with the warp's weight that would have been best; see `supervised_loss`."""
    smooth: float = Field(default=0.3, ge=0)
    """Total variation of the mask, against needless seams."""
    guard: float = Field(default=12, ge=0)
    """Decibels by which the picture, and its face alone, lie below the better of the two it is made from."""
    identity_mix: float = Field(default=0.5, ge=0, le=1)
    """Chance of a pair's face being drawn from a mix with the next pair's photos. The decoder knows the people that it
    has learned from; what it draws of others is less like them."""
    occluded: float = Field(default=0.2, ge=0, le=1)
    """Chance of a pair's photo being warped as if a cheek were occluded: hair and background are stretched over it, as
    few photos of the training set show."""


@final
class FusionObjective(Objective[PairBatch]):
    """FusionNet alone, on what the frozen decoder draws and the warped photo.

    It needs true pictures that are no warps: pairs of clips, or photos alone, of which a warp to another pose is the
    target and the photo itself the truth (warp-back pairs). The truth of a contour pair is itself a warp of the photo,
    and would teach to take the warp everywhere.

    Args:
        config: the decoder and the weights.
    """

    maps = MapsNeeded(targets=(MapKind.PARSING,), driver=(MapKind.PARSING,))

    def __init__(self, config: FusionObjectiveConfig) -> None:
        super().__init__()
        self.config = config
        decoder = trained_generator(config.decoder).eval()
        self.alignment = decoder.config.alignment
        self.N = FusionNet(decoder.config)
        # In a tuple: what stays fixed is no part of a training checkpoint.
        self._decoder = (decoder,)

    @property
    def generator(self) -> nn.Module:
        """FusionNet."""
        return self.N

    def generator_step(self, batch: PairBatch) -> Step:
        """`L_supervised + 0.3 L_smooth + 12 L_guard`, with the config's weights."""
        face, warped = self._inputs(batch, identity_mix=self.config.identity_mix, occluded=self.config.occluded)
        parsing = batch.driver_maps[MapKind.PARSING]
        found, picture = fused(self.N, face, warped, parsing), warped[:, :3]
        parts = {
            "supervised": supervised_loss(found.logit, picture, found.drawn, batch.truth, batch.mask, parsing[:, :1]),
            "smooth": total_variation(found.mask),
            "guard": self._lost(found.image, (face, picture), batch).sum(),
        }
        return Step.weighted(parts, dict(self.config), found.image.detach())

    @torch.no_grad()
    def pictures(self, generator: nn.Module, batch: PairBatch) -> Float[Tensor, "b 3 h w_all"]:
        """A row a pair: the first target photo, its warp, D's picture, the mask (white: warp), result, truth."""
        face, warped, mask, image = self._fused(generator, batch)
        row = [batch.targets[:, 0], warped, face, (2 * mask - 1).expand_as(face), image, batch.truth]
        return torch.cat([picture.to(batch.truth.dtype) for picture in row], dim=3)

    @torch.no_grad()
    def measure(self, generator: nn.Module, batch: PairBatch) -> Mapping[str, Float[Tensor, ""]]:
        """`psnr`, and that of the decoder's picture and of the warp alone, dB; the warp's mean weight.

        `lost`, `face_lost`: `lost_db` of the picture and of the face.
        """
        face, warped, mask, image = self._fused(generator, batch)
        pictures = {"psnr": image, "decoder_psnr": face, "warp_psnr": warped}
        measured = {name: masked_psnr(picture, batch.truth, batch.mask) for name, picture in pictures.items()}
        lost, face_lost = self._lost(image, (face, warped), batch)
        return measured | {"lost": lost, "face_lost": face_lost, "warped_share": mask.float().mean()}

    def checkpoint(self, generator: nn.Module) -> Checkpoint:
        """The checkpoint that `OneShot` loads: the decoder as it was, with this FusionNet."""
        (decoder,) = self._decoder
        tensors = decoder.state_dict() | {f"fusion.{name}": tensor for name, tensor in generator.state_dict().items()}
        return model_checkpoint(decoder.config.model_copy(update={"fusion": "learned"}), tensors)

    @staticmethod
    def _lost(image: Tensor, inputs: tuple[Tensor, ...], batch: PairBatch) -> Float[Tensor, "2"]:
        """`lost_db` of the picture and of the face."""
        regions = batch.mask, batch.mask * batch.driver_maps[MapKind.PARSING][:, :1]
        return torch.stack([lost_db(image, inputs, batch.truth, region) for region in regions])

    def _fused(self, generator: nn.Module, batch: PairBatch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """D's picture, the warp's, the mask, the result."""
        face, warped = self._inputs(batch)
        assert isinstance(generator, FusionNet)
        found = fused(generator, face, warped, batch.driver_maps[MapKind.PARSING])
        return face, warped[:, :3], found.mask, found.image

    @torch.no_grad()
    def _inputs(
        self, batch: PairBatch, *, identity_mix: float = 0, occluded: float = 0
    ) -> tuple[Float[Tensor, "b 3 h w"], Float[Tensor, "b 8 h w"]]:
        """D's pictures, and the first photos warped to the target landmarks, with flags."""
        (decoder,) = self._decoder
        decoder.to(batch.truth.device)
        parsing = batch.driver_maps[MapKind.PARSING]
        found = decoder.encode(batch.targets)
        z, maps = found.z, found.maps
        if identity_mix:
            weight = torch.rand(len(z), 1, 1, 1) * _MOST_MIXED * (torch.rand(len(z), 1, 1, 1) < identity_mix)
            z, *maps = (torch.lerp(one, one.roll(1, 0), weight.to(one)) for one in (z, *maps))
        photo_mesh = batch.target_mesh[:, 0]
        if occluded:
            photo_mesh = some_cheeks_occluded(photo_mesh, occluded)
        photo_gaze = batch.target_maps[MapKind.PARSING][:, 0, GAZE]
        warped = warped_photos_m1p1(batch.targets[:, 0], photo_mesh, photo_gaze, batch.driver_mesh, parsing[:, GAZE])
        return decoder.decode(z, tuple(maps), parsing), warped


def some_cheeks_occluded(mesh_px: Float[Tensor, "b 478 3"], chance: float) -> Float[Tensor, "b 478 3"]:
    """`with_occluded_cheek` of each with this probability, as PyTorch's random numbers have it."""
    changed = []
    for mesh in mesh_px.cpu().numpy():
        if float(torch.rand(())) < chance:
            side, *fractions = torch.rand(1 + len(_OCCLUDED_CHEEK)).tolist()
            drawn = zip(_OCCLUDED_CHEEK.items(), fractions, strict=True)
            how = {name: low + fraction * (high - low) for (name, (low, high)), fraction in drawn}
            mesh = with_occluded_cheek(mesh, left=side < 0.5, **how)  # noqa: PLW2901
        changed.append(mesh)
    return torch.from_numpy(np.stack(changed)).to(mesh_px)


def supervised_loss(
    logit: Float[Tensor, "b 1 h w"],
    warped: Float[Tensor, "b 3 h w"],
    drawn: Float[Tensor, "b 3 h w"],
    truth: Float[Tensor, "b 3 h w"],
    mask: Float[Tensor, "b 1 h w"],
    face: Float[Tensor, "b 1 h w"],
) -> Float[Tensor, ""]:
    """Cross entropy with the warp's weight whose blend has the least squared error around each pixel.

    Pixels count by the squared difference of the two pictures, relative to the error of the better one. Trained by the
    result's error alone, the mask takes the warp everywhere in the first minutes, as most of it is right, and a sigmoid
    that has closed does not open.
    """

    def around(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, _WINDOW, stride=1, padding=_WINDOW // 2, count_include_pad=False)

    def error(x: Tensor) -> Tensor:
        return ((x - truth).square().sum(dim=1, keepdim=True) * mask).mean(dim=(1, 2, 3), keepdim=True)

    logit, difference = logit.float(), warped - drawn
    squares = around(difference.square().sum(dim=1, keepdim=True))
    gain = around(((truth - drawn) * difference).sum(dim=1, keepdim=True))
    target = (gain / squares.clamp_min(1e-6)).clamp(0, 1)
    stake = torch.minimum(error(warped), error(drawn)).clamp_min(_LEAST_ERROR)
    weights = squares / stake * mask * (_OUTSIDE_WEIGHT + face) / 20
    return (weights * F.binary_cross_entropy_with_logits(logit, target, reduction="none")).mean()


def lost_db(
    fused: Float[Tensor, "b 3 h w"],
    inputs: tuple[Float[Tensor, "b 3 h w"], ...],
    truth: Float[Tensor, "b 3 h w"],
    mask: Float[Tensor, "b 1 h w"],
) -> Float[Tensor, ""]:
    """How far each picture's masked PSNR lies below its best input's, 0 where it does not; the mean, dB."""
    best = torch.stack([psnr_of_each(picture, truth, mask) for picture in inputs]).amax(0)
    return (best - psnr_of_each(fused, truth, mask)).clamp_min(0).mean()


def total_variation(mask: Float[Tensor, "b 1 h w"]) -> Float[Tensor, ""]:
    """Mean difference of neighbours, across and down."""
    mask = mask.to(torch.promote_types(mask.dtype, torch.float32))
    return mask.diff(dim=-1).abs().mean() + mask.diff(dim=-2).abs().mean()
