"""One-shot Face Reenactment (paper A): looks and shape are taken apart, then put together by a decoder and a warp."""

from reenact.models.oneshot.augment import Augmentation, augmented
from reenact.models.oneshot.classical import WarpedPhoto, draw_warped, warped_m1p1, warped_photo
from reenact.models.oneshot.config import OneShotConfig
from reenact.models.oneshot.discriminator import oneshot_discriminator
from reenact.models.oneshot.features import (
    FEATURE_READERS,
    SHAPE_ENCODER,
    VERIFICATION,
    IdentityFeatures,
    ShapeFeatures,
    face_centre,
    identity_features,
    shape_features,
)
from reenact.models.oneshot.fusion import FusionNet, handmade_fusion
from reenact.models.oneshot.fusion_objective import FusionObjective, FusionObjectiveConfig
from reenact.models.oneshot.model import Appearance, Drawn, OneShot, OneShotCode, OneShotGenerator
from reenact.models.oneshot.objective import OneShotObjective, OneShotObjectiveConfig, PartWeights
from reenact.models.oneshot.shape_encoder import CURVE_POINTS, Shape, ShapeEncoder, ShapeEncoderConfig
from reenact.models.oneshot.shape_objective import ShapeEncoderObjective, ShapeEncoderObjectiveConfig
from reenact.models.oneshot.verification import (
    AngularMargin,
    VerificationConfig,
    VerificationNet,
    angular_margin_logits,
)
from reenact.models.oneshot.verification_objective import VerificationObjective, VerificationObjectiveConfig

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
