"""Runs by name: one function for each published configuration or row of a table, and for what ships."""

from collections.abc import Callable

from reenactor.core import ReenactError
from reenactor.research.recipes import hybrid, landmark_transformer, marionette, oneshot
from reenactor.research.training import RunConfig

RECIPES: dict[str, Callable[[], RunConfig]] = {
    "hybrid": hybrid.full,
    "hybrid-mouth": hybrid.mouth,
    "hybrid-no-mesh": hybrid.no_mesh,
    "hybrid-no-fusion": hybrid.no_fusion,
    "hybrid-no-warp-back": hybrid.no_warp_back,
    "marionette": marionette.paper,
    "marionette-adain": marionette.paper_adain,
    "marionette-attention": marionette.paper_attention,
    "marionette-alignment": marionette.paper_alignment,
    "marionette-lite": marionette.lite,
    "marionette-lite-adain": marionette.lite_adain,
    "marionette-lite-attention": marionette.lite_attention,
    "marionette-lite-alignment": marionette.lite_alignment,
    "landmark-transformer": landmark_transformer.mesh,
    "landmark-transformer-68": landmark_transformer.ibug68,
    "landmark-transformer-paper": landmark_transformer.paper,
    "oneshot": oneshot.paper,
    "oneshot-no-concat": oneshot.paper_no_concat,
    "oneshot-lambda-3": oneshot.paper_lambda_3,
    "oneshot-lambda-10": oneshot.paper_lambda_10,
    "oneshot-lambda-50": oneshot.paper_lambda_50,
    "oneshot-fusion": oneshot.paper_fusion,
    "oneshot-1-shot": oneshot.paper_1_shot,
    "oneshot-3-shot": oneshot.paper_3_shot,
    "oneshot-5-shot": oneshot.paper_5_shot,
    "oneshot-lite": oneshot.lite,
    "oneshot-lite-no-concat": oneshot.lite_no_concat,
    "oneshot-lite-lambda-3": oneshot.lite_lambda_3,
    "oneshot-lite-lambda-10": oneshot.lite_lambda_10,
    "oneshot-lite-lambda-50": oneshot.lite_lambda_50,
    "oneshot-lite-fusion": oneshot.lite_fusion,
    "oneshot-lite-1-shot": oneshot.lite_1_shot,
    "oneshot-lite-3-shot": oneshot.lite_3_shot,
    "oneshot-lite-5-shot": oneshot.lite_5_shot,
    "shape-encoder": oneshot.shape_encoder,
    "shape-encoder-lite": oneshot.shape_encoder_lite,
    "verification": oneshot.verification,
    "verification-lite": oneshot.verification_lite,
}


def recipe(name: str) -> RunConfig:
    """The complete config of a run.

    Raises:
        ReenactError: if there is no recipe of that name.
    """
    if name not in RECIPES:
        raise ReenactError(f"there is no recipe '{name}'; 'reenactor models' lists them: {', '.join(RECIPES)}")
    return RECIPES[name]()


__all__ = ["RECIPES", "recipe"]
