"""Networks that perceptual losses look through: where their weights come from, and what they are."""

from reenactor.nn.losses.features.config import (
    VGG16_IMAGENET,
    VGG19_IMAGENET,
    FeatureNetworkConfig,
    FeatureReader,
    PretrainedVgg,
    RandomVgg,
    TrainedFeatures,
    build_features,
)
from reenactor.nn.losses.features.vgg import VggFeatures

__all__ = [
    "VGG16_IMAGENET",
    "VGG19_IMAGENET",
    "FeatureNetworkConfig",
    "FeatureReader",
    "PretrainedVgg",
    "RandomVgg",
    "TrainedFeatures",
    "VggFeatures",
    "build_features",
]
