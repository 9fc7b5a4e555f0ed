"""Evaluating a model whose faces are aligned to the mean shape, in the pack's upright crops."""

from dataclasses import replace

import numpy as np
import pytest

from factories import psnr
from reenactor.core import Alignment, Background
from reenactor.models import create_model
from reenactor.models.oneshot import OneShotConfig, OneShotGenerator
from reenactor.models.oneshot.objective import model_checkpoint
from reenactor.nn.checkpoint import write_checkpoint
from reenactor.research.evaluation import Entry, Protocol, export
from reenactor.research.evaluation.export import TargetLandmarks, draw, frame_size


@pytest.fixture(scope="module")
def cases(cases_of):
    return cases_of(Protocol.SELF, count=4, size=128)


def warp(alignment):
    model = create_model("warp")
    model.needs = replace(model.needs, alignment=alignment)
    return model


@pytest.mark.parametrize("background", Background)
def test_it_is_asked_for_the_same_landmarks_and_compared_with_the_same_truth(packs, cases, background):
    pictures = []
    for alignment in Alignment:
        model = warp(alignment)
        landmarks = TargetLandmarks(packs, frame_size(model, packs, cases.size), None)
        pictures.append(draw(model, cases.cases, packs, landmarks, cases.size, background))
    upright, aligned = pictures
    truths = packs.driver.pictures([case.driver for case in cases.cases], cases.size)
    targets = packs.target.pictures([case.targets[0] for case in cases.cases], cases.size)
    for case in cases.cases:
        mesh = packs.driver.mesh(case.driver, cases.size)
        low, high = mesh[:, :2].min(0).astype(int) + 6, mesh[:, :2].max(0).astype(int) - 6
        face = slice(low[1], high[1]), slice(low[0], high[0])
        drawn, truth = aligned[case.id][face], truths[case.driver][face]
        # The pack has twice the pixels of these pictures, and the aligned crop is cut out of those.
        assert psnr(drawn, truth) > psnr(upright[case.id][face], truth) - 0.3
        assert psnr(drawn, truth) > psnr(targets[case.targets[0]][face], truth) + 6


def test_what_its_crop_does_not_show_is_the_targets(packs, cases):
    model = warp(Alignment.MEAN_SHAPE)
    landmarks = TargetLandmarks(packs, frame_size(model, packs, cases.size), None)
    (case,) = cases.cases[:1]
    picture = draw(model, [case], packs, landmarks, cases.size)[case.id].astype(int)
    target = packs.target.pictures(case.targets, cases.size)[case.targets[0]]
    # The pack's clips show the whole head: at the bottom there is no face.
    assert np.abs(picture[-6:] - target[-6:]).max() <= 3


def test_export_draws_with_an_aligned_checkpoint(packs, cases, tmp_path):
    config = OneShotConfig(resolution=64, alignment=Alignment.MEAN_SHAPE, base_width=4, max_width=8, fusion_width=4)
    write_checkpoint(tmp_path / "model", model_checkpoint(config, OneShotGenerator(config).state_dict()))
    entry = Entry("oneshot", weights=tmp_path / "model")
    made = export(packs, cases, entry, tmp_path / "out")
    assert not made.missing()
    assert made.method.config["alignment"] == "mean_shape"
