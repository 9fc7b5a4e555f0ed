"""The moving average against its closed form; what cannot begin."""

import numpy as np
import pytest
import torch
from torch import nn

from reenactor.core import ReenactError
from reenactor.research.data import ShardReader
from reenactor.research.recipes import recipe
from reenactor.research.training import updated
from reenactor.research.training.state import RunState, average_of, checkpoints, make_objective, update_average


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


def test_some_checkpoints_are_kept(tmp_path):
    network = nn.Linear(2, 2)
    state = RunState(network, average_of(network), {"generator": torch.optim.Adam(network.parameters())})
    for step in range(5, 65, 5):
        state.save(tmp_path, step, keep_every=20)
    assert [path.name for path in checkpoints(tmp_path)] == [f"step-{n:08d}" for n in (20, 40, 55, 60)]
    assert state.load(tmp_path / "step-00000020") == 20
    state.save(tmp_path, 65)
    assert [int(path.name[5:]) for path in checkpoints(tmp_path)] == [60, 65]


def test_the_papers_landmark_transformer_does_not_begin_with_random_weights(tmp_path):
    unread = ShardReader.__new__(ShardReader)  # it is refused before the data is looked at
    run = recipe("landmark-transformer-paper")
    with pytest.raises(ReenactError, match=r"random weights; name a file .* --set objective\.resnet50="):
        make_objective(run.objective, unread, identities=1)
    named = updated(run, {"objective.resnet50": {"path": str(tmp_path / "resnet50.pth")}})
    with pytest.raises(AttributeError):
        make_objective(named.objective, unread, identities=1)


def test_who_wears_glasses_must_be_known(tmp_path):
    sources = ["portraits/a.jpg", "portraits/b.jpg", "portraits/c.jpg", "portraits/synth_d.jpg", "clips/e.mp4"]
    pack = ShardReader.__new__(ShardReader)
    pack.column = lambda name: np.array(sources if name == "source" else [])
    run = recipe("covers")
    with pytest.raises(ReenactError, match=r"--set objective\.glasses="):
        make_objective(run.objective, pack, identities=1)
    (tmp_path / "glasses.csv").write_text("source,glasses\nportraits/a.jpg,1\nportraits/c.jpg,-1\n")
    named = updated(run, {"objective.glasses": str(tmp_path / "glasses.csv")})
    objective = make_objective(named.objective, pack, identities=1)
    assert objective.glasses.tolist() == [1, 0, -1, -1, -1]
