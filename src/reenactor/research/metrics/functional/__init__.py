"""Metrics as pure functions: per picture or frame where the metric is a mean of such, else a number."""

from reenactor.research.metrics.functional.action_units import (
    au_consistency,
    au_intensity_correlation,
    aucon,
    aucon_chance,
)
from reenactor.research.metrics.functional.features import fid, frechet_distance, lpips
from reenactor.research.metrics.functional.identity import csim, identity_distance, verification_rate
from reenactor.research.metrics.functional.landmarks import gaze_error, landmark_nme, roughness, temporal_jitter
from reenactor.research.metrics.functional.pictures import (
    Outside,
    m_psnr,
    m_ssim,
    psnr,
    sharpness,
    sharpness_ratio,
    ssim,
    ssim_map,
)
from reenactor.research.metrics.functional.pose import angle_errors, pose_mae, prmse

__all__ = [
    "Outside",
    "angle_errors",
    "au_consistency",
    "au_intensity_correlation",
    "aucon",
    "aucon_chance",
    "csim",
    "fid",
    "frechet_distance",
    "gaze_error",
    "identity_distance",
    "landmark_nme",
    "lpips",
    "m_psnr",
    "m_ssim",
    "pose_mae",
    "prmse",
    "psnr",
    "roughness",
    "sharpness",
    "sharpness_ratio",
    "ssim",
    "ssim_map",
    "temporal_jitter",
    "verification_rate",
]
