"""The driver's landmarks on the target's face."""

from reenactor.face.retarget.moderation import EASE_S, Easing, Moderation
from reenactor.face.retarget.parts import PartsRetargeter
from reenactor.face.retarget.relative import Retargeter, neutral_frame, transfer_expression
from reenactor.face.retarget.rest import DriverRest, usual_face

__all__ = [
    "EASE_S",
    "DriverRest",
    "Easing",
    "Moderation",
    "PartsRetargeter",
    "Retargeter",
    "neutral_frame",
    "transfer_expression",
    "usual_face",
]
