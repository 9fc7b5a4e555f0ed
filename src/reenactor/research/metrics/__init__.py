"""How good results are: what the papers report, and what they leave out. Each docstring says its protocol.

Functions give a value per picture, frame or clip (or one number where the metric is no mean of such); `Average` turns
the former into a running result, the other classes the latter. Running results merge across processes by addition.
"""

from reenactor.core import ActionUnits
from reenactor.research.metrics.functional import (
    Outside,
    angle_errors,
    au_consistency,
    au_intensity_correlation,
    aucon,
    aucon_chance,
    csim,
    fid,
    frechet_distance,
    gaze_error,
    identity_distance,
    landmark_nme,
    lpips,
    m_psnr,
    m_ssim,
    pose_mae,
    prmse,
    psnr,
    roughness,
    sharpness,
    sharpness_ratio,
    ssim,
    ssim_map,
    temporal_jitter,
    verification_rate,
)
from reenactor.research.metrics.intervals import Interval, bootstrap_interval, paired_difference
from reenactor.research.metrics.metric import AUCON, FID, PRMSE, AUCONScores, AUIntensityCorrelation, Average, Metric
from reenactor.research.metrics.openface import OpenFaceReading, read_openface, run_openface

__all__ = [
    "AUCON",
    "FID",
    "PRMSE",
    "AUCONScores",
    "AUIntensityCorrelation",
    "ActionUnits",
    "Average",
    "Interval",
    "Metric",
    "OpenFaceReading",
    "Outside",
    "angle_errors",
    "au_consistency",
    "au_intensity_correlation",
    "aucon",
    "aucon_chance",
    "bootstrap_interval",
    "csim",
    "fid",
    "frechet_distance",
    "gaze_error",
    "identity_distance",
    "landmark_nme",
    "lpips",
    "m_psnr",
    "m_ssim",
    "paired_difference",
    "pose_mae",
    "prmse",
    "psnr",
    "read_openface",
    "roughness",
    "run_openface",
    "sharpness",
    "sharpness_ratio",
    "ssim",
    "ssim_map",
    "temporal_jitter",
    "verification_rate",
]
