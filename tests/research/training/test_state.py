"""The moving average against its closed form."""

import torch
from torch import nn

from reenactor.research.training.state import average_of, update_average


def test_halves_in_the_halflife():
    network = nn.BatchNorm1d(2)
    average = average_of(network)
    nn.init.constant_(network.weight, 3.0)
    network.running_mean.fill_(7.0)
    for _ in range(10):
        update_average(average, network, samples=4, halflife_samples=20)
    # 40 samples are two half-lives: from 1 three quarters of the way to 3.
    torch.testing.assert_close(average.weight, torch.full((2,), 2.5))
    assert average.running_mean.tolist() == [7.0, 7.0]
    assert not average.training
    assert not average.weight.requires_grad
    update_average(average, network, samples=4, halflife_samples=0)
    assert torch.equal(average.weight, network.weight)
