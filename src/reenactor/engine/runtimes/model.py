"""A model whose networks run elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from jaxtyping import Float
from pydantic import BaseModel
from torch import Tensor

from reenactor.core import DriverFrame, TargetCode, TargetSet
from reenactor.engine.runtimes.runtimes import Runner
from reenactor.models.contract import ReenactmentModel
from reenactor.models.graphs import ENCODE, ENLARGE, SYNTHESIZE, ExportedCode, GraphAdapter


@dataclass(frozen=True)
class How:
    """What runs an exported model: its runtime's name and its precision's."""

    runtime: str
    precision: str

    def __str__(self) -> str:
        return f"{self.runtime}-{self.precision}"


@final
class ExportedModel(ReenactmentModel):
    """As the contract says; pictures and landmarks are taken and given on the CPU.

    Args:
        adapter: of the model.
        runners: of its graphs, by name.
        version: of the model.
        how: appended to the version, for results differ in the last digits.
    """

    config_type: ClassVar[type[BaseModel]] = BaseModel

    def __init__(self, adapter: GraphAdapter, runners: Mapping[str, Runner], *, version: str, how: How) -> None:
        super().__init__()
        self.name = adapter.name  # pyright: ignore[reportAttributeAccessIssue]
        self.config = adapter.config
        self.needs = adapter.needs
        self.resolution = adapter.resolution
        self.version = f"{version}-{how}"
        self.how = how
        self._adapter = adapter
        self._runners = dict(runners)
        self.eval()

    def encode_target(self, targets: TargetSet) -> ExportedCode:
        """Encode the K photos of one person; see `ReenactmentModel.encode_target`.

        Raises:
            ReenactError: the graphs do not take so many photos, or of that size.
        """
        self._adapter.check(targets)
        given = with_layout(self._adapter.target_inputs(targets))
        kept = self._adapter.code(targets, given, self._runners[ENCODE](given))
        return ExportedCode(with_layout(kept.tensors), kept.geometry, kept.side)

    def synthesize(self, code: TargetCode, driver: DriverFrame) -> Float[Tensor, "b 3 h w"]:
        """Draw the frames, one after the other; see `ReenactmentModel.synthesize`."""
        if not isinstance(code, ExportedCode):
            raise TypeError(f"an exported model draws an ExportedCode, got {type(code).__name__}")
        return torch.cat([self._drawn(code, one) for one in _each(driver)])

    def _drawn(self, code: ExportedCode, driver: DriverFrame) -> Float[Tensor, "1 3 h w"]:
        given = self.frame_inputs(code, driver)
        found = self._runners[SYNTHESIZE](given)
        if ENLARGE in self._runners and code.side != self.resolution:
            found = self._runners[ENLARGE]({**given, **found})
        return found["image"]

    def frame_inputs(self, code: ExportedCode, driver: DriverFrame) -> dict[str, Tensor]:
        """Of `SYNTHESIZE` and `ENLARGE`, for one frame."""
        return with_layout(self._adapter.frame_inputs(code, driver)) | dict(code.tensors)


def _each(driver: DriverFrame) -> list[DriverFrame]:
    if len(driver.mesh_px) == 1:
        return [driver]
    return [
        DriverFrame(driver.mesh_px[i : i + 1], {kind: one[i : i + 1] for kind, one in driver.maps.items()})
        for i in range(len(driver.mesh_px))
    ]


def with_layout(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """As runners take them: float32, contiguous, on the CPU."""
    return {name: one.detach().to("cpu", torch.float32).contiguous() for name, one in tensors.items()}
