"""Faces: geometry, perception (pixels to landmarks), maps (landmarks to what networks see), retargeting."""
