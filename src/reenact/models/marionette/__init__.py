"""MarioNETte (paper B): attention and aligned features carry a person's looks to a driver's landmarks."""

from reenact.models.marionette.config import MarioNETteConfig
from reenact.models.marionette.discriminator import Judgement, MarioNETteDiscriminator
from reenact.models.marionette.model import MarioNETte, MarioNETteCode, MarioNETteGenerator, attention_received
from reenact.models.marionette.objective import MarioNETteObjective, MarioNETteObjectiveConfig

__all__ = [
    "Judgement",
    "MarioNETte",
    "MarioNETteCode",
    "MarioNETteConfig",
    "MarioNETteDiscriminator",
    "MarioNETteGenerator",
    "MarioNETteObjective",
    "MarioNETteObjectiveConfig",
    "attention_received",
]
