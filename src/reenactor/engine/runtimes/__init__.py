"""Models as graphs for fast runtimes: exporting, simplifying, comparing, choosing."""

from reenactor.engine.runtimes.export import Parity, export_model, load_exported
from reenactor.engine.runtimes.fast import fast_model
from reenactor.engine.runtimes.formats import Format
from reenactor.engine.runtimes.model import ExportedModel
from reenactor.engine.runtimes.runtimes import Precision

__all__ = [
    "ExportedModel",
    "Format",
    "Parity",
    "Precision",
    "export_model",
    "fast_model",
    "load_exported",
]
