"""Make and inspect media with plain PyAV, independently of the code under test."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def moving(picture, number):
    """The picture moved by a few pixels, differently for every number below 64."""
    return np.roll(picture, (number % 8, number // 8), (0, 1))


def write_raw(path, frames, *, rate=Fraction(25), audio=None, setup=None, options=None, **stream_options):
    """Write a video with plain PyAV, independent of the code under test.

    `audio` is (codec, seconds, start in seconds); a tone.
    """
    options = {"movflags": "+faststart"} if options is None else options
    with av.open(str(path), "w", container_options=options) as output:
        height, width = frames[0].shape[:2]
        stream = output.add_stream("libx264", rate=rate, options={"crf": "10", "preset": "superfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for name, value in stream_options.items():
            setattr(stream.codec_context, name, value)
        if setup:
            setup(stream)
        sound = output.add_stream(audio[0], rate=48000) if audio else None
        for picture in frames:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        output.mux(stream.encode())
        if sound:
            tone(output, sound, *audio[1:])
    return Path(path)


def tone(output, stream, seconds, start_s):
    """Encode a 440 Hz tone into a stereo stream of 48 kHz."""
    form = "s16" if stream.codec_context.name.startswith(("pcm", "libopus")) else "fltp"
    samples = stream.codec_context.frame_size or 960
    for block in range(int(seconds * 48000) // samples):
        wave = np.sin((np.arange(samples) + block * samples) * 440 * 2 * np.pi / 48000)
        data = (wave * 9000).astype(np.int16) if form == "s16" else (wave * 0.3).astype(np.float32)
        planes = np.repeat(data[None], 2, 1 if form == "s16" else 0)
        frame = av.AudioFrame.from_ndarray(planes, format=form, layout="stereo")
        frame.sample_rate, frame.time_base = 48000, Fraction(1, 48000)
        frame.pts = block * samples + int(start_s * 48000)
        output.mux(stream.encode(frame))
    output.mux(stream.encode(None))


def stored_times(path):
    """Time of every frame in seconds, exact, and the end of the last, from the packets alone."""
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.pts is not None]
        times = sorted(p.pts * p.time_base for p in packets)
        return times, max((p.pts + p.duration) * p.time_base for p in packets)


def psnr(a, b):
    return 10 * np.log10(255**2 / np.mean((a.astype(float) - b.astype(float)) ** 2))


def is_one_sentence(message, path):
    """One line that names the file, without a second sentence; what to do comes after a semicolon."""
    rest = message.replace(str(path), "FILE").replace(str(Path(path).parent), "FOLDER")
    return "FILE" in rest and "\n" not in rest and ". " not in rest and (";" in rest or ": the name" in rest)
