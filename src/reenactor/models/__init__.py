"""The models, behind one contract."""

from reenactor.models.contract import Needs, ReenactmentModel
from reenactor.models.zoo import ZOO, create_model

__all__ = ["ZOO", "Needs", "ReenactmentModel", "create_model"]
