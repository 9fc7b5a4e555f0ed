"""What many tests need: a photo, faces with a pose, short videos. Videos are written and read with plain PyAV,
independently of the code under test."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from skimage.data import astronaut

from reenactor.face.geometry import matrix_from_angles

NTSC = Fraction(30000, 1001)
DATA = Path(__file__).parents[2] / "shared" / "data"
CASES = DATA.with_name("cases")
"""The data pack beside the repository, where it is there (real faces, never committed)."""
FRAMES = 40
"""Of the driver that the command line's tests use."""


def head():
    """(256, 256, 3) uint8: the astronaut's head, one face."""
    return np.ascontiguousarray(astronaut()[:256, 100:356])


EXIF_UNDO = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}
"""How a picture of each EXIF orientation is stored."""


def posed(points, angles_deg=(0.0, 0.0, 0.0), *, scale=90.0, at=(128.0, 128.0), depth=0.0):
    """(N, 3) float32: points of a face, turned (yaw, pitch, roll), enlarged and moved into a picture."""
    R = matrix_from_angles(np.array(angles_deg, np.float64))
    return (scale * points @ R.T + np.array([*at, depth])).astype(np.float32)


def psnr(a, b):
    """Of two uint8 pictures, dB; infinite if they are equal."""
    error = np.mean((a.astype(float) - b) ** 2)
    return 10 * np.log10(255**2 / error) if error > 0 else np.inf


def moving(picture, number):
    """The picture moved by a few pixels, differently for every number below 64."""
    return np.roll(picture, (number % 8, number // 8), (0, 1))


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


def decoded(path):
    """All frames as one array."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def sound_packets(path):
    """(content, time in seconds) of every sound packet."""
    with av.open(str(path)) as container:
        return [(bytes(p), p.pts * p.time_base) for p in container.demux(audio=0) if p.pts is not None]


def is_one_sentence(message, path):
    """One line that names the file, without a second sentence; what to do comes after a semicolon."""
    rest = message.replace(str(path), "FILE").replace(str(Path(path).parent), "FOLDER")
    return "FILE" in rest and "\n" not in rest and ". " not in rest and (";" in rest or ": the name" in rest)
