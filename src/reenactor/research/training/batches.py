"""What a loader gives -> what an objective takes: on the device, as floats, with the maps that it asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from reenactor.core import FrameBatch, PairBatch
from reenactor.face.maps import draw_maps
from reenactor.nn.losses import MapsNeeded
from reenactor.research.data.streams import pictures_m1p1


class Batches:
    """Makes batches of one kind.

    Args:
        maps: what the objective needs drawn.
        people: identities by number.
        device: where to.
        channels_last: memory layout of single pictures.
    """

    def __init__(
        self, maps: MapsNeeded, people: Sequence[str], device: torch.device, *, channels_last: bool = False
    ) -> None:
        self._maps, self._device = maps, device
        self._number = {name: number for number, name in enumerate(people)}
        self._format = torch.channels_last if channels_last else torch.contiguous_format

    def pairs(self, raw: Mapping[str, Any]) -> PairBatch:
        """From `data.PairStream`'s tensors."""
        there = self._moved(raw)
        size = there["truth"].shape[-1]
        return PairBatch(
            targets=pictures_m1p1(there["targets"]),
            target_mesh=there["target_mesh"],
            target_maps=draw_maps(self._maps.targets, there["target_mesh"], size),
            truth=pictures_m1p1(there["truth"]).contiguous(memory_format=self._format),
            driver_mesh=there["driver_mesh"],
            driver_maps=draw_maps(self._maps.driver, there["driver_mesh"], size),
            mask=there["mask"].float() / 255,
            identity=self._numbers(raw["identity"]),
            follows=there["follows"],
        )

    def frames(self, raw: Mapping[str, Any]) -> FrameBatch:
        """From `data.FrameStream`'s tensors."""
        there = self._moved(raw)
        return FrameBatch(
            images=pictures_m1p1(there["image"]).contiguous(memory_format=self._format),
            mesh_px=there["mesh_px"],
            identity=self._numbers(raw["identity"]),
            clip=there["clip"],
        )

    def _moved(self, raw: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        return {
            name: value.to(self._device, non_blocking=True)
            for name, value in raw.items()
            if isinstance(value, torch.Tensor)
        }

    def _numbers(self, names: Sequence[str]) -> torch.Tensor:
        # People of another split follow after those that are learned.
        return torch.tensor([self._number.setdefault(name, len(self._number)) for name in names], device=self._device)
