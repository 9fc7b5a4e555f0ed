"""Landmarks -> what networks see."""
