"""Everything that ships by name: what draws, from whose landmarks, and that it draws the person in the photo."""

import numpy as np
import pytest

from reenactor.core import ReenactError, Transfer
from reenactor.engine import Reenactor
from reenactor.engine.loading import SYSTEMS, system
from reenactor.engine.shipped import demo_photo, shipped_motions
from reenactor.face.retarget import DriverRest
from reenactor.media import read_motion
from reenactor.models import METHODS
from reenactor.nn.checkpoint import read_checkpoint, shipped_checkpoint

TRAINED = [name for name, method in METHODS.items() if method.model.trained]


def test_marionette_lt_is_marionette_with_the_landmark_transformer():
    assert set(SYSTEMS) == {*METHODS, "marionette-lt"}
    reenactor = Reenactor("marionette-lt")
    assert (reenactor.model.name, reenactor.transfer) == ("marionette", Transfer.TRANSFORMER)
    assert Reenactor("marionette-lt", transfer=Transfer.ABSOLUTE).transfer is Transfer.ABSOLUTE
    assert Reenactor("marionette").transfer is Transfer.PARTS
    assert system("nobody's").model == "nobody's"
    with pytest.raises(ReenactError, match="there is no model"):
        Reenactor("nobody's")


@pytest.mark.parametrize("name", TRAINED)
def test_a_card_tells_how_good_the_weights_are(name):
    card = read_checkpoint(shipped_checkpoint(name)).card
    assert all(part in card for part in ("**Trained on**", "**By**", "**Measured**", "**Limits.**"))


def test_all_weights_stay_small():
    folder = shipped_checkpoint(TRAINED[0]).parent
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) < 28e6


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_person_is_drawn_and_moves(name):
    reenactor = Reenactor(name)
    target = reenactor.set_target([demo_photo()])
    crop = target.crop.cut(demo_photo()).astype(float)
    talk = read_motion(shipped_motions()["talk"]).mesh_px
    retargeter = reenactor.retargeter(DriverRest.given(talk[0]))
    still, moved = (reenactor.draw(retargeter(talk[i])).astype(float) for i in (0, 20))
    assert still.shape == crop.shape
    middle = (slice(len(crop) // 4, -len(crop) // 4),) * 2
    # A grey picture is 60 away, somebody else's face 40.
    assert np.abs(still - crop)[middle].mean() < 12
    assert np.abs(moved - still)[middle].mean() > 1
