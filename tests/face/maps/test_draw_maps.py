"""Maps by name are the maps that the functions draw, for any number of axes."""

import pytest
import torch

from reenactor.core import MapKind
from reenactor.face import maps

SIZE = 64
DRAWN = {
    MapKind.LANDMARK_RASTER: maps.landmark_raster,
    MapKind.IRIS_RASTER: lambda mesh, size: maps.landmark_raster(mesh, size, irises=True),
    MapKind.BOUNDARIES: maps.boundary_maps,
    MapKind.PARSING: maps.parsing_map,
    MapKind.HULL_MASK: maps.hull_mask,
    MapKind.FACE_MASK: maps.face_mask,
}


@pytest.mark.parametrize("kind", list(MapKind))
def test_each_name_draws_its_map(kind, faces):
    expected = DRAWN[kind](faces / 2, SIZE)
    torch.testing.assert_close(maps.draw_maps([kind], faces / 2, SIZE)[kind], expected)


def test_axes_before_the_points_are_kept(faces):
    pairs = (faces / 2).unflatten(0, (2, 3))
    drawn = maps.draw_maps([MapKind.PARSING, MapKind.HULL_MASK], pairs, SIZE)
    assert drawn[MapKind.PARSING].shape == (2, 3, 9, SIZE, SIZE)
    torch.testing.assert_close(drawn[MapKind.HULL_MASK].flatten(0, 1), maps.hull_mask(faces / 2, SIZE))
    one = maps.draw_maps([MapKind.PARSING], faces[0] / 2, SIZE)[MapKind.PARSING]
    torch.testing.assert_close(one, drawn[MapKind.PARSING][0, 0])


def test_nothing_wanted_nothing_drawn(faces):
    assert maps.draw_maps([], faces, SIZE) == {}
