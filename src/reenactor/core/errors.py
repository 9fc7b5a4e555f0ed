"""Errors that a user can do something about."""

from __future__ import annotations


class ReenactError(Exception):
    """Something outside the program is wrong; the message is one sentence that says what and what to do.

    The command line prints the message and exits with code 2; programs that embed reenactor catch this class.
    """


class MediaError(ReenactError):
    """An image or video cannot be read or written."""


class NoFaceError(ReenactError):
    """No face was found where one is needed."""


class CheckpointError(ReenactError):
    """Weights or a motion file are missing, damaged, or of a version that this release does not read."""
