"""`reenactor serve`: the HTTP and WebSocket API, and the page."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path

from reenactor.cli.animate import add_device
from reenactor.core.errors import ReenactError
from reenactor.core.options import DEFAULT_MODEL


def add_parser(verbs: argparse._SubParsersAction) -> None:
    """Describe the verb."""
    p = verbs.add_parser(
        "serve",
        help="animate for others: an HTTP and WebSocket API",
        description="Answer requests over HTTP and WebSocket; see docs/api.md. Without keys only this computer is "
        "answered. Keys come from --keys, or as plain text, separated by commas, from REENACTOR_API_KEYS.",
    )
    add_server(p, port=8000, live=1)
    p.add_argument("--page", action="store_true", help="show the page for browsers too (docs/app.md)")
    p.add_argument(
        "--data",
        type=Path,
        default=Path("reenactor-data"),
        metavar="DIR",
        help="where uploads and results are kept (default: %(default)s)",
    )
    p.add_argument("--add-key", metavar="NAME", help="make a key, append its hash to --keys, print the key, and end")
    p.add_argument("--expires", type=int, metavar="DAYS", help="with --add-key: how long it is valid (default: always)")
    p.add_argument("--operator", action="store_true", help="with --add-key: it may read /metrics")
    p.add_argument("--model", default=DEFAULT_MODEL, help="used where a request names none (default: %(default)s)")
    p.add_argument("--workers", type=int, default=1, metavar="N", help="processes that animate (default: %(default)s)")
    p.add_argument("--threads", type=int, metavar="N", help="of PyTorch in each of them (default: PyTorch's choice)")
    p.add_argument("--queue", type=int, default=32, metavar="N", help="jobs that may wait (default: %(default)s)")
    p.add_argument(
        "--gib-per-key", type=float, default=10.0, metavar="GIB", help="files of one key (default: %(default)s)"
    )
    p.add_argument(
        "--live-minutes", type=float, default=30.0, metavar="M", help="live, an hour and key (default: %(default)s)"
    )
    p.add_argument(
        "--rate", type=int, default=600, metavar="N", help="requests a minute and key (default: %(default)s)"
    )
    p.add_argument(
        "--keep-hours", type=float, default=24.0, metavar="H", help="when files are deleted (default: %(default)s)"
    )
    p.add_argument(
        "--job-minutes", type=float, default=60.0, metavar="M", help="longest work on a job (default: %(default)s)"
    )
    p.add_argument("--max-photo-mib", type=int, default=20, metavar="MIB", help="(default: %(default)s)")
    p.add_argument("--max-driver-mib", type=int, default=200, metavar="MIB", help="(default: %(default)s)")
    p.add_argument("--max-seconds", type=float, default=120.0, metavar="S", help="of a video (default: %(default)s)")
    p.add_argument("--max-frames", type=int, default=7200, metavar="N", help="of a video (default: %(default)s)")
    p.add_argument(
        "--cors", nargs="+", default=(), metavar="ORIGIN", help="web sites whose pages may use the API (default: none)"
    )
    p.add_argument("--no-provenance", action="store_true", help="do not sign results as synthetic")
    p.set_defaults(run=run, stopped="the server has stopped; jobs under way continue when it starts again")


def add_server(p: argparse.ArgumentParser, *, port: int, live: int) -> None:
    """Add the options that `serve` and `web` share; `port` and `live` are defaults."""
    p.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    p.add_argument("--port", type=int, default=port, help="0 takes a free one (default: %(default)s)")
    p.add_argument(
        "--name", action="append", default=[], metavar="NAME", help="a host name under which it is opened, too"
    )
    p.add_argument("--keys", type=Path, metavar="FILE", help="names and hashes of the API keys")
    p.add_argument(
        "--weights",
        action="append",
        default=[],
        metavar="[MODEL=]DIR|ZIP|URL",
        help="a checkpoint for a model: its folder, or a zip of it, here or on the web; repeatable",
    )
    p.add_argument("--sha256", metavar="HEX", help="of the only --weights, or of its config.json; a URL needs it")
    p.add_argument(
        "--transformer",
        action="append",
        default=[],
        metavar="NAME=DIR",
        help="a landmark transformer that requests may name; repeatable",
    )
    add_device(p)
    p.add_argument("--live", type=int, default=live, metavar="N", help="live sessions at a time (default: %(default)s)")
    p.add_argument("--sign-cert", type=Path, metavar="PEM", help="certificate chain to sign with")
    p.add_argument("--sign-key", type=Path, metavar="PEM", help="the certificate's private key")


def run(args: argparse.Namespace) -> int:
    """Serve, or make a key."""
    from reenactor.server import Limits, Settings, add_key, load_keys, serve

    if args.add_key is not None:
        if args.keys is None:
            raise ReenactError("a key's hash is stored in a file; name it with --keys FILE")
        print(add_key(args.keys, args.add_key, days=args.expires, operator=args.operator))
        return 0
    serve(
        Settings(
            data=args.data,
            host=args.host,
            port=args.port,
            page=args.page,
            names=tuple(name.lower() for name in args.name),
            keys=load_keys(args.keys, os.environ),
            workers=args.workers,
            threads=args.threads,
            device=args.device,
            queue=args.queue,
            gib_per_key=args.gib_per_key,
            live_minutes=args.live_minutes,
            live=args.live,
            rate_per_minute=args.rate,
            keep_hours=args.keep_hours,
            job_minutes=args.job_minutes,
            model=args.model,
            weights=weights_of(args, args.model),
            transformers=transformers_of(args),
            sign_cert=args.sign_cert,
            sign_key=args.sign_key,
            provenance=not args.no_provenance,
            cors=tuple(args.cors),
            limits=Limits(
                photo_mib=args.max_photo_mib,
                driver_mib=args.max_driver_mib,
                seconds=args.max_seconds,
                frames=args.max_frames,
            ),
        )
    )
    return 0


def weights_of(args: argparse.Namespace, model: str) -> dict[str, Path]:
    """The folders of --weights by their model, unpacked if need be; `model` where none is named."""
    if not args.weights:
        if args.sha256 is not None:
            raise ReenactError("--sha256 is that of --weights; give both")
        return {}
    if args.sha256 is not None and len(args.weights) > 1:
        raise ReenactError("--sha256 goes with a single --weights; download the others first")
    from reenactor.nn.download import checkpoint_folder

    found = {}
    for given in args.weights:
        named = re.match(r"([a-z0-9-]+)=(.+)", given)
        name, source = named.groups() if named else (model, given)
        found[name] = checkpoint_folder(source, args.sha256)
    return found


def transformers_of(args: argparse.Namespace) -> dict[str, Path]:
    """The folders of --transformer by their names."""
    found = {}
    for given in args.transformer:
        name, equals, folder = given.partition("=")
        if not equals or not Path(folder).is_dir():
            raise ReenactError(f"--transformer is NAME=DIR, such as mine=runs/t/best, not {given}")
        found[name] = Path(folder)
    return found
