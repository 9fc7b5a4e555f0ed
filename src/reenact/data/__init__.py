"""Folders of videos and photos -> shards -> training pairs."""

from reenact.data.items import FaceBoxes, Item, Kind, Split
from reenact.data.packing import Plan
from reenact.data.settings import Settings
from reenact.data.shards import Sample, ShardReader

__all__ = ["FaceBoxes", "Item", "Kind", "Plan", "Sample", "Settings", "ShardReader", "Split"]
