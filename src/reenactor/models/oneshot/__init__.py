"""One-shot Face Reenactment (paper A): looks and shape are taken apart, then put together by a decoder and a warp."""

from reenactor.models.oneshot.augment import Augmentation, augmented
from reenactor.models.oneshot.classical import WarpedPhoto, draw_warped, warped_m1p1, warped_photo
from reenactor.models.oneshot.config import OneShotConfig
from reenactor.models.oneshot.discriminator import oneshot_discriminator
from reenactor.models.oneshot.fusion import FusionNet, handmade_fusion
from reenactor.models.oneshot.fusion_objective import FusionObjective, FusionObjectiveConfig
from reenactor.models.oneshot.model import Appearance, Drawn, OneShot, OneShotCode, OneShotGenerator
from reenactor.models.oneshot.objective import FEATURE_READERS, OneShotObjective, OneShotObjectiveConfig, PartWeights
from reenactor.models.oneshot.shape_encoder import (
    CURVE_POINTS,
    SHAPE_ENCODER,
    Shape,
    ShapeEncoder,
    ShapeEncoderConfig,
    ShapeEncoderObjective,
    ShapeEncoderObjectiveConfig,
    ShapeFeatures,
    shape_features,
)
from reenactor.models.oneshot.verification import (
    VERIFICATION,
    AngularMargin,
    IdentityFeatures,
    VerificationConfig,
    VerificationNet,
    VerificationObjective,
    VerificationObjectiveConfig,
    angular_margin_logits,
    face_centre,
    identity_features,
)

__all__ = [
    "CURVE_POINTS",
    "FEATURE_READERS",
    "SHAPE_ENCODER",
    "VERIFICATION",
    "AngularMargin",
    "Appearance",
    "Augmentation",
    "Drawn",
    "FusionNet",
    "FusionObjective",
    "FusionObjectiveConfig",
    "IdentityFeatures",
    "OneShot",
    "OneShotCode",
    "OneShotConfig",
    "OneShotGenerator",
    "OneShotObjective",
    "OneShotObjectiveConfig",
    "PartWeights",
    "Shape",
    "ShapeEncoder",
    "ShapeEncoderConfig",
    "ShapeEncoderObjective",
    "ShapeEncoderObjectiveConfig",
    "ShapeFeatures",
    "VerificationConfig",
    "VerificationNet",
    "VerificationObjective",
    "VerificationObjectiveConfig",
    "WarpedPhoto",
    "angular_margin_logits",
    "augmented",
    "draw_warped",
    "face_centre",
    "handmade_fusion",
    "identity_features",
    "oneshot_discriminator",
    "shape_features",
    "warped_m1p1",
    "warped_photo",
]
