"""One process or many: Lightning Fabric, and gradients averaged over processes."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable

import torch
from torch import Tensor

from reenactor.core import ReenactError

try:
    from lightning.fabric import Fabric
except ImportError as error:
    raise ReenactError("training needs more packages; install them with: pip install 'reenactor[research]'") from error


def make_fabric(*, accelerator: str = "auto", devices: int | str = "auto", nodes: int = 1) -> Fabric:
    """The processes that train together, launched.

    Under `torchrun` or `fabric run`, what they say wins: each process they start calls this and finds the others.

    Args:
        accelerator: "cpu", "cuda", "mps" or "auto".
        devices: how many on each machine; "auto" for all GPUs, or one CPU process.
        nodes: machines.
    """
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    if "LOCAL_WORLD_SIZE" in os.environ:
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // devices
    gpus = torch.cuda.device_count() if accelerator in ("auto", "cuda", "gpu") else 0
    count = (gpus or 1) if devices == "auto" else int(devices)
    try:
        fabric = Fabric(
            accelerator=accelerator,
            devices=count,
            num_nodes=nodes,
            strategy="ddp" if count * nodes > 1 else "auto",
        )
    except (ValueError, RuntimeError) as error:  # asked for what the machine lacks
        raise ReenactError(f"cannot train on {count} x {accelerator}: {' '.join(str(error).split())}") from error
    fabric.launch()
    return fabric


def is_first_process() -> bool:
    """Whether this process speaks for all; known from its environment, before it finds the others."""
    names = ["RANK"] if "RANK" in os.environ else ["LOCAL_RANK", "NODE_RANK"]
    return all(os.environ.get(name, "0") == "0" for name in names)


def average_gradients(fabric: Fabric, parameters: Iterable[Tensor]) -> None:
    """Replace each gradient by its mean over the processes, in one message.

    Done by hand instead of by wrapping the networks: a GAN's halves use each other's networks out of turn, which
    wrappers forbid, and the networks are small enough for one message a half.
    """
    if fabric.world_size == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return
    mean = fabric.all_reduce(torch.cat([g.flatten() for g in gradients]), reduce_op="mean")
    assert isinstance(mean, Tensor)
    for gradient, part in zip(gradients, mean.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))
