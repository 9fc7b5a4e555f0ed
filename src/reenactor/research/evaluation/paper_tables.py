"""Paper B's tables that need no drawn pictures: 3 from the answers to studies, 6 and 7 from a bench."""

from __future__ import annotations

from collections.abc import Mapping

from reenactor.engine.bench import Bench
from reenactor.research.evaluation.papers import LATENCIES_MS, STUDY
from reenactor.research.evaluation.study import ValidAnswers, deceptions, win_ratio
from reenactor.research.evaluation.tables import Table

_OURS = ("MarioNETte", "MarioNETte+LT")
_NUMBERS = (1, 8)
"""K in tables 3, 6 and 7."""


def study_table(answers: Mapping[int, ValidAnswers], names: Mapping[str, str]) -> Table:
    """Paper B, table 3: wins against its two methods, and ratios of deception.

    Args:
        answers: by K, of a study of pictures that were drawn for it.
        names: by the paper's name of a method, its name in the studies; the paper's own if it is not here.
    """
    rows = []
    for row in STUDY:
        name, found = names.get(row.method, row.method), answers.get(row.k)
        kept = () if found is None else found.kept
        here = [win_ratio(kept, name, names[other]) for other in _OURS] + [deceptions(kept).get(name)]
        cells = [row.label]
        for column, ratio in zip((*_OURS, "realism"), here, strict=True):
            theirs = row.values.get(column)
            # The paper compares each pair once.
            cells += ["", ""] if theirs is None else [f"{theirs:g}", "" if ratio is None else str(ratio)]
        rows.append(cells)
    heads = ["method (target pictures)"]
    for title in ("wins against MarioNETte", "wins against MarioNETte+LT", "realism ↑"):
        heads += [f"{title}, paper", "here"]
    notes = [
        "Paper: CelebV; 150 examples, 100 people; which of its questions a win answers is not said. Here: all three."
    ]
    notes += [f"K = {k}: {one.participants} participants; left out: {one.failed}." for k, one in answers.items()]
    return Table("Paper B, table 3: user study, different identity", heads, [("", rows)], notes)


def latencies_ms(bench: Bench) -> dict[str, float]:
    """Medians by the symbols of table 6; `T_P,video` is a frame of a video, where the face is followed."""
    parts, network = {name: times.wall.median for name, times in bench.parts.items()}, bench.networks[0]
    maps = 0.0 if network.maps is None else network.maps.wall.median
    return {
        "T_P": parts["landmarks of a photo"],
        "T_P,video": parts["landmarks of a frame"],
        "T_E,1": network.encode.wall.median,
        "T_E,8": network.encode_many.wall.median,
        "T_TLT,1": parts["target landmark transformer"],
        "T_TLT,8": parts["target landmark transformer (8)"],
        "T_G,1": maps + network.draw.wall.median,
        "T_G,8": maps + network.draw_many.wall.median,
        "T_DLT": parts["driver landmark transformer"],
    }


def latency_table(bench: Bench) -> Table:
    """Paper B, table 6: the time of each component."""
    ours = latencies_ms(bench)
    rows = []
    for what, symbol in (
        ("3D landmark detector", "T_P"),
        ("target encoder", "T_E"),
        ("target landmark transformer", "T_TLT"),
        ("generator", "T_G"),
        ("driver landmark transformer", "T_DLT"),
    ):
        each = [f"{symbol},{k}" for k in _NUMBERS if f"{symbol},{k}" in ours] or [symbol]
        here = [ours[name] for name in each] + ([ours["T_P,video"]] if symbol == "T_P" else [])
        rows.append([what, " and ".join(each), _joined([LATENCIES_MS[name] for name in each]), _joined(here)])
    heads = ["component", "symbol", "ms, paper", "here"]
    return Table("Paper B, table 6: inference speed of each component", heads, [("", rows)], _bench_notes(bench))


def speed_table(bench: Bench) -> Table:
    """Paper B, table 7: the sums for whole models."""
    ours, rows = latencies_ms(bench), []
    for lt in (True, False):
        for k in _NUMBERS:
            cells = [f"{'MarioNETte+LT' if lt else 'MarioNETte'} ({k})"]
            for paper, here in zip(_sums(LATENCIES_MS, k, lt), _sums(ours, k, lt), strict=True):
                cells += [_joined([paper]), _joined([here])]
            rows.append(cells)
    heads = ["model (target pictures)", "target encoding, ms, paper", "here", "driver generation, ms, paper", "here"]
    sums = [
        "Target encoding: K T_P + T_TLT,K + T_E,K, once; driver generation: T_P + T_DLT + T_G,K; without LT less T_TLT "
        "and T_DLT. The paper gives the formulas; its numbers here are those of its table 6."
    ]
    return Table(
        "Paper B, table 7: inference speed of the full model", heads, [("", rows)], [*sums, *_bench_notes(bench)]
    )


def _sums(ms: Mapping[str, float], k: int, lt: bool) -> tuple[float, float]:
    encoding = k * ms["T_P"] + ms[f"T_E,{k}"] + (ms[f"T_TLT,{k}"] if lt else 0)
    return encoding, ms.get("T_P,video", ms["T_P"]) + ms[f"T_G,{k}"] + (ms["T_DLT"] if lt else 0)


def _bench_notes(bench: Bench) -> list[str]:
    one = bench.networks[0]
    return [
        "Paper: 256 x 256 on a Titan Xp, mean of 300 runs; the detector of Bulat and Tzimiropoulos (2017).",
        f"Here: {one.label}, {one.size} x {one.size}, on {bench.machine}; medians, the generator's of {one.draw.runs} "
        "runs. T_P is MediaPipe's face mesh (of a photo, of a frame of a video), T_G includes the raster, and the "
        "transformer is the one that ships.",
    ]


def _joined(values: list[float]) -> str:
    return ", ".join(f"{value:.0f}" if value >= 100 else f"{value:.3g}" for value in values)
