"""`reenactor models`: what can draw, and what can be trained."""

from __future__ import annotations

import argparse
import inspect
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reenactor.research.training import RunConfig


def add_parser(verbs: argparse._SubParsersAction) -> None:
    """Describe the verb."""
    p = verbs.add_parser("models", help="list models and recipes", description="List the models and the recipes.")
    p.add_argument("-v", "--verbose", action="store_true", help="count operations too")
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """List."""
    from reenactor.engine.loading import SYSTEMS
    from reenactor.models import METHODS
    from reenactor.nn.checkpoint import shipped_checkpoint
    from reenactor.research.recipes import RECIPES

    print("models (reenactor animate --model NAME):")
    for name, system in SYSTEMS.items():
        kind = METHODS[system.model].model
        weights = "needs none" if not kind.trained else "ship" if shipped_checkpoint(system.model) else "to be trained"
        print(f"  {name:<14} weights: {weights:<14} {system.about or _summary(kind)}")
    print("\nrecipes (reenactor train NAME --data DIR --out RUN):")
    for name, make in RECIPES.items():
        print(f"  {name:<28} {_size(make(), verbose=args.verbose):<10} {_summary(make)}")
    return 0


def _size(config: RunConfig, *, verbose: bool) -> str:
    """Of the model, for one photo and one frame; a multiply-add is two operations. Empty for what does not draw."""
    from reenactor.models import METHODS
    from reenactor.models.sizes import count_parameters, model_size

    method, trained = METHODS.get(config.objective.kind), getattr(config.objective, "model", None)
    if method is None or trained is None:
        return ""
    if not verbose:
        return f"{count_parameters(method.model, trained) / 1e6:.1f} M"
    size = model_size(method.model, trained)
    return (
        f"{size.parameters / 1e6:.1f} M parameters; {size.encode_flop / 1e9:.1f} GFLOP a photo and "
        f"{size.frame_flop / 1e9:.1f} a frame at {size.resolution} px. "
    )


def _summary(what: object) -> str:
    return (inspect.getdoc(what) or "").partition("\n")[0]
