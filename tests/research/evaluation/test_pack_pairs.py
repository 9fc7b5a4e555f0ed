"""Pairs of a pack as a model takes them."""

from itertools import islice

import numpy as np
import pytest
import torch

from reenactor.face.maps import draw_maps
from reenactor.models.marionette import MarioNETte, MarioNETteConfig
from reenactor.research.data import Split
from reenactor.research.data.pair_stream import PairData, PairStream
from reenactor.research.data.pairs import PairKind
from reenactor.research.evaluation.packs import pairs_of_pack

MARIONETTE = MarioNETteConfig(resolution=64, base_width=8, max_width=16)


@pytest.mark.parametrize("mix", [None, {PairKind.CLIP: 1.0}])
def test_pairs_are_the_streams(mix, pack):
    model = MarioNETte(MARIONETTE).eval()
    data = PairData(size=64, targets=1) if mix is None else PairData(size=64, targets=1, mix=mix)
    both = pairs_of_pack(model, pack, Split.TRAIN, mix=mix), PairStream(pack, data, split=Split.TRAIN, seed=0)
    for one, true in zip(*(islice(pairs, 4) for pairs in both), strict=True):
        for images, pixels in ((one.targets.images, true["targets"]), (one.truth[0], true["truth"])):
            np.testing.assert_array_equal(images.add(1).mul(127.5).round().byte().numpy(), pixels)
        np.testing.assert_array_equal(one.targets.mesh_px, true["target_mesh"])
        np.testing.assert_array_equal(one.driver.mesh_px[0], true["driver_mesh"])
        for mesh_px, maps in ((one.targets.mesh_px, one.targets.maps), (one.driver.mesh_px, one.driver.maps)):
            drawn = draw_maps(model.needs.maps, torch.from_numpy(mesh_px), 64)
            assert maps.keys() == drawn.keys()
            assert all(torch.equal(maps[kind], drawn[kind]) for kind in drawn)
