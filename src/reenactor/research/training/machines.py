"""Processes that train together (Lightning Fabric): starting, averaging gradients, stopping."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from reenactor.core import ReenactError
from reenactor.core.system import need
from reenactor.nn.checkpoint import groups_by_size

need("lightning", "research", "training")
from lightning.fabric import Fabric  # noqa: E402, only now known to be there

BUCKET_BYTES = 25 * 2**20
"""Gradients averaged in one message: enough for full speed, little beside the 690 MB of the largest network."""


def make_fabric(*, accelerator: str = "auto", devices: int | str = "auto", nodes: int = 1) -> Fabric:
    """Launch the processes that train together.

    Under `torchrun` or `fabric run` their numbers are used: each process that they start calls this function.

    Args:
        accelerator: "cpu", "cuda", "mps" or "auto".
        devices: processes on each machine; "auto" for one per GPU, or one on the CPU.
        nodes: machines.

    Raises:
        ReenactError: the machine has no such devices.
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
    except (ValueError, RuntimeError) as error:
        raise ReenactError(f"cannot train on {count} x {accelerator}: {' '.join(str(error).split())}") from error
    fabric.launch()
    return fabric


def is_first_process() -> bool:
    """Whether this is process 0, by its environment: known before the processes are connected."""
    names = ["RANK"] if "RANK" in os.environ else ["LOCAL_RANK", "NODE_RANK"]
    return all(os.environ.get(name, "0") == "0" for name in names)


def average_gradients(fabric: Fabric, parameters: Iterable[Tensor], *, bucket_bytes: int = BUCKET_BYTES) -> None:
    """Replace each gradient by its mean over the processes.

    Done here instead of by wrapping the networks: a GAN's halves use each other's networks out of turn, which wrappers
    forbid.

    Args:
        fabric: the processes.
        parameters: those with the same gradients (or None) in every process.
        bucket_bytes: size of the messages that gradients are joined into.
    """
    if fabric.world_size == 1:
        return
    for bucket in groups_by_size([p.grad for p in parameters if p.grad is not None], bucket_bytes):
        mean = fabric.all_reduce(torch.cat([g.flatten() for g in bucket]), reduce_op="mean")
        assert isinstance(mean, Tensor)
        for gradient, part in zip(bucket, mean.split([g.numel() for g in bucket]), strict=True):
            gradient.copy_(part.view_as(gradient))


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C or SIGTERM sets, so that the step is completed; a second signal ends the program."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle(number: int, frame: Any) -> None:
        asked.set()
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, handle)
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
