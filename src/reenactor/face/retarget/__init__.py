"""The driver's landmarks on the target's face."""

from reenactor.face.retarget.neutral import neutral_frame
from reenactor.face.retarget.relative import Retargeter, in_mean_pose, transfer_expression

__all__ = ["Retargeter", "in_mean_pose", "neutral_frame", "transfer_expression"]
