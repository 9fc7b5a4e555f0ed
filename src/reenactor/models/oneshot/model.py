"""Paper A's generator, and the model around it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

from jaxtyping import Float
from torch import Tensor, nn

from reenactor.core import DriverFrame, MapKind, TargetCode, TargetSet
from reenactor.models.contract import ReenactmentModel, check_targets, needed_map
from reenactor.models.oneshot.blocks import AppearanceDecoder, AppearanceEncoder, SemanticDecoder
from reenactor.models.oneshot.classical import WarpedPhoto, warped_m1p1, warped_photo
from reenactor.models.oneshot.config import OneShotConfig
from reenactor.models.oneshot.fusion import FusionNet, fused, handmade_fusion

SIZE_STEP = 32
GAZE = 3
"""Channel of the parsing map."""


@dataclass(frozen=True)
class Appearance:
    """F's results for the K photos of each of B people.

    Args:
        z: the code, mean over the photos, (B, 1024, 1, 1) in the paper.
        maps: the appearance decoder's, mean over the photos, smallest first.
        reconstructions: the photos as F draws them again, in (-1, 1).
    """

    z: Float[Tensor, "b c 1 1"]
    maps: tuple[Float[Tensor, "b _ _ _"], ...]
    reconstructions: Float[Tensor, "b k 3 h w"]


@dataclass(frozen=True)
class Drawn:
    """The generator's results.

    Args:
        image: the result, in [-1, 1].
        face: the decoder's own picture, before fusion.
        mask: the warped photo's weight of each pixel; None without FusionNet.
        reconstructions: (B, K, 3, H, W) the target photos from their codes.
    """

    image: Float[Tensor, "b 3 h w"]
    face: Float[Tensor, "b 3 h w"]
    mask: Float[Tensor, "b 1 h w"] | None
    reconstructions: Float[Tensor, "b k 3 h w"]


@dataclass(frozen=True)
class OneShotCode(TargetCode):
    """A person, encoded.

    Args:
        z: the code of the looks, (1, 1024, 1, 1) in the paper, mean over the K photos.
        maps: the appearance decoder's at 1/16 to 1/2 of the picture's size, smallest first, mean over the K photos.
        photo: the first photo, for fusion; None where there is no fusion.
    """

    z: Float[Tensor, "1 c 1 1"]
    maps: tuple[Float[Tensor, "1 _ _ _"], ...]
    photo: WarpedPhoto | None


class OneShotGenerator(nn.Module):
    """Appearance auto-encoder F, semantically adaptive decoder D and FusionNet (paper A, figures 3 and 4)."""

    def __init__(self, config: OneShotConfig) -> None:
        super().__init__()
        self.config = config
        self.appearance_encoder = AppearanceEncoder(config)
        self.appearance_decoder = AppearanceDecoder(config)
        self.decoder = SemanticDecoder(config)
        self.fusion = FusionNet(config) if config.fusion == "learned" else None

    def forward(
        self,
        targets: Float[Tensor, "b k 3 h w"],
        parsing: Float[Tensor, "b 9 h w"],
        warped: Float[Tensor, "b 8 h w"] | None = None,
    ) -> Drawn:
        """The whole generator, for training: `fuse(decode(encode(targets), parsing), warped, parsing)`.

        | | shape |
        |---|---|
        | targets | (B, K, 3, H, W) in [-1, 1] |
        | parsing | (B, 9, H, W) in [0, 1], of the target landmarks |
        | warped | (B, 8, H, W), the first photos at these landmarks (`warped_m1p1`); not without fusion |
        """
        found = self.encode(targets)
        face = self.decode(found.z, found.maps, parsing)
        image, mask = self.fuse(face, warped, parsing)
        return Drawn(image, face, mask, found.reconstructions)

    def encode(self, targets: Float[Tensor, "b k 3 h w"]) -> Appearance:
        """Encode the target photos: F of each, and means over them."""
        _check_size(targets)
        batch, k = targets.shape[:2]
        codes = self.appearance_encoder(targets.flatten(0, 1))
        maps, pictures = self.appearance_decoder(codes, (targets.shape[-2], targets.shape[-1]))

        def mean(each: Tensor) -> Tensor:
            return each.unflatten(0, (batch, k)).mean(dim=1)

        return Appearance(mean(codes), tuple(mean(one) for one in maps), pictures.unflatten(0, (batch, k)))

    def decode(
        self,
        z: Float[Tensor, "#b c 1 1"],
        maps: tuple[Float[Tensor, "#b _ _ _"], ...],
        parsing: Float[Tensor, "b 9 h w"],
    ) -> Float[Tensor, "b 3 h w"]:
        """D: the face of one person, or of B, where the parsing maps say."""
        _check_size(parsing)
        batch = len(parsing)
        if tuple(parsing.shape[-2:]) != tuple(2 * side for side in maps[-1].shape[-2:]):
            raise ValueError("parsing maps must have the size of the target photos")
        return self.decoder(z.expand(batch, -1, -1, -1), tuple(one.expand(batch, -1, -1, -1) for one in maps), parsing)

    def fuse(
        self, face: Float[Tensor, "b 3 h w"], warped: Float[Tensor, "b 8 h w"] | None, parsing: Float[Tensor, "b 9 h w"]
    ) -> tuple[Float[Tensor, "b 3 h w"], Float[Tensor, "b 1 h w"] | None]:
        """The result, and FusionNet's mask where there is one."""
        if self.config.fusion == "none":
            return face, None
        if warped is None:
            raise ValueError("fusion needs the warped photo")
        if self.fusion is None:
            return handmade_fusion(face, warped[:, :3], parsing, self.config), None
        found = fused(self.fusion, face, warped, parsing)
        return found.image, found.mask


