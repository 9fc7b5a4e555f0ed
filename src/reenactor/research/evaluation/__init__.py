"""Evaluation by both papers' protocols: pictures are drawn once (`export`), then measured and scored."""

from reenactor.research.evaluation.cases import Case, CaseList, Protocol, read_cases
from reenactor.research.evaluation.export import Entry, export, export_inputs
from reenactor.research.evaluation.judges import JudgeConfig, Masked, PoseAu, face_features
from reenactor.research.evaluation.packs import Frame, Packs, usual_split
from reenactor.research.evaluation.predictions import Method, Predictions, open_predictions, packs_of
from reenactor.research.evaluation.protocols import choose_cases
from reenactor.research.evaluation.report import RESULTS, score_folders
from reenactor.research.evaluation.scores import SCORES, Better, Score
from reenactor.research.evaluation.scoring import Result, Scored, measure_all, read_results, write_results
from reenactor.research.evaluation.tables import TableFormat, ablation_tables, result_tables, write_tables
from reenactor.research.evaluation.workers import WorkerPool

__all__ = [
    "RESULTS",
    "SCORES",
    "Better",
    "Case",
    "CaseList",
    "Entry",
    "Frame",
    "JudgeConfig",
    "Masked",
    "Method",
    "Packs",
    "PoseAu",
    "Predictions",
    "Protocol",
    "Result",
    "Score",
    "Scored",
    "TableFormat",
    "WorkerPool",
    "ablation_tables",
    "choose_cases",
    "export",
    "export_inputs",
    "face_features",
    "measure_all",
    "open_predictions",
    "packs_of",
    "read_cases",
    "read_results",
    "result_tables",
    "score_folders",
    "usual_split",
    "write_results",
    "write_tables",
]
