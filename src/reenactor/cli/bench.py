"""`reenactor bench`: how fast this machine is."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reenactor.cli.animate import add_device
from reenactor.core.errors import ReenactError
from reenactor.core.options import DEFAULT_MODEL, Runtime

if TYPE_CHECKING:
    from reenactor.engine.bench import Bench, Network
    from reenactor.engine.timing import Times


def add_parser(verbs: argparse._SubParsersAction) -> None:
    """Describe the verb."""
    p = verbs.add_parser(
        "bench",
        help="measure speed on this machine",
        description="Time each part, whole frames and whole jobs, with a shipped photo and motion. Parts are timed in "
        "turn, so that ratios hold on a busy machine too; CPU times count all threads.",
    )
    p.add_argument(
        "--model",
        action="append",
        metavar="NAME[=DIR]",
        help=f"which model, perhaps with its weights' folder; repeat it to compare (default: {DEFAULT_MODEL})",
    )
    p.add_argument(
        "--runtime",
        action="append",
        choices=[one.value for one in Runtime],
        help="what computes the models; repeat it to compare (default: torch)",
    )
    add_device(p)
    p.add_argument("--paper", action="store_true", help="also MarioNETte at the paper's size (a second a frame)")
    p.add_argument(
        "--threads", type=int, metavar="N", help="PyTorch's (default: one a core); 1 gives steady numbers on busy cores"
    )
    p.add_argument("--rounds", type=int, default=60, metavar="N", help="measurements of each part (default: 60)")
    p.add_argument("--no-jobs", action="store_true", help="leave out the whole jobs, which take a minute a model")
    p.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the tables."""
    from reenactor.engine.bench import Variant, measure
    from reenactor.nn.download import checkpoint_folder

    if args.json and not args.json.parent.is_dir():
        raise ReenactError(f"there is no folder {args.json.parent} for the numbers; make it first")
    if args.rounds < 1:
        raise ReenactError(f"--rounds must be at least 1, not {args.rounds}")
    if args.threads is not None and args.threads < 1:
        raise ReenactError(f"--threads must be at least 1, not {args.threads}")
    if args.threads is not None:
        import torch

        torch.set_num_threads(args.threads)
    runtimes = [Runtime(one) for one in args.runtime or ["torch"]]
    variants = []
    for given in args.model or [DEFAULT_MODEL]:
        name, _, weights = given.partition("=")
        for runtime in runtimes:
            variants.append(Variant.of(name, checkpoint_folder(weights) if weights else None, runtime, args.device))
    if args.paper:
        variants.append(Variant.paper())
    result = measure(variants, device=args.device, rounds=args.rounds, job_rounds=0 if args.no_jobs else 3)
    print(render(result))
    if args.json:
        args.json.write_text(to_json(result))
    return 0


def render(bench: Bench) -> str:
    """Markdown tables; the first two have the form of paper B's Tables 6 and 7."""
    return "\n".join(
        [
            bench.machine,
            "",
            *_components(bench),
            "",
            *_frames(bench),
            "",
            *_networks(bench),
            *_ratios(bench),
            *_jobs(bench),
            "",
            f"Peak memory {bench.peak_memory_mib:.0f} MiB.",
        ]
    )


def to_json(bench: Bench) -> str:
    """The numbers as JSON: median, 10th and 90th percentile of each time instead of every round."""
    networks = [
        {
            name: _numbers(value) if hasattr(value, "wall") else value
            for name, value in vars(one).items()
            if value is not None
        }
        for one in bench.networks
    ]
    whole = {
        "machine": bench.machine,
        "parts": {name: _numbers(times) for name, times in bench.parts.items()},
        "networks": networks,
        "ratios": {
            clock: {label: asdict(one) for label, one in bench.ratios(cpu=clock == "cpu").items()}
            for clock in ("wall", "cpu")
        },
        "peaks_gflops": dict(bench.peaks_gflops),
        "jobs": [asdict(job) for job in bench.jobs],
        "peak_memory_mib": bench.peak_memory_mib,
    }
    return json.dumps(whole, indent=2) + "\n"


def _number(value: Any) -> Any:
    return value if isinstance(value, (str, int, float)) else _numbers(value)


def _numbers(times: Times) -> dict[str, Any]:
    return {"wall_ms": asdict(times.wall), "cpu_ms": asdict(times.cpu), "runs": times.runs}


