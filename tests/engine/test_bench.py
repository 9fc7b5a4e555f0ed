"""Speeds: what is timed how, and what the tables say about it."""

import json
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from bench_times import PARTS, fixed
from reenactor.cli.bench import render, to_json
from reenactor.engine.bench import Bench, Job, Network, Variant, measure
from reenactor.engine.timing import Spread, Times, interleaved
from reenactor.models.marionette import MarioNETte, MarioNETteConfig
from reenactor.models.sizes import model_size
from reenactor.models.warp import Warp


def test_work_is_done_in_turn_and_slow_work_is_skipped():
    done = []

    def slow():
        done.append("slow")
        time.sleep(0.02)

    times = interleaved({"slow": slow, "quick": lambda: done.append("quick")}, rounds=8, seconds_each=0.05)
    assert done[:6] == ["slow", "quick"] * 3
    assert (times["slow"].runs, times["quick"].runs) == (3, 8)
    assert Spread.of(times["slow"].wall_ms).median >= 20
    assert Spread.of(times["slow"].cpu_ms).median < 10  # sleep is no work


def test_ratios_are_taken_round_by_round():
    """A busy spell makes the first rounds ten times as long; the ratio does not notice."""
    busy = np.array([10.0] * 3 + [1.0] * 4 + [np.nan])
    one, other = Times(2 * busy, 3 * busy), Times(busy, busy)
    assert one.ratio(other) == Spread(2, 2, 2)
    assert one.ratio(other, cpu=True) == Spread(3, 3, 3)
    assert Spread.of(np.arange(11.0)) == Spread(5, 1, 9)


@pytest.fixture
def bench():
    parts = PARTS | {"relative transfer": fixed(7), "transfer by parts": fixed(0.25)}
    one = Network("small", 128, fixed(10), fixed(20), fixed(6), fixed(7), fixed(0.5), 2 * 10**9, 3 * 10**9, 0.5)
    two = replace(one, label="large", draw=fixed(60), maps=None, draw_flop=0)
    return Bench("a machine", parts, [one, two], {"fp32, 1 thread": 1000.0}, [Job("small", "a job", 40.0, 20.0)], 99.0)


def test_frames_are_the_sums_of_table_7(bench):
    text = render(bench)
    # 1 x 5 + 1 + 10 and 8 x 5 + 2 + 20; 3 + 0.5 + 0.5 + 6 and ... + 7
    assert "| small + LT | 16.0, 62.0 | 10.0, 11.0 | 100.0 |" in text
    assert "| small | 15.0, 60.0 | 9.8, 10.8 |" in text
    assert "| large | 15.0, 60.0 | 63.2, 10.2 |" in text
    assert "| small, target encoder (8) | T_E,8 | 20.00 | 20.00-20.00 | 20.00 |" in text
    assert "| small | 128 | 2.00 | 3.00 | 500 | 50% |" in text
    assert "| large | 128 | - | - | - | - |" in text
    assert "| large | 10.00 | 10.00-10.00 | 10.00 | 10.00-10.00 |" in text
    assert "| small: a job | 40.0 | 20.0 |" in text
    told = json.loads(to_json(bench))
    assert told["ratios"]["wall"]["large"]["median"] == 10
    assert told["networks"][0]["maps"]["wall_ms"]["median"] == 0.5
    assert "maps" not in told["networks"][1]


@pytest.mark.slow
def test_everything_is_measured():
    config = MarioNETteConfig(resolution=64, base_width=4, max_width=8, levels=2, blender_blocks=1)
    threads = torch.get_num_threads()
    small = Variant("small", MarioNETte(config).eval())
    found = measure([Variant("warp", Warp().eval()), small], rounds=2, job_rounds=0)
    assert torch.get_num_threads() == threads
    assert all(times.runs == 2 and (times.wall_ms > 0).all() for times in found.parts.values())
    warp, network = found.networks
    size = model_size(MarioNETte, config)
    assert (network.encode_flop, network.draw_flop) == (size.encode_flop, size.frame_flop)
    assert (warp.draw_flop, warp.maps) == (0, None)
    assert 0 < network.peak < 1
    assert found.ratios()["warp"] == Spread(1, 1, 1)
    assert not found.jobs
    assert "nan" not in render(found)
