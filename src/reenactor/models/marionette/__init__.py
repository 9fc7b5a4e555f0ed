"""MarioNETte (paper B): attention and aligned features carry a person's looks to a driver's landmarks."""

from reenactor.models.marionette.config import MarioNETteConfig
from reenactor.models.marionette.discriminator import MarioNETteDiscriminator
from reenactor.models.marionette.model import MarioNETte, MarioNETteCode, MarioNETteGenerator
from reenactor.models.marionette.objective import MarioNETteObjective, MarioNETteObjectiveConfig

__all__ = [
    "MarioNETte",
    "MarioNETteCode",
    "MarioNETteConfig",
    "MarioNETteDiscriminator",
    "MarioNETteGenerator",
    "MarioNETteObjective",
    "MarioNETteObjectiveConfig",
]
