"""Folders of videos and photos to shards, and shards to training samples."""

from reenactor.research.data.items import FaceBoxes, Item, Kind, Split
from reenactor.research.data.packing import Plan
from reenactor.research.data.samples import Settings
from reenactor.research.data.shards import Sample, ShardReader

__all__ = ["FaceBoxes", "Item", "Kind", "Plan", "Sample", "Settings", "ShardReader", "Split"]
