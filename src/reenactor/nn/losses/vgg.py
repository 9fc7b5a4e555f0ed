"""VGG networks (Simonyan and Zisserman 2015, configurations D and E), and weights that others trained for them."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from reenactor.core import CheckpointError

WIDTHS = (64, 128, 256, 512, 512)
"""Channels of the five blocks; between blocks, maps are halved."""
VGG16 = (2, 2, 3, 3, 3)
"""Convolutions in each block."""
VGG19 = (2, 2, 4, 4, 4)


@dataclass(frozen=True)
class InputScale:
    """Scale of the input that a network was trained on: `(rgb - mean) / std`, rgb in [0, 1]."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


IMAGENET = InputScale(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
"""torchvision's networks."""
VGG_FACE = InputScale(mean=(129.1863 / 255, 104.7624 / 255, 93.5940 / 255), std=(1 / 255, 1 / 255, 1 / 255))
"""Parkhi, Vedaldi and Zisserman 2015: 0..255 less the mean face's colour."""


class VggFeatures(nn.Module):
    """Feature maps after some of a VGG's ReLUs. What lies above the last of them is left out.

    Its weights have no values yet: `build_features` gives them some.

    Args:
        convolutions: in each of the five blocks.
        taps: which ReLUs, lowest first: "relu3_1" is the first of the third block.
        scale: of its input.
        width: factor on the channels.
    """

    gain: Tensor
    shift: Tensor

    def __init__(
        self, convolutions: Sequence[int], taps: Sequence[str], *, scale: InputScale, width: float = 1.0
    ) -> None:
        super().__init__()
        names = [f"{block}_{i}" for block, count in enumerate(convolutions, 1) for i in range(1, count + 1)]
        tapped = [tap.removeprefix("relu") for tap in taps]
        if not tapped or [name for name in names if name in tapped] != tapped:
            raise ValueError(f"{', '.join(taps)}: not ReLUs of this network, lowest first")
        self.taps = frozenset(f"conv{name}" for name in tapped)
        self.convs = nn.ModuleDict()
        channels_in = 3
        for name in names[: names.index(tapped[-1]) + 1]:
            channels = max(1, round(width * WIDTHS[int(name[0]) - 1]))
            # PyTorch's own start would draw 20 million random numbers, from everybody's generator.
            self.convs[f"conv{name}"] = nn.utils.skip_init(nn.Conv2d, channels_in, channels, 3, padding=1)
            channels_in = channels
        mean, std = torch.tensor(scale.mean), torch.tensor(scale.std)
        self.register_buffer("gain", (0.5 / std)[:, None, None], persistent=False)
        self.register_buffer("shift", ((0.5 - mean) / std)[:, None, None], persistent=False)

    def forward(self, image_m1p1: Float[Tensor, "b 3 h w"]) -> tuple[Float[Tensor, "b _ _ _"], ...]:
        """Input, output, with the taps relu1_1 to relu5_1.

        | | shape |
        |---|---|
        | image_m1p1 | (B, 3, H, W) in [-1, 1] |
        | result | (B, 64, H, W), (B, 128, H/2, W/2), (B, 256, H/4, W/4), (B, 512, H/8, W/8), (B, 512, H/16, W/16) |
        """
        x = image_m1p1 * self.gain + self.shift
        maps = []
        for name, conv in self.convs.items():
            if name.endswith("_1") and name != "conv1_1":
                x = F.max_pool2d(x, 2)
            x = F.relu(conv(x))
            if name in self.taps:
                maps.append(x)
        return tuple(maps)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file or of a plain PyTorch state dict. Nothing else is ever unpickled.

    Raises:
        CheckpointError: missing, damaged, or holding more than tensors.
    """
    try:
        found = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"there are no weights at {path}; give the path of the file") from None
    except (OSError, EOFError, RuntimeError, SafetensorError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"cannot read {path} ({reason}); give a .safetensors file or a PyTorch state dict of nothing but tensors"
        ) from error
    if isinstance(found, Mapping) and isinstance(found.get("state_dict"), Mapping):
        found = found["state_dict"]
    if not isinstance(found, Mapping):
        raise CheckpointError(f"{path} holds no state dict; give a file that maps names to tensors")
    return {str(name): value for name, value in found.items() if isinstance(value, Tensor)}


def load_vgg(network: VggFeatures, convolutions: Sequence[int], tensors: Mapping[str, Tensor], *, bgr: bool) -> None:
    """Fill the network, whichever of the usual names its layers have in the file.

    Args:
        network: all of whose convolutions must be there.
        convolutions: in each block of the whole network.
        tensors: from `read_tensors`; what the network does not have is passed over.
        bgr: the first layer's weights expect blue first; they are turned round.

    Raises:
        CheckpointError: no layout fits.
    """
    layouts = _layouts(convolutions)
    layout = next((one for one in layouts if f"{one['conv1_1']}.weight" in tensors), None)
    if layout is None:
        known = ", ".join(f"{one['conv1_1']}.weight" for one in layouts)
        raise CheckpointError(f"these are no weights of a VGG: its first layer would be one of {known}")
    state = {}
    for ours, value in network.state_dict().items():
        _, conv, part = ours.split(".")
        theirs = tensors.get(name := f"{layout[conv]}.{part}")
        if theirs is None or theirs.shape != value.shape:
            found = "missing" if theirs is None else tuple(theirs.shape)
            raise CheckpointError(f"these weights are of another network: {name} is {found}, not {tuple(value.shape)}")
        state[ours] = theirs.flip(1) if bgr and ours == "convs.conv1_1.weight" else theirs
    network.load_state_dict(state)


def _layouts(convolutions: Sequence[int]) -> list[dict[str, str]]:
    """Our name of a convolution -> its name in each kind of file."""
    numbers: dict[str, str] = {}
    index = 0
    for block, count in enumerate(convolutions, 1):
        for i in range(1, count + 1):
            numbers[f"conv{block}_{i}"] = str(index)
            index += 2  # its ReLU
        index += 1  # the pooling
    return [
        {conv: f"features.{number}" for conv, number in numbers.items()},  # torchvision
        numbers,  # torchvision's `features` alone
        {conv: conv for conv in numbers},  # Oxford's vgg_face_dag
        {conv: conv.replace("conv", "conv_") for conv in numbers},  # converted from Torch 7
    ]
