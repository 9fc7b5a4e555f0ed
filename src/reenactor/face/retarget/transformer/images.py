"""ResNet-50 (He et al. 2016), through which the paper's disentangler sees the face crop."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from reenactor.core import CheckpointError
from reenactor.face.retarget.transformer.config import PretrainedResNet50
from reenactor.nn import conv_norm
from reenactor.nn.download import check_digest
from reenactor.nn.losses.vgg import IMAGENET, read_tensors

_EXPANSION = 4


class Bottleneck(nn.Module):
    """`ReLU([1x1, 3x3 (stride), 1x1] + skip)`, each convolution with batch normalization; torchvision's names.

    Args:
        channels_in: of the input.
        width: of the 3x3 convolution; four times as many come out.
        stride: 1, or 2 to halve the size.
        downsample: the skip is a 1x1 convolution.
    """

    def __init__(self, channels_in: int, width: int, *, stride: int, downsample: bool) -> None:
        super().__init__()
        channels_out = _EXPANSION * width
        self.conv1 = nn.Conv2d(channels_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, channels_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels_out)
        self.downsample = conv_norm(channels_in, channels_out, kernel=1, stride=stride) if downsample else nn.Identity()

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h2 w2"]:
        """(B, channels_in, h, w) -> (B, 4 width, h / stride, w / stride), >= 0."""
        h = F.relu(self.bn1(self.conv1(x)))
        h = F.relu(self.bn2(self.conv2(h)))
        return F.relu(self.bn3(self.conv3(h)) + self.downsample(x))


class ResNet50Features(nn.Module):
    """ResNet-50 up to its last map, averaged over the picture. Layers have torchvision's names.

    The paper stops "right before the global average pooling" and leaves open how 2048 maps become a vector; averaging
    keeps it independent of the picture's size and the next layer 64 times smaller.
    """

    width = 512 * _EXPANSION
    gain: Tensor
    shift: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = _stage(64, 64, blocks=3, stride=1)
        self.layer2 = _stage(256, 128, blocks=4, stride=2)
        self.layer3 = _stage(512, 256, blocks=6, stride=2)
        self.layer4 = _stage(1024, 512, blocks=3, stride=2)
        mean, std = torch.tensor(IMAGENET.mean), torch.tensor(IMAGENET.std)
        self.register_buffer("gain", (0.5 / std)[:, None, None], persistent=False)
        self.register_buffer("shift", ((0.5 - mean) / std)[:, None, None], persistent=False)

    def forward(self, image_m1p1: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 2048"]:
        """(B, 3, H, W) in [-1, 1] -> (B, 2048), >= 0."""
        x = F.relu(self.bn1(self.conv1(image_m1p1 * self.gain + self.shift)))
        x = F.max_pool2d(x, 3, stride=2, padding=1)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
        return x.mean((2, 3))


def load_resnet50(network: ResNet50Features, config: PretrainedResNet50) -> None:
    """Load torchvision's weights into the network; the classifier in the file is ignored.

    Raises:
        CheckpointError: the file is missing, has another SHA-256, or is of another network.
    """
    if config.sha256 is not None and config.path.exists():
        check_digest(config.path, config.sha256, whose=str(config.path))
    tensors = read_tensors(config.path)
    state = network.state_dict()
    for name, value in state.items():
        if name.endswith("num_batches_tracked"):
            continue  # older files do not count batches, and nothing reads the count
        theirs = tensors.get(name)
        if theirs is None or theirs.shape != value.shape:
            found = "missing" if theirs is None else tuple(theirs.shape)
            raise CheckpointError(f"{config.path} is not a ResNet-50: {name} is {found}, not {tuple(value.shape)}")
        state[name] = theirs
    network.load_state_dict(state)


def _stage(channels_in: int, width: int, *, blocks: int, stride: int) -> nn.Sequential:
    first = Bottleneck(channels_in, width, stride=stride, downsample=True)
    rest = [Bottleneck(_EXPANSION * width, width, stride=1, downsample=False) for _ in range(blocks - 1)]
    return nn.Sequential(first, *rest)