def _components(bench: Bench) -> list[str]:
    lines = ["| part | symbol | ms | 10-90 % | CPU ms |", "|---|---|---:|---:|---:|"]
    symbols = {
        "landmarks of a photo": "T_P",
        "landmarks of a frame": "T_P",
        "target landmark transformer": "T_TLT,1",
        "target landmark transformer (8)": "T_TLT,8",
        "driver landmark transformer": "T_DLT",
    }
    lines += [_row(name, symbols.get(name, ""), times) for name, times in bench.parts.items()]
    for one in bench.networks:
        lines.append(_row(f"{one.label}, target encoder", "T_E,1", one.encode))
        lines.append(_row(f"{one.label}, target encoder (8)", "T_E,8", one.encode_many))
        if one.maps is not None:
            lines.append(_row(f"{one.label}, maps", "", one.maps))
        lines.append(_row(f"{one.label}, generator", "T_G,1", one.draw))
        lines.append(_row(f"{one.label}, generator (8)", "T_G,8", one.draw_many))
    return lines


def _row(name: str, symbol: str, times: Times) -> str:
    wall, cpu = times.wall, times.cpu
    return f"| {name} | {symbol} | {wall.median:.2f} | {wall.low:.2f}-{wall.high:.2f} | {cpu.median:.2f} |"


def _frames(bench: Bench) -> list[str]:
    lines = [
        "| model | target, ms (K = 1, 8) | driver, ms a frame (K = 1, 8) | frames/s (K = 1) |",
        "|---|---:|---:|---:|",
    ]
    parts = {name: times.wall.median for name, times in bench.parts.items()}
    for one in bench.networks:
        for label, target, driver in (
            (f"{one.label} + LT", "target landmark transformer", parts["driver landmark transformer"]),
            (one.label, None, parts["transfer by parts"]),
        ):
            encode, draw = [], []
            for k, suffix, encoder, generator in (
                (1, "", one.encode, one.draw),
                (8, " (8)", one.encode_many, one.draw_many),
            ):
                transformer = parts[target + suffix] if target else 0.0
                encode.append(k * parts["landmarks of a photo"] + transformer + encoder.wall.median)
                maps = 0.0 if one.maps is None else one.maps.wall.median
                draw.append(parts["landmarks of a frame"] + driver + maps + generator.wall.median)
            both = [", ".join(f"{value:.1f}" for value in values) for values in (encode, draw)]
            lines.append(f"| {label} | {both[0]} | {both[1]} | {1000 / draw[0]:.1f} |")
    return [
        *lines,
        "",
        "Target: K T_P + T_TLT,K + T_E,K, once. Driver: T_P + T_DLT + maps + T_G,K, each frame, one after the other.",
    ]


def _networks(bench: Bench) -> list[str]:
    lines = [
        "| model | pixels | encoder GFLOP | generator GFLOP | generator GFLOP/s | of the fp32 peak |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    lines += [_network(one) for one in bench.networks]
    peaks = "; ".join(f"{name}: {value:.0f} GFLOP/s" for name, value in bench.peaks_gflops.items())
    return [*lines, "", f"Measured peaks of a matrix product: {peaks}."]


def _network(one: Network) -> str:
    head = f"| {one.label} | {one.size}"
    if not one.draw_flop:
        return f"{head} | - | - | - | - |"
    speed = one.draw_flop / one.draw.wall.median / 1e6
    return f"{head} | {one.encode_flop / 1e9:.2f} | {one.draw_flop / 1e9:.2f} | {speed:.0f} | {one.peak:.0%} |"


def _ratios(bench: Bench) -> list[str]:
    if len(bench.networks) < 2:
        return []
    first = bench.networks[0].label
    lines = [
        "",
        f"| generator, times as long as {first} | wall | 10-90 % | CPU | 10-90 % |",
        "|---|---:|---:|---:|---:|",
    ]
    wall, cpu = bench.ratios(), bench.ratios(cpu=True)
    for label in wall:
        both = (f"{one.median:.2f} | {one.low:.2f}-{one.high:.2f}" for one in (wall[label], cpu[label]))
        lines.append(f"| {label} | {' | '.join(both)} |")
    return lines


def _jobs(bench: Bench) -> list[str]:
    if not bench.jobs:
        return []
    lines = ["", "| whole job, file to file | frames/s | CPU ms a frame |", "|---|---:|---:|"]
    return lines + [f"| {job.variant}: {job.label} | {job.fps:.1f} | {job.cpu_ms:.1f} |" for job in bench.jobs]
