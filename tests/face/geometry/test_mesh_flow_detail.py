"""The mesh flow's detail: exact around mouth and eyes, so that nothing of their inside shows where they are closed."""

import numpy as np
import pytest
import torch

from factories import posed
from reenactor.face.geometry import mean_face, with_lips_closed
from reenactor.face.geometry.mesh_flow import MeshFlow, mesh_flow
from reenactor.face.geometry.mesh_flow_numpy import inside_boxes, opening_boxes
from reenactor.nn import resized

SIDE, COARSE, FINE = 256, 64, 256


def mouth_open(by):
    points = mean_face().points.astype(np.float64)
    lower = np.clip((points[:, 1] - points[13, 1]) / 0.08, 0, 1)
    lower[[78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 61, 291, 0, 37, 39, 40, 267, 269, 270]] = 0
    points[:, 1] += by * lower
    return points


OPEN = posed(mouth_open(0.2), scale=100, at=(128, 128))
SHUT = posed(with_lips_closed(mean_face().points), angles_deg=(6, 3, 4), scale=100, at=(128, 128))


def flow_of(photo, target, **sizes):
    return mesh_flow(torch.from_numpy(photo)[None], torch.from_numpy(target)[None], SIDE, **sizes)


def enlarged(flow):
    """To the size of its detail, and with it."""
    coarse = resized(flow.flow_ndc, FINE)
    return coarse if flow.detail_ndc is None else coarse + flow.detail_ndc


@pytest.fixture(scope="module")
def found() -> MeshFlow:
    return flow_of(OPEN, SHUT, map_size=COARSE, fine_size=FINE)


def test_inside_the_boxes_the_flow_is_the_fine_one(found):
    exact = flow_of(OPEN, SHUT, map_size=FINE).flow_ndc[0]
    inside = inside_boxes(opening_boxes(OPEN.astype(float), SHUT.astype(float), SIDE, FINE), FINE)
    assert 1000 < inside.sum() < 4000
    np.testing.assert_allclose(enlarged(found)[0][:, inside], exact[:, inside], atol=2e-6)
    assert not found.detail_ndc[0][:, ~inside].any()


def test_closed_lips_show_no_teeth(found):
    """Rows of the photo that the column through the middle of the mouth shows, from above to below the lips."""
    x, y = SHUT[13, :2].round().astype(int)
    rows = np.arange(y - 4, y + 5)
    teeth = OPEN[13, 1] + 2, OPEN[14, 1] - 2

    def shown(flow):
        return rows + enlarged(flow)[0, 1, rows, x].numpy() * FINE / 2

    def inside(at):
        return ((at > teeth[0]) & (at < teeth[1])).sum()

    assert inside(shown(found)) == 0
    assert inside(shown(flow_of(OPEN, SHUT, map_size=COARSE))) >= 2


def test_together_and_one_by_one(found):
    # Landmarks whose outer corners of the eyes coincide take the way of GPUs.
    from reenactor.face.geometry import mesh_flow as module

    pairs = [torch.from_numpy(np.stack([one, one])).double() for one in (OPEN, SHUT)]
    together = module._mesh_flow_batched(*pairs, SIDE, FINE).flow_ndc
    inside = inside_boxes(opening_boxes(OPEN.astype(float), SHUT.astype(float), SIDE, FINE), FINE)
    difference = (together[0] - enlarged(found)[0])[:, torch.from_numpy(inside)].abs() * FINE / 2
    assert float(difference.quantile(0.99)) < 0.01


def test_nothing_is_finer_where_nothing_closes():
    assert not flow_of(SHUT, OPEN, map_size=COARSE, fine_size=FINE).detail_ndc.any()


def test_the_detail_must_be_asked_for():
    assert flow_of(OPEN, SHUT, map_size=COARSE).detail_ndc is None
