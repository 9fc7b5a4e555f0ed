"""Training of the lids' network: clips label themselves, by the dips of the mesh's openings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict, Field
from scipy.signal import find_peaks
from torch import Tensor, nn

from reenactor.core import FrameBatch
from reenactor.face.geometry.contours import OPENINGS
from reenactor.face.geometry.openings import opening
from reenactor.face.perception.lids import LIDS, LidNetwork, eye_crops
from reenactor.nn.checkpoint import Checkpoint
from reenactor.nn.losses import Objective, Step

_DIP = 0.35
"""A dip loses at least this fraction of the clip's usual opening ..."""
_DIP_S = 0.6
"""... and lasts no longer than this."""
_LEAST_DIPS = 2
"""Clips with fewer dips take the median of the others', or ..."""
_USUAL_SHUT = 0.32
"""... what the mesh leaves of the opening of closed eyes, the median of 135 clips (a tenth of them: over 0.50)."""
_CLOSED_WEIGHT = 6.0
_JITTER = (0.06, 0.06, 0.12, 0.1)
"""Standard deviations of the crops' shift along and across (in eye lengths), turn (radians) and size (logarithm)."""


class LidObjectiveConfig(BaseModel):
    """Network and augmentation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["lids"] = "lids"
    width: int = Field(default=16, ge=4, le=64)
    """Channels of the first layer."""
    noise: float = Field(default=0.1, ge=0)
    """Standard deviation of noise added to crops, whose own is 1."""


@dataclass(frozen=True)
class LidStatistics:
    """Openings of each clip's eyes, right and left, as the mesh measures them.

    Args:
        clips: (C,) rows of the pack, increasing.
        shut: (C, 2) at the bottom of a blink.
        usual: (C, 2) between blinks.
    """

    clips: Int[np.ndarray, " c"]
    shut: Float[np.ndarray, "c 2"]
    usual: Float[np.ndarray, "c 2"]


def eye_openings(meshes: Float[Tensor, "n 478 3"]) -> Float[Tensor, "n 2"]:
    """Openings of the right and the left eye, in inter-ocular distances."""
    return torch.stack([opening(meshes, *edges) for edges in OPENINGS[1:]], -1)


def blinks(openings: Float[np.ndarray, " t"], fps: float) -> tuple[np.ndarray, float]:
    """Frames at the bottom of each short dip of an eye's opening, and the usual opening."""
    usual = float(np.quantile(openings, 0.8))
    lowered = np.pad(usual - openings, 1)
    found, _ = find_peaks(lowered, height=_DIP * usual, prominence=0.8 * _DIP * usual, width=(None, _DIP_S * fps))
    return found - 1, usual


def lid_statistics(clips: Iterable[tuple[int, Float[np.ndarray, "_ 478 3"], float]]) -> LidStatistics:
    """What the dips of each clip say.

    Args:
        clips: row, landmarks of the frames that show the face, frames per second.
    """
    rows, shut, usual = [], [], []
    for row, meshes, fps in clips:
        eyes = eye_openings(torch.from_numpy(meshes)).numpy().T
        dips = [blinks(eye, fps) for eye in eyes]
        rows.append(row)
        usual.append([dip[1] for dip in dips])
        shut.append(
            [np.median(e[d[0]]) if len(d[0]) >= _LEAST_DIPS else np.nan for e, d in zip(eyes, dips, strict=True)]
        )
    ratio = np.array(shut) / np.array(usual)
    known = ratio[np.isfinite(ratio)]
    ratio = np.where(np.isnan(ratio), np.median(known) if len(known) else _USUAL_SHUT, ratio)
    return LidStatistics(np.array(rows), ratio * np.array(usual), np.array(usual))


@final
class LidObjective(Objective[FrameBatch]):
    """Cross entropy with the opening between the clip's closed and usual one.

    Args:
        config: network and augmentation.
        statistics: of the pack's clips.
    """

    clips: Tensor
    shut: Tensor
    usual: Tensor

    def __init__(self, config: LidObjectiveConfig, statistics: LidStatistics) -> None:
        super().__init__()
        self.config = config
        self.network = LidNetwork(config.width)
        for name in ("clips", "shut", "usual"):
            self.register_buffer(name, torch.as_tensor(getattr(statistics, name)), persistent=False)

    @property
    def generator(self) -> nn.Module:
        """The network."""
        return self.network

    def generator_step(self, batch: FrameBatch) -> Step:
        """Cross entropy on crops that are shifted, turned, scaled and noisy at random."""
        jitter = torch.randn(len(batch.images), 2, 4, device=batch.images.device) * batch.images.new_tensor(_JITTER)
        crops = eye_crops(batch.images, batch.mesh_px, jitter)
        crops = crops + self.config.noise * torch.rand(len(crops), 1, 1, 1, device=crops.device) * torch.randn_like(
            crops
        )
        loss = F.binary_cross_entropy_with_logits(self.network(crops).float(), self._targets(batch))
        return Step(loss, {"entropy": loss.detach()})

    @torch.no_grad()
    def measure(self, generator: nn.Module, batch: FrameBatch) -> Mapping[str, Float[Tensor, ""]]:
        """`error`: mean absolute difference from the labels."""
        found = generator(eye_crops(batch.images, batch.mesh_px)).sigmoid()
        return {"error": (found - self._targets(batch)).abs().mean()}

    def checkpoint(self, generator: nn.Module) -> Checkpoint:
        """The checkpoint that `lid_network` reads."""
        return Checkpoint(LIDS, {"width": self.config.width}, generator.state_dict())

    def _targets(self, batch: FrameBatch) -> Float[Tensor, " b2"]:
        index = torch.searchsorted(self.clips, batch.clip).clamp(max=len(self.clips) - 1)
        shut, usual = self.shut[index], self.usual[index]
        return ((eye_openings(batch.mesh_px) - shut) / (usual - shut)).clamp(0, 1).flatten().float()
