"""Training objectives, and the losses that they add up."""

from reenactor.nn.losses.comparison import (
    PIX2PIXHD_LAYERS,
    Divisor,
    FeatureNetwork,
    LayerWeights,
    feature_matching,
    masked_psnr,
    perceptual_loss,
    psnr_of_each,
    truth_outside,
    weighted_l1,
)
from reenactor.nn.losses.features import (
    VGG16_IMAGENET,
    VGG19_IMAGENET,
    FeatureNetworkConfig,
    FeatureReader,
    PretrainedVgg,
    RandomVgg,
    TrainedFeatures,
    build_features,
)
from reenactor.nn.losses.gan import (
    hinge_discriminator,
    hinge_generator,
    least_squares_discriminator,
    least_squares_generator,
)
from reenactor.nn.losses.objective import Compared, MapsNeeded, Objective, Step, frozen

__all__ = [
    "PIX2PIXHD_LAYERS",
    "VGG16_IMAGENET",
    "VGG19_IMAGENET",
    "Compared",
    "Divisor",
    "FeatureNetwork",
    "FeatureNetworkConfig",
    "FeatureReader",
    "LayerWeights",
    "MapsNeeded",
    "Objective",
    "PretrainedVgg",
    "RandomVgg",
    "Step",
    "TrainedFeatures",
    "build_features",
    "feature_matching",
    "frozen",
    "hinge_discriminator",
    "hinge_generator",
    "least_squares_discriminator",
    "least_squares_generator",
    "masked_psnr",
    "perceptual_loss",
    "psnr_of_each",
    "truth_outside",
    "weighted_l1",
]
