"""Training of the network that sees covered mouths and glasses: covers are painted onto faces, glasses are labelled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal, final

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from reenactor.core import FrameBatch
from reenactor.face.geometry.contours import OUTER_LIPS
from reenactor.face.perception.cover_painting import Mesh, Picture, damaged, hidden, painted
from reenactor.face.perception.covers import COVERS, CoverNetwork
from reenactor.face.perception.landmarks import PATCH_PX, Region, cut_patch, in_patch
from reenactor.nn.checkpoint import Checkpoint
from reenactor.nn.losses import Objective, Step

_MOST_SEEN, _LEAST_HIDDEN = 0.15, 0.7
"""Fractions of the lips that may be covered of an open mouth, and that must be of a covered one."""
_MOST_EYES = 0.05
"""Fraction of the eyes' band that covers may hide where glasses count."""
_EYES = (70, 300, 346, 117)
"""Corners of the eyes' band."""


class CoverObjectiveConfig(BaseModel):
    """Network and painting."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["covers"] = "covers"
    width: int = Field(default=8, ge=4, le=32)
    """Channels of the first layer."""
    glasses: Path | None = None
    """Table of portraits with glasses: columns source (as in the pack), glasses (1, or -1 where it is not certain)."""
    painted: float = Field(default=0.7, ge=0, le=1)
    """Fraction of faces that something is painted onto, over the mouth or beside it."""


@final
class CoverObjective(Objective[FrameBatch]):
    """Cross entropy of both answers.

    Args:
        config: network and painting.
        glasses: for each row of the pack 1 (glasses), 0 (none) or -1 (not known).
    """

    glasses: Tensor

    def __init__(self, config: CoverObjectiveConfig, glasses: Int[np.ndarray, " rows"]) -> None:
        super().__init__()
        self.config = config
        self.network = CoverNetwork(config.width)
        self.register_buffer("glasses", torch.as_tensor(glasses), persistent=False)

    @property
    def generator(self) -> nn.Module:
        """The network."""
        return self.network

    def generator_step(self, batch: FrameBatch) -> Step:
        """Cross entropy on faces that are painted, turned, shifted, scaled and damaged at random."""
        rng = np.random.default_rng(int(torch.randint(2**31, ())))
        logits, wanted, known = self._read(self.network, batch, rng)
        each = F.binary_cross_entropy_with_logits(logits.float(), wanted, reduction="none")
        mouth, glasses = (each * known).sum(0) / known.sum(0).clamp_min(1)
        return Step(mouth + glasses, {"mouth": mouth.detach(), "glasses": glasses.detach()})

    @torch.no_grad()
    def measure(self, generator: nn.Module, batch: FrameBatch) -> Mapping[str, Float[Tensor, ""]]:
        """`mouth_wrong`, `glasses_wrong`: fractions of faces read wrongly, painted on as in training."""
        logits, wanted, known = self._read(generator, batch, np.random.default_rng(0))
        wrong = (((logits > 0) != (wanted > 0.5)) * known).sum(0) / known.sum(0).clamp_min(1)
        return {"mouth_wrong": wrong[0], "glasses_wrong": wrong[1]}

    def checkpoint(self, generator: nn.Module) -> Checkpoint:
        """The checkpoint that `cover_network` reads."""
        return Checkpoint(COVERS, {"width": self.config.width}, generator.state_dict())

    def _read(
        self, network: nn.Module, batch: FrameBatch, rng: np.random.Generator
    ) -> tuple[Float[Tensor, "b 2"], Float[Tensor, "b 2"], Float[Tensor, "b 2"]]:
        """Logits, labels, and 1 where a label is known."""
        pictures = ((batch.images + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
        meshes = batch.mesh_px.cpu().numpy()
        cut = [_patch(picture, mesh, rng) for picture, mesh in zip(pictures, meshes, strict=True)]
        labels = self.glasses[batch.clip].tolist()
        patches, wanted = [], np.zeros((len(cut), 2), np.float32)
        known = np.ones_like(wanted)
        for i, (patch, mesh) in enumerate(cut):
            image = patch
            wanted[i, 1], known[i, 1] = labels[i] > 0, labels[i] >= 0
            if rng.random() < self.config.painted:
                donor = cut[(i + int(rng.integers(len(cut)))) % len(cut)]
                image, alpha = painted(patch, mesh, donor, rng)
                lips = hidden(alpha, mesh, OUTER_LIPS)
                wanted[i, 0] = lips > 0.5
                known[i, 0] = not _MOST_SEEN < lips < _LEAST_HIDDEN
                known[i, 1] *= hidden(alpha, mesh, _EYES) < _MOST_EYES
            patches.append(damaged(image, rng))
        device = batch.images.device
        images = torch.from_numpy(np.stack(patches)).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
        return network(images), torch.from_numpy(wanted).to(device), torch.from_numpy(known).to(device)


def _patch(picture: UInt8[np.ndarray, "s s 3"], mesh: Mesh, rng: np.random.Generator) -> tuple[Picture, Mesh]:
    """The face as the mesh network sees it, from a region that is a little off; mirrored half the time."""
    region = Region.of_mesh(mesh)
    dx, dy, turn, size = rng.normal(0, 1, 4) * [0.02, 0.02, 4, 0.05]
    region = replace(
        region,
        x=region.x + dx * region.side_px,
        y=region.y + dy * region.side_px,
        side_px=region.side_px * float(np.exp(size)),
        angle_deg=region.angle_deg + turn,
    )
    patch, points = cut_patch(picture, region), in_patch(mesh, region)
    if rng.random() < 0.5:
        # Contours stay contours, and all painting is symmetric.
        patch = np.ascontiguousarray(patch[:, ::-1])
        points[:, 0] = PATCH_PX - 1 - points[:, 0]
    return patch, points
