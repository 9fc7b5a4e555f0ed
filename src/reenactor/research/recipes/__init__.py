"""Recipes: named, complete configs of runs, one for each published configuration and each model that ships.

Each module has functions that return a `RunConfig`, and `ROWS`: name -> a line about it and a function of the name.
"""

from collections.abc import Callable

from reenactor.core import ReenactError
from reenactor.research.recipes import hybrid, landmark_transformer, marionette, oneshot
from reenactor.research.training import RunConfig


def _named(name: str, about: str, make: Callable[[str], RunConfig]) -> Callable[[], RunConfig]:
    def run() -> RunConfig:
        return make(name)

    run.__doc__ = about
    return run


_MODULES = (hybrid, marionette, landmark_transformer, oneshot)
RECIPES: dict[str, Callable[[], RunConfig]] = {
    name: _named(name, about, make) for module in _MODULES for name, (about, make) in module.ROWS.items()
}
"""By name; the docstring of each is one line for lists."""


def recipe(name: str) -> RunConfig:
    """The complete config of a run.

    Raises:
        ReenactError: there is no recipe of that name.
    """
    if name not in RECIPES:
        raise ReenactError(f"there is no recipe '{name}'; 'reenactor models' lists them: {', '.join(RECIPES)}")
    return RECIPES[name]()


__all__ = ["RECIPES", "recipe"]