@final
class OneShot(ReenactmentModel):
    """One-shot Face Reenactment (2019): an appearance code drawn through a parsing map, fused with the warp.

    The photos' parsing maps serve fusion alone: they say where the first photo shows its irises.
    """

    name: ClassVar[str] = "oneshot"
    version = "1"
    config_type: ClassVar[type[OneShotConfig]] = OneShotConfig
    config: OneShotConfig

    def __init__(self, config: OneShotConfig) -> None:
        super().__init__()
        self.config = config
        self.resolution, self.needs = config.resolution, config.needs
        self.generator = OneShotGenerator(config)

    def encode_target(self, targets: TargetSet) -> OneShotCode:
        """Encode the K photos of one person; see `ReenactmentModel.encode_target`."""
        check_targets(targets)
        images = targets.images
        found = self.generator.encode(images[None])
        photo = None
        if self.config.fusion != "none":
            photo = warped_photo(images[0], targets.mesh_px[0], _parsing(targets.maps, "target photos")[0, GAZE])
        return OneShotCode(found.z, found.maps, photo)

    def synthesize(self, code: TargetCode, driver: DriverFrame) -> Float[Tensor, "b 3 h w"]:
        """Draw the frames; see `ReenactmentModel.synthesize`."""
        if not isinstance(code, OneShotCode):
            raise TypeError(f"one-shot reenactment draws an OneShotCode, got {type(code).__name__}")
        parsing = _parsing(driver.maps, "driver frames").to(code.z)
        face = self.generator.decode(code.z, code.maps, parsing)
        warped = None
        if code.photo is not None:
            warped = warped_m1p1(code.photo, driver.mesh_px, parsing[:, GAZE])
        return self.generator.fuse(face, warped, parsing)[0]


def _parsing(maps: Mapping[MapKind, Tensor], owner: str) -> Float[Tensor, "b 9 h w"]:
    return needed_map(maps, MapKind.PARSING, "one-shot reenactment", owner)


def _check_size(images: Tensor) -> None:
    height, width = images.shape[-2:]
    # Instance normalization of a map of one pixel, a 32nd of the picture, would leave nothing.
    if height % SIZE_STEP or width % SIZE_STEP or min(height, width) < 2 * SIZE_STEP:
        raise ValueError(f"pictures must be multiples of {SIZE_STEP} pixels, 64 at least, not {width} x {height}")
