"""The driver's landmarks on the target's face."""

from reenactor.face.retarget.relative import Retargeter, neutral_frame, transfer_expression

__all__ = ["Retargeter", "neutral_frame", "transfer_expression"]
