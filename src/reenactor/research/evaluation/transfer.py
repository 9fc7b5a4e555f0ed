"""The landmarks that a method is asked to draw."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from reenactor.core import ReenactError, Transfer
from reenactor.face.retarget import Retargeter
from reenactor.face.retarget.transformer import KIND, LandmarkTransformer, TransformerRetargeter
from reenactor.nn.checkpoint import read_checkpoint, shipped_checkpoint
from reenactor.research.evaluation.packs import Frame, Packs
from reenactor.research.evaluation.protocols import Case

Pictures = Callable[[Frame], UInt8[np.ndarray, "s s 3"]]


class Way(str, Enum):
    """How the driver's landmarks become the target's."""

    TRUTH = "truth"
    """They are taken as they are: target and driver are one person in one steady crop (self-reenactment)."""
    RELATIVE = "relative"
    ABSOLUTE = "absolute"
    TRANSFORMER = "transformer"


class Wanted:
    """Gives the landmarks wanted for each set, in the pixels of the target's crop.

    Args:
        packs: where the pictures come from.
        size: side of the crops, pixels.
        way: how.
        transformer: folder of a landmark transformer's checkpoint, for that way; None for the one that ships.

    Raises:
        ReenactError: the transformer is missing, or moves 68 points only.
    """

    def __init__(self, packs: Packs, size: int, way: Way, transformer: Path | None = None) -> None:
        self._packs, self._size, self._way = packs, size, way
        self._transformer = None if way is not Way.TRANSFORMER else read_transformer(transformer_folder(transformer))
        self.sees_pictures = self._transformer is not None and self._transformer.config.image != "none"

    def __call__(self, one: Case, target: Pictures, driver: Pictures) -> Float[np.ndarray, "478 3"]:
        """The mesh wanted.

        Args:
            one: the set.
            target, driver: pictures of its frames; asked for only if `sees_pictures`.
        """
        wanted = self._packs.driver.mesh(one.driver, self._size)
        if self._way is Way.TRUTH:
            return wanted
        meshes = np.stack([self._packs.target.mesh(frame, self._size) for frame in one.targets])
        rest = self._packs.driver.neutral(one.driver.key, self._size)
        if self._transformer is None:
            return Retargeter(meshes[0], rest, Transfer(self._way.value))(wanted)
        images, image = None, None
        if self.sees_pictures:
            images, image = torch.stack([_m1p1(target(f)) for f in one.targets]), _m1p1(driver(one.driver))
        return TransformerRetargeter(self._transformer, meshes, rest, images)(wanted, image)


def transformer_folder(given: Path | None) -> Path:
    """The landmark transformer that was asked for, or the one that ships.

    Raises:
        ReenactError: neither.
    """
    folder = given or shipped_checkpoint(KIND)
    if folder is None:
        raise ReenactError(
            "no landmark transformer ships with this release; train one and give its --transformer folder"
        )
    return folder


@lru_cache(maxsize=1)
def read_transformer(folder: Path) -> LandmarkTransformer:
    """A transformer of the whole mesh.

    Raises:
        ReenactError: another kind of checkpoint, or one of 68 points.
    """
    transformer = LandmarkTransformer.from_checkpoint(read_checkpoint(folder))
    if transformer.config.points != "mesh":
        raise ReenactError(f"{folder} moves 68 points, and models want the whole mesh; give a transformer of the mesh")
    return transformer


def _m1p1(picture: UInt8[np.ndarray, "s s 3"]) -> Float[Tensor, "3 s s"]:
    return torch.from_numpy(picture).permute(2, 0, 1).float() / 127.5 - 1
