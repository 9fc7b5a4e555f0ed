"""The graphs in PyTorch against the models that they are parts of."""

import pytest
import torch

from reenactor.engine.runtimes.export import in_torch, parity
from reenactor.models import METHODS
from small_models import SMALL, fresh, people, small

VARIANTS = {
    "hybrid": [{}, {"mirror_from_degrees": 0.0}],
    "marionette": [{}, {"blender": "adain"}, {"alignment": False}],
    "oneshot": [{}, {"concatenate": False}, {"fusion": "none"}, {"fusion": "handmade"}],
}


@pytest.mark.parametrize(("name", "change"), [(name, change) for name in VARIANTS for change in VARIANTS[name]])
def test_whole_models(name, change):
    model = fresh(METHODS[name].model, SMALL[name].model_copy(update=change))
    near = parity(model, in_torch(model, torch.device("cpu")), people(model, 1, 3))
    assert near.max_error < 2e-4
    assert near.frames == 2


def test_code_of_another_model_is_refused(unchecked):
    model = in_torch(small("oneshot"), torch.device("cpu"))
    (_, driver), *_ = people(model, 1)
    with pytest.raises(TypeError, match="ExportedCode"):
        model.synthesize(object(), driver)
