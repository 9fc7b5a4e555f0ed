"""From an objective's settings to the objective."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reenactor.face.maps import boundary_maps
from reenactor.face.retarget.transformer import LandmarkTransformerObjective, fit_statistics
from reenactor.models import METHODS
from reenactor.models.oneshot import ShapeEncoderObjective, VerificationObjective
from reenactor.nn.losses import Objective
from reenactor.research.data import ShardReader
from reenactor.research.data.streams import clip_landmarks
from reenactor.research.training.config import ObjectiveConfig


def _landmark_transformer(config: Any, pack: ShardReader, _: int) -> Objective[Any]:
    return LandmarkTransformerObjective(config, fit_statistics(clip_landmarks(pack), config.model))


_OTHERS: dict[str, Callable[[Any, ShardReader, int], Objective[Any]]] = {
    "landmark-transformer": _landmark_transformer,
    "shape-encoder": lambda config, _, __: ShapeEncoderObjective(config, boundary_maps),
    "verification": lambda config, _, identities: VerificationObjective(config, identities),
}
"""Networks that are no models of their own, by `kind`; models register theirs in `models.registry`."""


def make_objective(config: ObjectiveConfig, pack: ShardReader, *, identities: int) -> Objective[Any]:
    """The objective that `config` describes, with fresh weights from PyTorch's generator.

    Args:
        config: settings of anything that can be trained.
        pack: for objectives that measure something of the data first.
        identities: people in the training split.
    """
    if config.kind in _OTHERS:
        return _OTHERS[config.kind](config, pack, identities)
    makers = {kind: make for method in METHODS.values() for kind, make in method.objectives.items()}
    return makers[config.kind](config, identities)
