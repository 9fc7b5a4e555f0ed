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
from reenactor.research.evaluation import Entry, Protocol, Way, export, open_predictions, read_all
from reenactor.research.evaluation.drawing import Curve, _ticks, contact_sheet, plot
from reenactor.research.evaluation.export import draw, drawn_at
from reenactor.research.evaluation.figures import (
    attention_figure,
    comparison_grid,
    failure_gallery,
    pose_curve,
    pose_distance,
)
from reenactor.research.evaluation.transfer import Wanted


@pytest.fixture(scope="module")
def scored(sets_of, packs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("figures")
    sets = sets_of(Protocol.SELF, k=2, size=128, count=8)
    return read_all([export(packs, sets, Entry("warp"), folder / "warp")], packs, folder / "cache")


def test_grid_holds_targets_driver_and_results(scored, packs):
    some = scored.sets.sets[:3]
    grid = comparison_grid(scored, some)
    assert grid.shape == (20 + 3 * 180, 4 * 160, 3)
    for i, one in enumerate(some):
        shown = grid[20 + 180 * i : 180 + 180 * i]
        for j, frame in enumerate([*one.targets, one.driver]):
            picture = packs.driver.pictures([frame], 128)[frame]
            np.testing.assert_array_equal(shown[:, 160 * j : 160 * (j + 1)], resize(picture, 160))


def test_worst_first(scored, monkeypatch):
    asked = []
    plain = comparison_grid
    monkeypatch.setattr(
        "reenactor.research.evaluation.figures.comparison_grid",
        lambda s, sets, labels: asked.append((sets, labels)) or plain(s, sets),
    )
    failure_gallery(scored, "warp", "mouth_psnr", count=4)
    values = scored.values("mouth_psnr")["warp"].values
    sets, labels = asked[0]
    assert [one.id for one in sets] == [scored.sets.sets[i].id for i in np.argsort(values)[:4]]
    assert labels[0].endswith(f"mouth PSNR {values.min():.3g}")
    with pytest.raises(ValueError, match="no value for each set"):
        failure_gallery(scored, "warp", "prmse")


def test_no_face_is_the_worst(sets_of, packs, copies, tmp_path):
    sets = sets_of(Protocol.SELF, count=3, size=128)
    folder = copies(tmp_path / "tool", sets, "target")
    write_image(folder / f"{sets.sets[1].id}.png", np.full((128, 128, 3), 90, np.uint8))
    scored = read_all([open_predictions(folder)], packs, tmp_path / "cache")
    assert scored.scenes["tool"].failed.tolist() == [False, True, False]
    seen = failure_gallery(scored, "tool", "csim", count=1)
    np.testing.assert_array_equal(seen[20:180, -160:], 90)


def test_pose_curve(scored, packs):
    assert (pose_distance(packs, scored.sets.sets) > 0).all()
    first = scored.sets.sets[0]
    assert pose_distance(packs, [replace(first, targets=(first.driver,))])[0] == 0
    for score in ("csim", "pose_mae", "m_psnr"):
        assert pose_curve(scored, score).shape == (440, 720, 3)


def test_plot_draws_where_the_numbers_are():
    x = np.array([0.0, 1.0, 2.0])
    flat = Curve(x, np.array([1.0, 1.0, 1.0]), np.full(3, np.nan), np.full(3, np.nan))
    rising = Curve(x, np.array([0.0, 1.0, 2.0]), x - 0.1, x + 0.1)
    picture = plot({"flat": flat, "rising": rising}, title="t", x_title="x", y_title="y")
    blue = np.argwhere((picture == (31, 119, 180)).all(axis=2))
    blue = blue[blue[:, 0] > 80]  # below the legend
    red = np.argwhere((picture == (214, 39, 40)).all(axis=2))
    red = red[red[:, 0] > 80]
    assert np.ptp(blue[:, 0]) < 12, "a level line"
    left, right = red[red[:, 1] < 250], red[red[:, 1] > 500]
    assert left[:, 0].mean() > right[:, 0].mean() + 100, "rising to the right"
    empty = np.full(3, np.nan)
    assert plot({"a": Curve(x, empty, empty, empty)}, title="t", x_title="x", y_title="y").shape == (440, 720, 3)


def test_a_far_reference_does_not_flatten_the_others():
    x, nothing = np.array([0.0, 1.0]), np.full(2, np.nan)
    ours = Curve(x, np.array([20.0, 24.0]), nothing, nothing)

    def height(reference):
        curves = {"ours": ours, "ceiling": Curve(x, np.full(2, reference), nothing, nothing, reference=True)}
        picture = plot(curves, title="t", x_title="x", y_title="y")[:, :550]  # without the legend
        blue, red = ((picture == colour).all(axis=2) for colour in ((31, 119, 180), (214, 39, 40)))
        return np.ptp(np.flatnonzero(blue.any(axis=1))), red.any()

    alone, seen = height(100.0)
    assert not seen
    near, seen = height(28.0)
    assert seen
    assert near < 0.6 * alone


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3.2, 17), (0.681, 0.702), (1000, 9000)])
def test_ticks_are_round_and_inside(low, high):
    ticks = _ticks(low, high)
    assert 3 <= len(ticks) <= 9
    assert low <= ticks[0]
    assert ticks[-1] <= high
    assert np.allclose(np.diff(ticks), ticks[1] - ticks[0])


def test_empty_cells_stay_white():
    sheet = contact_sheet([[np.zeros((8, 8, 3), np.uint8), None]], ["a", "b"], [""], cell_px=32)
    assert sheet.shape == (52, 64, 3)
    assert sheet[20:, :32].max() == 0
    assert sheet[20:, 32:].min() == 255


def small_hybrid(**changes):
    torch.manual_seed(0)
    return Hybrid(HybridConfig(resolution=64, base_width=8, **changes)).eval()


def test_attention(sets_of, packs):
    torch.manual_seed(0)
    config = MarioNETteConfig(resolution=64, base_width=8, max_width=16)
    model = MarioNETte(config).eval()
    sets = sets_of(Protocol.SELF, k=2, count=2)
    figure = attention_figure(model, sets.sets, packs, Way.TRUTH)
    assert figure.shape == (20 + 2 * 180, 6 * 160, 3)


@pytest.mark.parametrize("model", [create_model("warp"), small_hybrid()], ids=["warp", "hybrid"])
def test_no_attention(model, sets_of, packs):
    with pytest.raises(ValueError, match="no attention"):
        attention_figure(model, sets_of(Protocol.SELF, k=2, count=2).sets, packs, Way.TRUTH)


def test_models_at_their_own_size(sets_of, packs, tmp_path):
    """A trained model draws at its resolution; what is kept has the protocol's."""
    torch.manual_seed(0)
    model = MarioNETte(MarioNETteConfig(resolution=64, base_width=8, max_width=16)).eval()
    sets = sets_of(Protocol.SELF, k=2, count=2, size=128)
    assert drawn_at(model, 128) == 64
    with torch.inference_mode():
        drawn = draw(model, sets.sets, packs, Wanted(packs, 64, Way.TRUTH), 128)
    assert {picture.shape for picture in drawn.values()} == {(128, 128, 3)}
    with pytest.raises(ReenactError, match="no weights"):
        Entry("marionette", tmp_path).method(Protocol.SELF)
