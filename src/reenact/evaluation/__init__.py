"""How good methods are, by both papers' protocols: pictures are drawn once, then scored (docs/evaluation.md)."""

from reenact.evaluation.export import Entry, export, export_inputs
from reenact.evaluation.packs import Frame, Packs
from reenact.evaluation.predictions import Method, Predictions, open_predictions
from reenact.evaluation.protocols import ImageSet, Protocol, SetList, choose_sets, read_sets
from reenact.evaluation.report import score_folders
from reenact.evaluation.scores import SCORES, Better, Score
from reenact.evaluation.scoring import Result, Scored, read_all, read_results, write_results
from reenact.evaluation.tables import Form, ablation_tables, result_tables, write_tables
from reenact.evaluation.transfer import Way
from reenact.evaluation.work import Crew

__all__ = [
    "SCORES",
    "Better",
    "Crew",
    "Entry",
    "Form",
    "Frame",
    "ImageSet",
    "Method",
    "Packs",
    "Predictions",
    "Protocol",
    "Result",
    "Score",
    "Scored",
    "SetList",
    "Way",
    "ablation_tables",
    "choose_sets",
    "export",
    "export_inputs",
    "open_predictions",
    "read_all",
    "read_results",
    "read_sets",
    "result_tables",
    "score_folders",
    "write_results",
    "write_tables",
]
