"""A pretended CUDA device for machines without one: tensors on the CPU that say they are elsewhere.

Within `stub_gpu()` a tensor that is moved to "cuda" keeps its values, but an operation on it together with a tensor on
the CPU fails, as it does on a real GPU; so does turning it into an array.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

CUDA = torch.device("cuda", 0)


class GpuTensor(Tensor):
    """A tensor on the pretended GPU."""


def on_gpu(model: nn.Module) -> nn.Module:
    """The module, its weights and buffers moved to the pretended GPU."""
    for module in model.modules():
        for held in (module._parameters, module._buffers):
            for name, one in held.items():
                held[name] = None if one is None else one.detach().as_subclass(GpuTensor)
    return model


def _on_gpu(value: Any) -> Any:
    return value.as_subclass(GpuTensor) if isinstance(value, Tensor) else value


def _plain(value: Any) -> Any:
    return value.as_subclass(Tensor) if isinstance(value, GpuTensor) else value


def _device(value: Any) -> torch.device | None:
    if isinstance(value, Tensor):
        return CUDA if isinstance(value, GpuTensor) else torch.device("cpu")
    return torch.device(value) if isinstance(value, (str, torch.device)) else None


class stub_gpu(TorchFunctionMode):  # noqa: N801, used as a function: `with stub_gpu():`
    """See this module's docstring."""

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        first = args[0] if args else None
        if name == "__get__" and func in _GETTERS:
            return _GETTERS[func](isinstance(first, GpuTensor))
        tensors = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
        wrapped = any(isinstance(one, GpuTensor) for one in tensors)
        # Single numbers on the CPU go with anything, as on a real GPU.
        beside = any(one.ndim and not isinstance(one, GpuTensor) for one in tensors)
        if func in (Tensor.numpy, Tensor.__array__) and wrapped:
            raise TypeError("can't convert a tensor on the pretended GPU to numpy")
        if func is Tensor.cpu:
            wrapped = False
        elif func is Tensor.to:
            moved = [device for one in (*args[1:], *kwargs.values()) if (device := _device(one)) is not None]
            wrapped = moved[0].type == "cuda" if moved else isinstance(first, GpuTensor)
            args = (first, *(torch.device("cpu") if isinstance(one, (str, torch.device)) else one for one in args[1:]))
            kwargs = {key: torch.device("cpu") if key == "device" else one for key, one in kwargs.items()}
        elif kwargs.get("device") is not None and torch.device(kwargs["device"]).type == "cuda":
            kwargs["device"], wrapped = torch.device("cpu"), True
        elif wrapped and beside and name not in ("copy_", "__getitem__", "__setitem__"):
            raise RuntimeError(f"{name} was given tensors on the CPU and on the pretended GPU")
        with torch._C.DisableTorchFunctionSubclass():
            made = func(*tree_map(_plain, args), **tree_map(_plain, kwargs))
        return (
            tree_map(lambda one: one.as_subclass(GpuTensor) if isinstance(one, Tensor) else one, made)
            if wrapped
            else made
        )


_GETTERS = {
    Tensor.device.__get__: lambda gpu: CUDA if gpu else torch.device("cpu"),
    Tensor.is_cuda.__get__: lambda gpu: gpu,
    Tensor.is_cpu.__get__: lambda gpu: not gpu,
}
