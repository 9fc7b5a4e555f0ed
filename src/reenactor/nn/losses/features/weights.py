"""Others' VGG weights: files, and the names that layers go by in them."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from reenactor.core import CheckpointError
from reenactor.nn.losses.features.vgg import VggFeatures


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
    place = 0
    for block, count in enumerate(convolutions, 1):
        for i in range(1, count + 1):
            numbers[f"conv{block}_{i}"] = str(place)
            place += 2  # its ReLU
        place += 1  # the pooling
    return [
        {conv: f"features.{number}" for conv, number in numbers.items()},  # torchvision
        numbers,  # torchvision's `features` alone
        {conv: conv for conv in numbers},  # Oxford's vgg_face_dag
        {conv: conv.replace("conv", "conv_") for conv in numbers},  # converted from Torch 7
    ]
