"""Models as graphs for fast runtimes: exporting, simplifying, comparing, choosing."""

from reenact.export.export import Parity, export_model, load_exported
from reenact.export.fast import fast_model
from reenact.export.formats import Format
from reenact.export.model import ExportedModel
from reenact.export.runtimes import Precision, Runtime

__all__ = [
    "ExportedModel",
    "Format",
    "Parity",
    "Precision",
    "Runtime",
    "export_model",
    "fast_model",
    "load_exported",
]
