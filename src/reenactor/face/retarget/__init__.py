"""The driver's landmarks on the target's face."""

from reenactor.face.retarget.parts import PartsRetargeter
from reenactor.face.retarget.relative import Retargeter, neutral_frame, transfer_expression
from reenactor.face.retarget.rest import DriverRest

__all__ = ["DriverRest", "PartsRetargeter", "Retargeter", "neutral_frame", "transfer_expression"]
