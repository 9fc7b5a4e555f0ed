"""Metrics: what the papers report, and what they leave out. Each docstring states the protocol.

Functions give a value per picture, frame or clip; evaluation averages them, with intervals (`intervals`).
"""

from reenactor.core import ActionUnits
from reenactor.research.metrics.action_units import au_consistency, au_intensity_correlation, aucon, aucon_chance
from reenactor.research.metrics.arcface import ArcFaceEmbedder, ArcFaceFile, arcface_chip, read_arcface
from reenactor.research.metrics.features import csim, fid, lpips, verification_rate
from reenactor.research.metrics.intervals import Interval, bootstrap_interval, paired_difference
from reenactor.research.metrics.landmarks import (
    angle_errors,
    gaze_error,
    landmark_nme,
    pose_mae,
    roughness,
    temporal_jitter,
)
from reenactor.research.metrics.openface import OpenFaceReading, find_openface, read_openface, run_openface
from reenactor.research.metrics.pictures import black_outside, psnr, sharpness, ssim, ssim_map, ssim_mean

__all__ = [
    "ActionUnits",
    "ArcFaceEmbedder",
    "ArcFaceFile",
    "Interval",
    "OpenFaceReading",
    "angle_errors",
    "arcface_chip",
    "au_consistency",
    "au_intensity_correlation",
    "aucon",
    "aucon_chance",
    "black_outside",
    "bootstrap_interval",
    "csim",
    "fid",
    "find_openface",
    "gaze_error",
    "landmark_nme",
    "lpips",
    "paired_difference",
    "pose_mae",
    "psnr",
    "read_arcface",
    "read_openface",
    "roughness",
    "run_openface",
    "sharpness",
    "ssim",
    "ssim_map",
    "ssim_mean",
    "temporal_jitter",
    "verification_rate",
]
