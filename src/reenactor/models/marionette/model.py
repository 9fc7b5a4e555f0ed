"""MarioNETte's generator, and the model around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from reenactor.core import DriverFrame, TargetCode, TargetSet
from reenactor.face.geometry.mesh_flow import MeshFlow
from reenactor.models.contract import (
    Needs,
    PhotoMap,
    PhotoUse,
    ReenactmentModel,
    check_targets,
    mesh_tensor,
    needed_map,
)
from reenactor.models.marionette.blocks import (
    AdaINBlender,
    AttentionBlender,
    Decoder,
    DriverEncoder,
    TargetEncoder,
    mesh_flows,
    mesh_warps,
)
from reenactor.models.marionette.config import MarioNETteConfig
from reenactor.nn import add_spectral_norm

SIZE_STEP = 32


@dataclass(frozen=True)
class MarioNETteCode(TargetCode):
    """A person, encoded. In training, B people at a time.

    Args:
        z_y: the K target feature maps.
        s_hat: pose-normalized feature maps averaged over the K targets, largest first; empty without alignment, and
            with the mesh prior. The mean does not depend on the driver, so it is taken here.
        s: with the mesh prior, the K photos' feature maps as they are, largest first.
        mesh_px: with the mesh prior, the photos' landmarks.
    """

    z_y: Float[Tensor, "b k c h w"]
    s_hat: tuple[Float[Tensor, "b _ _ _"], ...]
    s: tuple[Float[Tensor, "b k _ _ _"], ...] = ()
    mesh_px: Float[Tensor, "b k 478 3"] | None = None


class MarioNETteGenerator(nn.Module):
    """G(r_x; {y_i}, {r_y_i}) (paper B, figure 2).

    Args:
        config: sizes and ablations.
        spectral: normalize the weights of every layer, as in training; False for weights that were already divided
            (`reenactor.nn.fold_spectral_norm`).
    """

    def __init__(self, config: MarioNETteConfig, *, spectral: bool = True) -> None:
        super().__init__()
        self.config = config
        self.driver_encoder = DriverEncoder(config)
        self.target_encoder = TargetEncoder(config)
        self.blender = AttentionBlender(config) if config.blender == "attention" else AdaINBlender(config)
        self.decoder = Decoder(config)
        if spectral:
            add_spectral_norm(self)

    def forward(
        self,
        raster_x: Float[Tensor, "b 3 h w"],
        targets: Float[Tensor, "#b k 3 h w"],
        rasters_y: Float[Tensor, "#b k 3 h w"],
        mesh_x: Float[Tensor, "b 478 3"] | None = None,
        mesh_y: Float[Tensor, "#b k 478 3"] | None = None,
    ) -> Float[Tensor, "b 3 h w"]:
        """The whole generator: `decode(encode(targets, rasters_y, mesh_y), raster_x, mesh_x)`.

        | | shape | paper |
        |---|---|---|
        | raster_x | (B, 3, H, W) in [-1, 1] | r_x |
        | targets, rasters_y | (B or 1, K, 3, H, W) in [-1, 1] | y_i, r_y_i, i = 1..K |
        | mesh_x, mesh_y | (B, 478, 3), (B or 1, K, 478, 3) pixels; for the mesh prior alone | - |
        | result | (B, 3, H, W) in (-1, 1) | x^ |
        """
        return self.decode(self.encode(targets, rasters_y, mesh_y), raster_x, mesh_x)

    def encode(
        self,
        targets: Float[Tensor, "b k 3 h w"],
        rasters: Float[Tensor, "b k 3 h w"],
        mesh_px: Float[Tensor, "b k 478 3"] | None = None,
    ) -> MarioNETteCode:
        """Encode the target photos: E_y of each, and the mean of S^ over them."""
        _check_size(targets)
        axes = targets.shape[:2]
        found = self.target_encoder(targets.flatten(0, 1), rasters.flatten(0, 1))
        z_y = found.z_y.unflatten(0, axes)
        if self.config.mesh_prior:
            if mesh_px is None or targets.shape[-2] != targets.shape[-1]:
                raise ValueError("the mesh prior needs square photos and their landmarks")
            return MarioNETteCode(z_y, (), tuple(s.unflatten(0, axes) for s in found.s), mesh_px)
        return MarioNETteCode(z_y, tuple(s.unflatten(0, axes).mean(dim=1) for s in found.s_hat))

    def decode(
        self,
        code: MarioNETteCode,
        raster_x: Float[Tensor, "b 3 h w"],
        mesh_x: Float[Tensor, "b 478 3"] | None = None,
    ) -> Float[Tensor, "b 3 h w"]:
        """Draw: E_x, blender and decoder. The code of one person serves any number of frames."""
        if not self.config.mesh_prior:
            return self.draw(code, raster_x)
        if mesh_x is None or code.mesh_px is None:
            raise ValueError("the mesh prior needs the landmarks of photos and driver frames")
        return self.draw(code, raster_x, mesh_flows(code.mesh_px, mesh_x, code.s[0].shape[-1], raster_x.device))

    def draw(
        self, code: MarioNETteCode, raster_x: Float[Tensor, "b 3 h w"], mesh: MeshFlow | None = None
    ) -> Float[Tensor, "b 3 h w"]:
        """The network part of `decode`; `mesh` is from `mesh_flows`, for the mesh prior alone."""
        z_xy, _ = self._blend(code, raster_x)
        if mesh is not None:
            return self.decoder(z_xy, mesh_warps(code.s, mesh))
        return self.decoder(z_xy, tuple(s.expand(len(raster_x), -1, -1, -1) for s in code.s_hat))

    def attention_maps(
        self, code: MarioNETteCode, raster_x: Float[Tensor, "b 3 h w"]
    ) -> Float[Tensor, "b n hx wx k hy wy"]:
        """Attention of each position of the driver's map, for each of the blender's n blocks (paper B, figure 7).

        Sums to 1 over the last three axes, that is over all positions of all K targets; the mean over the others is
        how much attention each position of each target gets (figure 7a).
        """
        if self.config.blender != "attention":
            raise ValueError("this network blends with AdaIN: it has no attention to show")
        return torch.stack(self._blend(code, raster_x)[1], dim=1)

    def _blend(self, code: MarioNETteCode, raster_x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        _check_size(raster_x)
        if len(code.z_y) not in (1, len(raster_x)):
            raise ValueError(f"{len(raster_x)} driver frames for the codes of {len(code.z_y)} people: give one each")
        return self.blender(self.driver_encoder(raster_x), code.z_y)


@final
class MarioNETte(ReenactmentModel):
    """MarioNETte (2020): attention and aligned features carry looks to landmarks; weights as after spectral norm."""

    name: ClassVar[str] = "marionette"
    version = "1"
    config_type: ClassVar[type[MarioNETteConfig]] = MarioNETteConfig
    config: MarioNETteConfig

    def __init__(self, config: MarioNETteConfig) -> None:
        super().__init__()
        self.config = config
        self.resolution = config.resolution
        self.needs = Needs(maps=(config.raster,))
        self.photo_uses = (PhotoUse.ATTENDED,) if config.blender == "attention" else ()
        self.generator = MarioNETteGenerator(config, spectral=False)

    def encode_target(self, targets: TargetSet) -> MarioNETteCode:
        """Encode the K photos of one person; see `ReenactmentModel.encode_target`."""
        check_targets(targets)
        rasters = needed_map(targets.maps, self.config.raster, "MarioNETte", "target photos")
        return self.generator.encode(targets.images[None], rasters[None], mesh_tensor(targets.mesh_px, rasters)[None])

    def synthesize(self, code: TargetCode, driver: DriverFrame) -> Float[Tensor, "b 3 h w"]:
        """Draw the frames; see `ReenactmentModel.synthesize`."""
        code, raster = self._given(code, driver)
        return self.generator.decode(code, raster, mesh_tensor(driver.mesh_px, raster))

    def photo_maps(self, code: TargetCode, driver: DriverFrame) -> list[PhotoMap]:
        """The attention that a frame pays; see `ReenactmentModel.photo_maps`."""
        if not self.photo_uses:
            return []
        with torch.no_grad():
            attention = self.generator.attention_maps(*self._given(code, driver))
        weights = attention.mean(dim=(1, 2, 3))[0].cpu().numpy()
        return [PhotoMap(PhotoUse.ATTENDED, weights, float(weights.max()))]

    def _given(self, code: TargetCode, driver: DriverFrame) -> tuple[MarioNETteCode, Tensor]:
        if not isinstance(code, MarioNETteCode):
            raise TypeError(f"MarioNETte draws a MarioNETteCode, got {type(code).__name__}")
        return code, needed_map(driver.maps, self.config.raster, "MarioNETte", "driver frames")


def _check_size(images: Tensor) -> None:
    height, width = images.shape[-2:]
    if height % SIZE_STEP or width % SIZE_STEP:
        raise ValueError(f"pictures must be multiples of {SIZE_STEP} pixels, not {width} x {height}")
