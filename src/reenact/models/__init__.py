"""The models, behind one contract."""

from reenact.models.contract import Needs, ReenactmentModel
from reenact.models.zoo import ZOO, create_model

__all__ = ["ZOO", "Needs", "ReenactmentModel", "create_model"]
