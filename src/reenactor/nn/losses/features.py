"""Feature networks of perceptual losses: which one, and where its weights come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import nn

from reenactor.core import CheckpointError
from reenactor.nn.checkpoint import Checkpoint, read_checkpoint
from reenactor.nn.download import check_digest, fetch
from reenactor.nn.losses.comparison import FeatureNetwork
from reenactor.nn.losses.vgg import IMAGENET, VGG16, VGG19, VGG_FACE, VggFeatures, load_vgg, read_tensors

FIRST_RELUS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
"""Paper B's layers, of both of its networks."""
LAST_RELUS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
"""Johnson, Alahi and Fei-Fei's layers of VGG16."""


class PretrainedVgg(BaseModel):
    """Weights that others trained. Loaded when the network is built, never at import."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["vgg19", "vgg-face", "vgg16"]
    """VGG19 and VGG16 as torchvision trained them on ImageNet, or VGG-Face (Parkhi et al. 2015; a VGG16)."""
    path: Path | None = None
    """A .safetensors file or a PyTorch state dict; or else ..."""
    url: str | None = None
    """... where to download one."""
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    """SHA-256 of the file, in hexadecimal; a download needs it."""
    bgr: bool = False
    """The weights expect blue first. VGG-Face: Caffe's and Torch 7's do, Oxford's vgg_face_dag.pth wants red first."""

    @model_validator(mode="after")
    def _one_source(self) -> PretrainedVgg:
        if (self.path is None) == (self.url is None):
            raise ValueError(f"weights of {self.kind} come from a path or from a url: give one of them")
        if self.url is not None and self.sha256 is None:
            raise ValueError("a download must be checked: give its sha256")
        return self


class RandomVgg(BaseModel):
    """VGG19's shape with fixed random weights: needs no download, and its features still tell pictures apart."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["random-vgg"] = "random-vgg"
    width: float = Field(default=1.0, gt=0, le=1)
    """Factor on the channels; a quarter takes a sixteenth of the time or so."""
    seed: int = 0


class TrainedFeatures(BaseModel):
    """Features of a network that this project trained; `build_features` needs a reader for its kind."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["checkpoint"] = "checkpoint"
    folder: Path


FeatureNetworkConfig = Annotated[PretrainedVgg | RandomVgg | TrainedFeatures, Field(discriminator="kind")]

FeatureReader = Callable[[Checkpoint], FeatureNetwork]
"""Makes a frozen feature network of a checkpoint of one kind."""

VGG19_IMAGENET = PretrainedVgg(
    kind="vgg19",
    url="https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
    sha256="dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44",
)
VGG16_IMAGENET = PretrainedVgg(
    kind="vgg16",
    url="https://download.pytorch.org/models/vgg16-397923af.pth",
    sha256="397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
)


def build_features(
    config: PretrainedVgg | RandomVgg | TrainedFeatures, readers: Mapping[str, FeatureReader] | None = None
) -> FeatureNetwork:
    """The network, frozen.

    Args:
        config: which.
        readers: by the kind of checkpoint that they read.

    Raises:
        CheckpointError: weights are missing, damaged, or of another network.
    """
    if isinstance(config, TrainedFeatures):
        checkpoint = read_checkpoint(config.folder)
        if readers is None or checkpoint.kind not in readers:
            raise CheckpointError(f"{config.folder} holds '{checkpoint.kind}', which gives no features; give another")
        return readers[checkpoint.kind](checkpoint)
    network = _random_vgg(config) if isinstance(config, RandomVgg) else _pretrained_vgg(config)
    return network.eval().requires_grad_(False)


def _pretrained_vgg(config: PretrainedVgg) -> VggFeatures:
    convolutions = VGG19 if config.kind == "vgg19" else VGG16
    taps = LAST_RELUS if config.kind == "vgg16" else FIRST_RELUS
    network = VggFeatures(convolutions, taps, scale=VGG_FACE if config.kind == "vgg-face" else IMAGENET)
    if config.path is None:
        assert config.url is not None
        assert config.sha256 is not None
        path = fetch(config.url, config.sha256)
    else:
        path = config.path
        if config.sha256 is not None and path.exists():
            check_digest(path, config.sha256, whose=str(path))
    load_vgg(network, convolutions, read_tensors(path), bgr=config.bgr)
    return network


def _random_vgg(config: RandomVgg) -> VggFeatures:
    """He's initialization: the mean square of maps stays about the same from layer to layer."""
    network = VggFeatures(VGG19, FIRST_RELUS, scale=IMAGENET, width=config.width)
    generator = torch.Generator().manual_seed(config.seed)
    for name, values in network.named_parameters():
        if name.endswith("weight"):
            nn.init.kaiming_normal_(values, nonlinearity="relu", generator=generator)
        else:
            nn.init.zeros_(values)
    return network
