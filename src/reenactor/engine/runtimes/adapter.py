"""What of a model is in its graphs, and what stays outside: pictures and landmarks become the graphs' inputs here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel
from torch import Tensor

from reenactor.core import DriverFrame, ReenactError, TargetCode, TargetSet
from reenactor.engine.runtimes.graph import MAX_PHOTOS, Graph
from reenactor.models.contract import Needs, ReenactmentModel

M = TypeVar("M", bound=ReenactmentModel)

ENCODE, SYNTHESIZE = "encode_target", "synthesize"


@dataclass(frozen=True)
class ExportedCode(TargetCode):
    """A person, encoded.

    Args:
        tensors: inputs of `synthesize` that stay the same for all frames.
        geometry: what the adapter needs of the photos outside of the graph.
        side: of the crops, pixels.
    """

    tensors: Mapping[str, Tensor]
    geometry: Any
    side: int


class Adapter(ABC, Generic[M]):
    """Of a zoo entry; made from its settings alone, as an export has no PyTorch weights.

    Attributes:
        name: of the zoo entry.
        needs, resolution: the model's.
    """

    name: ClassVar[str]
    config: BaseModel
    needs: Needs
    resolution: int

    @abstractmethod
    def graphs(self, model: M) -> dict[str, Graph]:
        """`ENCODE` and `SYNTHESIZE`, simplified (`reenactor.engine.runtimes.simplify`)."""

    @abstractmethod
    def photos(self, targets: TargetSet) -> dict[str, Tensor]:
        """Inputs of `ENCODE`."""

    @abstractmethod
    def person(self, targets: TargetSet, given: Mapping[str, Tensor], encoded: Mapping[str, Tensor]) -> ExportedCode:
        """What is kept.

        Args:
            targets: the photos.
            given: what `photos` made of them.
            encoded: outputs of `ENCODE`.
        """

    @abstractmethod
    def frame(self, code: ExportedCode, driver: DriverFrame) -> dict[str, Tensor]:
        """Inputs of `SYNTHESIZE` that differ from frame to frame; `driver` holds one."""

    def check(self, targets: TargetSet) -> None:
        """Refuse what the graphs do not take.

        Raises:
            ReenactError: too many photos, or not of the export's size.
        """
        count, side = len(targets.images), targets.images.shape[-1]
        if count > MAX_PHOTOS:
            raise ReenactError(f"{count} photos were given; an exported model takes one to {MAX_PHOTOS}")
        if not self.needs.any_resolution and side != self.resolution:
            raise ReenactError(
                f"this export of '{self.name}' draws crops of {self.resolution} pixels, not {side}; leave the size out"
            )
        if side < self.resolution:
            raise ReenactError(
                f"this export of '{self.name}' draws crops of {self.resolution} pixels or more, not {side}; "
                "choose a larger size"
            )
