"""The models, behind one contract."""

from reenactor.models.contract import Needs, PhotoMap, PhotoUse, ReenactmentModel
from reenactor.models.registry import METHODS, Method, create_model

__all__ = ["METHODS", "Method", "Needs", "PhotoMap", "PhotoUse", "ReenactmentModel", "create_model"]
