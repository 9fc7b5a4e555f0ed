"""Where the time goes between a driver file and a result file."""

from __future__ import annotations

import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from reenact.inference.job import Layout, Options, animate
from reenact.inference.reenactor import STANDARD_SIZE, Reenactor, track_neutral
from reenact.inference.report import peak_memory_mib
from reenact.inference.shipped import demo_photo, shipped_motions
from reenact.inference.track import Track
from reenact.media import VideoReader, VideoWriter, read_motion, write_image
from reenact.perception import FaceTracker

_ROUNDS = 3
_FRAMES = 100


def measure(model: str = "warp") -> dict[str, Any]:
    """Time the stages and whole jobs; stages are interleaved, so that a busy moment hits all of them alike.

    Returns:
        `stages_ms` (median, 10th and 90th percentile per frame), `jobs` (frames per second of whole jobs, from
        file to file, all stages included), `peak_memory_mib`, `machine`.
    """
    with tempfile.TemporaryDirectory(prefix="reenact-bench-") as name:
        folder = Path(name)
        photo = folder / "photo.png"
        write_image(photo, demo_photo())
        motion = shipped_motions()["talk"]
        driver = folder / "driver.mp4"
        crop = Options(model=model, layout=Layout.CROP, size=STANDARD_SIZE, provenance=False)
        animate([photo], motion, driver, crop)
        jobs = {}
        for label, options in (
            ("256 px video to 256 px crop", crop),
            ("256 px video to 512 px photo, signed", Options(model=model)),
        ):
            reports = [animate([photo], driver, folder / f"out{i}.mp4", options) for i in range(_ROUNDS)]
            jobs[label] = statistics.median(r.frames / r.seconds for r in reports)
        stages = _stages(model, driver, folder)
    return {
        "model": model,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__} with "
        f"{torch.get_num_threads()} threads, Python {platform.python_version()}",
        "stages_ms": stages,
        "jobs_fps": jobs,
        "peak_memory_mib": peak_memory_mib(),
    }


def _stages(model: str, driver: Path, folder: Path) -> dict[str, tuple[float, float, float]]:
    reenactor = Reenactor(model, size=STANDARD_SIZE)
    reenactor.set_target([demo_photo()])
    track = Track.of_motion(read_motion(shipped_motions()["talk"]))
    retarget = reenactor.retargeter(track_neutral(track))
    times: dict[str, list[float]] = {}

    def timed(stage: str, work: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        value = work()
        times.setdefault(stage, []).append(1000 * (time.perf_counter() - start))
        return value

    writer = VideoWriter(
        folder / "stages.mp4", size=(STANDARD_SIZE, STANDARD_SIZE), time_base=track.time_base, rate_hint=track.rate
    )
    with VideoReader(driver, precise=False) as reader, FaceTracker() as tracker, writer:
        frames = iter(reader)
        for i in range(min(_FRAMES, len(track))):
            frame = timed("decode", lambda: next(frames))
            seen = timed("landmarks", lambda image=frame.image: tracker.track(image))
            mesh = timed("retarget", lambda mesh=seen.landmarks.mesh: retarget(mesh))
            face = timed("draw", lambda mesh=mesh: reenactor.draw(mesh))
            timed("paste into photo", lambda face=face: reenactor.paste(face))
            timed("encode", lambda face=face, pts=int(track.pts[i]): writer.write(face, pts))
    return {stage: _spread(values[5:]) for stage, values in times.items()}


def _spread(values: list[float]) -> tuple[float, float, float]:
    """Median, 10th and 90th percentile."""
    tenths = statistics.quantiles(values, n=10)
    return statistics.median(values), tenths[0], tenths[-1]


def render(result: dict[str, Any]) -> str:
    """The result as Markdown tables."""
    lines = [
        f"{result['model']} on {result['machine']}",
        "",
        "| stage (256 px) | ms per frame | 10-90% |",
        "|---|---:|---:|",
    ]
    for stage, (median, low, high) in result["stages_ms"].items():
        lines.append(f"| {stage} | {median:.2f} | {low:.2f}-{high:.2f} |")
    total = sum(median for median, _, _ in result["stages_ms"].values())
    lines += [f"| sum | {total:.2f} | |", "", "| whole job, file to file | frames/s |", "|---|---:|"]
    lines += [f"| {label} | {fps:.1f} |" for label, fps in result["jobs_fps"].items()]
    lines += ["", f"Peak memory {result['peak_memory_mib']:.0f} MiB."]
    return "\n".join(lines)
