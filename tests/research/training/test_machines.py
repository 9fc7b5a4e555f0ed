"""Gradients are averaged in buckets, and a signal asks a run to stop."""

import os
import signal
import subprocess
import sys
import threading

import pytest
import torch
from lightning.fabric import Fabric

from reenactor.research.training.machines import average_gradients, stop_signals


class TwoProcesses(Fabric):
    """A fabric whose other process has gradients of zero; remembers what was sent."""

    world_size = 2

    def __init__(self):
        self.messages = []

    def all_reduce(self, data, reduce_op):
        assert reduce_op == "mean"
        self.messages.append(data.nbytes)
        return data / 2


def parameters(*sizes):
    generator = torch.Generator().manual_seed(0)
    made = [torch.nn.Parameter(torch.zeros(*size)) for size in sizes]
    for one in made:
        one.grad = torch.randn(one.shape, generator=generator)
    return made


@pytest.mark.parametrize(
    ("bucket_bytes", "messages"), [(10**6, [4 * 121]), (4 * 64, [4 * 57, 4 * 64]), (1, [4 * 48, 4 * 9, 4 * 64])]
)
def test_every_gradient_becomes_the_mean(bucket_bytes, messages):
    fabric, made = TwoProcesses(), parameters((4, 3, 2, 2), (9,), (8, 8))
    made.insert(1, torch.nn.Parameter(torch.zeros(5)))  # has no gradient
    made[0].grad = made[0].grad.contiguous(memory_format=torch.channels_last)
    wanted = [None if one.grad is None else one.grad / 2 for one in made]
    average_gradients(fabric, made, bucket_bytes=bucket_bytes)
    assert fabric.messages == messages
    for one, mean in zip(made, wanted, strict=True):
        assert (one.grad is None and mean is None) or torch.equal(one.grad, mean)


def test_one_process_sends_nothing():
    fabric, made = TwoProcesses(), parameters((3,))
    fabric.world_size = 1
    average_gradients(fabric, made)
    assert fabric.messages == []


GLOO = """
import torch
from reenactor.research.training.machines import average_gradients, make_fabric

fabric = make_fabric(accelerator="cpu")
made = [torch.nn.Parameter(torch.zeros(size)) for size in (5, 300, 7, 2)]
for number, one in enumerate(made):
    one.grad = torch.arange(float(one.numel())) * (1 + number) * (1 + 2 * fabric.global_rank)
average_gradients(fabric, made, bucket_bytes=100)
for number, one in enumerate(made):
    assert torch.equal(one.grad, torch.arange(float(one.numel())) * (1 + number) * 2), number
assert fabric.world_size == 2
"""


@pytest.mark.slow
def test_two_gloo_processes_agree(tmp_path):
    (tmp_path / "gloo.py").write_text(GLOO)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "gloo.py"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_asks_to_stop_and_the_second_one_ends(number):
    before = signal.signal(number, signal.default_int_handler)  # raises KeyboardInterrupt
    try:
        with stop_signals() as asked:
            assert not asked.is_set()
            signal.raise_signal(number)
            assert asked.is_set()
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(number)
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, before)


def test_other_threads_cannot_be_asked():
    seen = []

    def look():
        with stop_signals() as asked:
            seen.append(asked.is_set())

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [False]
