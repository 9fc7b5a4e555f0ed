"""One-shot Face Reenactment (paper A): looks and shape are taken apart, then put together by a decoder and a warp."""

from reenact.models.oneshot.classical import WarpedPhoto, draw_warped, warped_photo
from reenact.models.oneshot.config import OneShotConfig
from reenact.models.oneshot.discriminator import oneshot_discriminator
from reenact.models.oneshot.features import (
    SHAPE_ENCODER,
    VERIFICATION,
    IdentityFeatures,
    ShapeFeatures,
    face_centre,
    identity_features,
    shape_features,
)
from reenact.models.oneshot.fusion import FusionNet, handmade_fusion
from reenact.models.oneshot.model import Appearance, Drawn, OneShot, OneShotCode, OneShotGenerator
from reenact.models.oneshot.shape_encoder import CURVE_POINTS, Shape, ShapeEncoder, ShapeEncoderConfig
from reenact.models.oneshot.verification import (
    AngularMargin,
    VerificationConfig,
    VerificationNet,
    angular_margin_logits,
)

__all__ = [
    "CURVE_POINTS",
    "SHAPE_ENCODER",
    "VERIFICATION",
    "AngularMargin",
    "Appearance",
    "Drawn",
    "FusionNet",
    "IdentityFeatures",
    "OneShot",
    "OneShotCode",
    "OneShotConfig",
    "OneShotGenerator",
    "Shape",
    "ShapeEncoder",
    "ShapeEncoderConfig",
    "ShapeFeatures",
    "VerificationConfig",
    "VerificationNet",
    "WarpedPhoto",
    "angular_margin_logits",
    "draw_warped",
    "face_centre",
    "handmade_fusion",
    "identity_features",
    "oneshot_discriminator",
    "shape_features",
    "warped_photo",
]
