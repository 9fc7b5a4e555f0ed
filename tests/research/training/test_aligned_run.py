"""Runs of models whose faces are aligned to the mean shape."""

import pytest

from reenactor.core import Alignment, ReenactError
from reenactor.models import create_model
from reenactor.models.oneshot import FusionObjectiveConfig, OneShotConfig, OneShotObjectiveConfig
from reenactor.research.data.pairs import PairKind
from reenactor.research.training import PairData, updated

TINY = OneShotConfig(resolution=64, base_width=4, max_width=8, fusion_width=4, discriminator_width=4, fusion="none")
ALIGNED = TINY.model_copy(update={"alignment": Alignment.MEAN_SHAPE})


def changes(model, alignment):
    return {
        "objective": OneShotObjectiveConfig(model=model, perceptual=0, identity=0),
        "data": PairData(size=64, targets=1, alignment=alignment, mix={PairKind.CONTOUR: 1.0}),
        "steps": 2,
        "sample_every": 2,
    }


def test_the_weights_know_their_crop_and_fusion_follows(run, config):
    trained = run(updated(config, changes(ALIGNED, Alignment.MEAN_SHAPE)), "aligned")
    assert create_model("oneshot", trained.model).needs.alignment is Alignment.MEAN_SHAPE
    data = PairData(
        size=64, targets=1, alignment=Alignment.MEAN_SHAPE, mix={PairKind.CLIP: 0.5, PairKind.WARP_BACK: 0.5}
    )
    fusing = {"objective": FusionObjectiveConfig(decoder=trained.model), "data": data, "steps": 2, "sample_every": 2}
    fused = run(updated(config, fusing), "fused")
    model = create_model("oneshot", fused.model)
    assert (model.config.fusion, model.needs.alignment) == ("learned", Alignment.MEAN_SHAPE)
    with pytest.raises(ReenactError, match=r"add --set data\.alignment=mean_shape"):
        run(updated(config, {**fusing, "data": data.model_copy(update={"alignment": Alignment.BOX})}), "mixed")


@pytest.mark.parametrize("model", [TINY, ALIGNED], ids=["box", "mean_shape"])
def test_data_of_the_other_alignment_is_refused(run, config, model):
    other = Alignment.BOX if model is ALIGNED else Alignment.MEAN_SHAPE
    with pytest.raises(ReenactError, match=rf"add --set data\.alignment={model.alignment}"):
        run(updated(config, changes(model, other)), "mixed")
