"""Folders of videos and photos -> shards -> training pairs."""
