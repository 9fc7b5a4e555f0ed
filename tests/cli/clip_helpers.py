"""Make and inspect videos with plain PyAV, independently of the code under test."""

from fractions import Fraction

import av
import numpy as np

NTSC = Fraction(30000, 1001)
FRAMES = 40


def write_clip(path, frames, pts, time_base, *, sound=False, faststart=True):
    """Write a video; the last frame lasts as long as the first."""
    options = {"movflags": "+faststart"} if faststart else {}
    with av.open(str(path), "w", container_options=options) as output:
        stream = output.add_stream("libx264", rate=NTSC, options={"crf": "16", "preset": "ultrafast", "bf": "0"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.codec_context.time_base = "yuv420p", time_base
        audio = output.add_stream("aac", rate=48000) if sound else None
        packets = []
        for picture, time in zip(frames, pts, strict=True):
            frame = av.VideoFrame.from_ndarray(picture)
            frame.pts, frame.time_base = time, time_base
            packets += stream.encode(frame)
        packets += stream.encode(None)
        for packet, end in zip(packets, [*pts[1:], pts[-1] + pts[1] - pts[0]], strict=True):
            packet.duration = end - packet.pts
            output.mux(packet)
        if audio:
            for block in range(int(pts[-1] * time_base * 48000) // 1024 + 1):
                wave = np.sin((np.arange(1024) + block * 1024) * 440 * 2 * np.pi / 48000).astype(np.float32) * 0.3
                sample = av.AudioFrame.from_ndarray(np.repeat(wave[None], 2, 0), format="fltp", layout="stereo")
                sample.sample_rate, sample.pts = 48000, block * 1024
                output.mux(audio.encode(sample))
            output.mux(audio.encode(None))


def stored_times(path):
    """Exact times of the frames in seconds and the end of the last, from the packets alone."""
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.pts is not None]
        return [p.pts * p.time_base for p in packets], (packets[-1].pts + packets[-1].duration) * packets[-1].time_base


def decoded(path):
    """All frames as one array."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def sound_packets(path):
    """(content, time in seconds) of every sound packet."""
    with av.open(str(path)) as container:
        return [(bytes(p), p.pts * p.time_base) for p in container.demux(audio=0) if p.pts is not None]
