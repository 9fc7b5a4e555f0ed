"""HDR video: known points of the standards, and files that say they are HDR."""

import av
import numpy as np
import pytest

from reenactor.media import VideoReader
from reenactor.media.hdr import hlg_scene, pq_nits, tone_mapped


@pytest.mark.parametrize(("signal", "nits"), [(0.0, 0), (0.5081, 100), (0.5807, 203), (0.7518, 1000), (1.0, 10_000)])
def test_pq_has_the_standards_light(signal, nits):
    """BT.2408, table 1, and BT.2100."""
    assert float(pq_nits(np.array([signal]))[0]) == pytest.approx(nits, rel=2e-3, abs=1e-6)


@pytest.mark.parametrize(("signal", "nits"), [(0.0, 0), (0.38, 26), (0.5, 50.7), (0.75, 203), (1.0, 1000)])
def test_hlg_has_the_standards_light(signal, nits):
    """BT.2408, table 1: 38 % is the grey card, 75 % is white."""
    assert 1000 * float(hlg_scene(np.array([signal]))[0]) ** 1.2 == pytest.approx(nits, rel=1e-2, abs=1e-6)


@pytest.mark.parametrize("transfer", ["pq", "hlg"])
def test_brighter_stays_brighter_and_grey_stays_grey(transfer):
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, 2)
    mapped = tone_mapped(ramp, transfer).astype(int)[0]
    assert (np.diff(mapped[:, 0]) >= 0).all()
    assert np.ptp(mapped, axis=1).max() <= 1
    white = {"pq": 148, "hlg": 191}[transfer]
    assert 225 < mapped[white, 0] < 250
    assert mapped[0, 0] == 0
    assert mapped[-1, 0] >= 253


def test_hues_stay_where_light_is_compressed():
    bright = np.full((1, 1, 3), 255, np.uint8)
    bright[..., 1:] = 200
    mapped = tone_mapped(bright, "hlg").astype(int)[0, 0]
    assert mapped[0] > mapped[1] + 20
    assert abs(mapped[1] - mapped[2]) < 20


@pytest.mark.parametrize(("transfer", "number"), [("hlg", 18), ("pq", 16), (None, 1)])
def test_a_file_that_says_so_is_tone_mapped(transfer, number, tmp_path, face):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.width = stream.height = 256
        stream.pix_fmt = "yuv420p10le"
        context = stream.codec_context
        context.color_trc, context.color_range = number, 1
        context.color_primaries = context.colorspace = 1 if transfer is None else 9
        frame = av.VideoFrame.from_ndarray(face, "rgb24")
        frame = frame.reformat(format="yuv420p10le", dst_colorspace=context.colorspace)
        for number in range(3):
            frame.pts = number
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    seen = [frame.image.astype(float) for frame in VideoReader(path)]
    wanted = face if transfer is None else tone_mapped(face, transfer)
    assert np.abs(seen[1] - wanted).mean() < 4
    assert len(seen) == 3
