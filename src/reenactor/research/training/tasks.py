"""From an objective's settings to the objective."""

from __future__ import annotations

from typing import Any

from reenactor.face.maps import boundary_maps
from reenactor.face.retarget.transformer import (
    LandmarkTransformerObjective,
    LandmarkTransformerObjectiveConfig,
    fit_statistics,
)
from reenactor.models.hybrid import HybridObjective, HybridObjectiveConfig, MouthObjective, MouthObjectiveConfig
from reenactor.models.marionette import MarioNETteObjective, MarioNETteObjectiveConfig
from reenactor.models.oneshot import (
    FEATURE_READERS,
    FusionObjective,
    FusionObjectiveConfig,
    OneShotObjective,
    OneShotObjectiveConfig,
    ShapeEncoderObjective,
    ShapeEncoderObjectiveConfig,
    VerificationObjective,
)
from reenactor.nn.losses import Objective
from reenactor.research.data import ShardReader
from reenactor.research.data.streams import clip_landmarks
from reenactor.research.training.config import ObjectiveConfig


def make_objective(config: ObjectiveConfig, pack: ShardReader, *, identities: int) -> Objective[Any]:
    """What `config` describes, with fresh weights from PyTorch's generator.

    Args:
        config: settings of any trainable model.
        pack: for objectives that measure something of the data first.
        identities: people in the training split.
    """
    if isinstance(config, HybridObjectiveConfig):
        return HybridObjective(config, FEATURE_READERS)
    if isinstance(config, MouthObjectiveConfig):
        return MouthObjective(config, FEATURE_READERS)
    if isinstance(config, MarioNETteObjectiveConfig):
        return MarioNETteObjective(config, identities, FEATURE_READERS)
    if isinstance(config, LandmarkTransformerObjectiveConfig):
        return LandmarkTransformerObjective(config, fit_statistics(clip_landmarks(pack), config.model, ict=config.ict))
    if isinstance(config, OneShotObjectiveConfig):
        return OneShotObjective(config)
    if isinstance(config, FusionObjectiveConfig):
        return FusionObjective(config)
    if isinstance(config, ShapeEncoderObjectiveConfig):
        return ShapeEncoderObjective(config, boundary_maps)
    return VerificationObjective(config, identities)
