"""Runs by name: one function for each published configuration or row of a table, and for what ships."""

from collections.abc import Callable

from reenact.core import ReenactError
from reenact.recipes import landmark_transformer, marionette
from reenact.training import RunConfig

RECIPES: dict[str, Callable[[], RunConfig]] = {
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
}


def recipe(name: str) -> RunConfig:
    """The complete config of a run.

    Raises:
        ReenactError: if there is no recipe of that name.
    """
    if name not in RECIPES:
        raise ReenactError(f"there is no recipe '{name}'; 'reenact models' lists them: {', '.join(RECIPES)}")
    return RECIPES[name]()


__all__ = ["RECIPES", "recipe"]
