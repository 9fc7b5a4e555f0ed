"""How good methods are, by both papers' protocols: pictures are drawn once, then scored (docs/evaluation.md)."""

from reenactor.research.evaluation.export import Entry, export, export_inputs
from reenactor.research.evaluation.packs import Frame, Packs
from reenactor.research.evaluation.predictions import Method, Predictions, open_predictions
from reenactor.research.evaluation.protocols import Case, CaseList, Protocol, choose_cases, read_cases
from reenactor.research.evaluation.report import score_folders
from reenactor.research.evaluation.scores import SCORES, Better, Score
from reenactor.research.evaluation.scoring import Result, Scored, read_all, read_results, write_results
from reenactor.research.evaluation.tables import Form, ablation_tables, result_tables, write_tables
from reenactor.research.evaluation.transfer import Way
from reenactor.research.evaluation.workers import WorkerPool

__all__ = [
    "SCORES",
    "Better",
    "Case",
    "CaseList",
    "Entry",
    "Form",
    "Frame",
    "Method",
    "Packs",
    "Predictions",
    "Protocol",
    "Result",
    "Score",
    "Scored",
    "Way",
    "WorkerPool",
    "ablation_tables",
    "choose_cases",
    "export",
    "export_inputs",
    "open_predictions",
    "read_all",
    "read_cases",
    "read_results",
    "result_tables",
    "score_folders",
    "write_results",
    "write_tables",
]
