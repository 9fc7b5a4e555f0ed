"""Adapters by the names of their models."""

from __future__ import annotations

from pydantic import BaseModel

from reenactor.core import ReenactError
from reenactor.engine.runtimes.adapter import Adapter
from reenactor.engine.runtimes.hybrid import HybridAdapter
from reenactor.engine.runtimes.marionette import MarioNETteAdapter
from reenactor.engine.runtimes.oneshot import OneShotAdapter

ADAPTERS: dict[str, type[Adapter]] = {
    "hybrid": HybridAdapter,
    "marionette": MarioNETteAdapter,
    "oneshot": OneShotAdapter,
}


def adapter_of(name: str, config: BaseModel) -> Adapter:
    """Of the model of that name.

    Raises:
        ReenactError: it has no network.
    """
    if name not in ADAPTERS:
        raise ReenactError(f"'{name}' cannot be exported; choose one of: {', '.join(ADAPTERS)}")
    return ADAPTERS[name](config)  # pyright: ignore[reportCallIssue]
