"""Pictures beside each other, curves, failures, attention."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from reenactor.core import ReenactError
from reenactor.face.geometry import resize
from reenactor.media import write_image
from reenactor.models import create_model
from reenactor.models.hybrid import Hybrid, HybridConfig
from reenactor.models.marionette import MarioNETte, MarioNETteConfig
from reenactor.research.evaluation import Entry, Protocol, export, measure_all, open_predictions
from reenactor.research.evaluation.export import TargetLandmarks, draw, drawn_at
from reenactor.research.evaluation.figures import (
    Curve,
    attention_figure,
    comparison_grid,
    contact_sheet,
    failure_gallery,
    plot,
    pose_curve,
    pose_distance,
    worst_cases,
)


@pytest.fixture(scope="module")
def scored(cases_of, packs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("figures")
    cases = cases_of(Protocol.SELF, k=2, size=128, count=8)
    return measure_all([export(packs, cases, Entry("warp"), folder / "warp")], packs, folder / "cache")


def test_grid_holds_targets_driver_and_results(scored, packs):
    some = scored.cases.cases[:3]
    grid = comparison_grid(scored, some)
    assert grid.shape == (20 + 3 * 180, 4 * 160, 3)
    for i, one in enumerate(some):
        shown = grid[20 + 180 * i : 180 + 180 * i]
        for j, frame in enumerate([*one.targets, one.driver]):
            picture = packs.driver.pictures([frame], 128)[frame]
            np.testing.assert_array_equal(shown[:, 160 * j : 160 * (j + 1)], resize(picture, 160))


def test_worst_first(scored):
    values = scored.values("mouth_psnr")["warp"].values
    assert worst_cases(scored, "warp", "mouth_psnr", count=4) == np.argsort(values)[:4].tolist()
    assert failure_gallery(scored, "warp", "mouth_psnr", count=4).shape == (20 + 4 * 180, 4 * 160, 3)
    with pytest.raises(ValueError, match="no value for each case"):
        worst_cases(scored, "warp", "prmse")


def test_no_face_is_the_worst(cases_of, packs, copies, tmp_path):
    cases = cases_of(Protocol.SELF, count=3, size=128)
    folder = copies(tmp_path / "tool", cases, "target")
    write_image(folder / f"{cases[1].id}.png", np.full((128, 128, 3), 90, np.uint8))
    scored = measure_all([open_predictions(folder)], packs, tmp_path / "cache")
    assert scored.scenes["tool"].failed.tolist() == [False, True, False]
    seen = failure_gallery(scored, "tool", "csim", count=1)
    np.testing.assert_array_equal(seen[20:180, -160:], 90)


def test_pose_curve(scored, packs):
    assert (pose_distance(packs, scored.cases.cases) > 0).all()
    first = scored.cases[0]
    assert pose_distance(packs, [replace(first, targets=(first.driver,))])[0] == 0
    for score in ("csim", "pose_mae", "m_psnr"):
        assert pose_curve(scored, score).shape == (440, 720, 3)


BLUE, ORANGE = (31, 119, 180), (255, 127, 14)
UNKNOWN = np.full(3, np.nan)


def rows_of(picture, colour):
    """Rows of the plot, without the legend, that hold a colour."""
    return np.flatnonzero((picture[:, :480] == colour).all(axis=2).any(axis=1))


def test_plot_draws_the_curves():
    x = np.array([0.0, 1.0, 2.0])
    curves = {"flat": Curve(x, np.ones(3), UNKNOWN, UNKNOWN), "rising": Curve(x, x, x - 0.1, x + 0.1)}
    picture = plot(curves, title="t", x_title="x", y_title="y")
    assert picture.shape == (440, 720, 3)
    np.testing.assert_array_equal(plot(curves, title="t", x_title="x", y_title="y"), picture)
    assert np.ptp(rows_of(picture, BLUE)) < 12, "a level line"
    left, right = (rows_of(part, ORANGE).mean() for part in (picture[:, :200], picture[:, 350:480]))
    assert left > right + 100, "rising to the right"
    assert plot({"a": Curve(x, UNKNOWN, UNKNOWN, UNKNOWN)}, title="t", x_title="x", y_title="y").shape == (440, 720, 3)


def test_a_far_reference_does_not_flatten_the_others():
    x = np.array([0.0, 1.0, 2.0])
    ours = Curve(x, np.array([20.0, 22.0, 24.0]), UNKNOWN, UNKNOWN)

    def heights(reference):
        curves = {"ours": ours, "ceiling": Curve(x, np.full(3, reference), UNKNOWN, UNKNOWN, reference=True)}
        picture = plot(curves, title="t", x_title="x", y_title="y")
        return np.ptp(rows_of(picture, BLUE)), len(rows_of(picture, ORANGE))

    alone, seen = heights(100.0)
    assert seen == 0
    near, seen = heights(28.0)
    assert seen > 0
    assert near < 0.6 * alone


def test_empty_cells_stay_white():
    sheet = contact_sheet([[np.zeros((8, 8, 3), np.uint8), None]], ["a", "b"], [""])
    assert sheet.shape == (180, 320, 3)
    assert sheet[20:, :160].max() == 0
    assert sheet[20:, 160:].min() == 255


def small_hybrid():
    torch.manual_seed(0)
    return Hybrid(HybridConfig(resolution=64, base_width=16)).eval()


def test_attention(cases_of, packs):
    torch.manual_seed(0)
    config = MarioNETteConfig(resolution=64, base_width=8, max_width=16)
    model = MarioNETte(config).eval()
    cases = cases_of(Protocol.SELF, k=2, count=2)
    figure = attention_figure(model, cases.cases, packs, TargetLandmarks(packs, 64, None))
    assert figure.shape == (20 + 2 * 180, 6 * 160, 3)


@pytest.mark.parametrize("model", [create_model("warp"), small_hybrid()], ids=["warp", "hybrid"])
def test_no_attention(model, cases_of, packs):
    with pytest.raises(ValueError, match="no attention"):
        attention_figure(model, cases_of(Protocol.SELF, k=2, count=2).cases, packs, TargetLandmarks(packs, 64, None))


def test_models_at_their_own_size(cases_of, packs, tmp_path):
    """A trained model draws at its resolution; what is kept has the protocol's."""
    torch.manual_seed(0)
    model = MarioNETte(MarioNETteConfig(resolution=64, base_width=8, max_width=16)).eval()
    cases = cases_of(Protocol.SELF, k=2, count=2, size=128)
    assert drawn_at(model, 128) == 64
    with torch.inference_mode():
        drawn = draw(model, cases.cases, packs, TargetLandmarks(packs, 64, None), 128)
    assert {picture.shape for picture in drawn.values()} == {(128, 128, 3)}
    with pytest.raises(ReenactError, match="no weights"):
        Entry("marionette", tmp_path).method(Protocol.SELF)
