"""`reenactor serve`: the HTTP and WebSocket API."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from reenactor.cli.animate import add_signing, add_weights, weights_folder
from reenactor.core.errors import ReenactError
from reenactor.core.options import DEFAULT_MODEL


def add_parser(verbs: argparse._SubParsersAction) -> None:
    """Describe the verb."""
    p = verbs.add_parser(
        "serve",
        help="animate for others: an HTTP and WebSocket API",
        description="Answer requests over HTTP and WebSocket; see docs/api.md. Without keys only this computer is "
        "answered. Keys come from --keys, or in the clear, separated by commas, from REENACTOR_API_KEYS.",
    )
    p.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    p.add_argument("--port", type=int, default=8000, help="0 takes a free one (default: %(default)s)")
    p.add_argument(
        "--data",
        type=Path,
        default=Path("reenactor-data"),
        metavar="DIR",
        help="where uploads and results are kept (default: %(default)s)",
    )
    p.add_argument("--keys", type=Path, metavar="FILE", help="names and hashes of the API keys")
    p.add_argument("--add-key", metavar="NAME", help="make a key, note its hash in --keys, print the key, and end")
    p.add_argument("--model", default=DEFAULT_MODEL, help="which model draws (default: %(default)s)")
    add_weights(p)
    p.add_argument("--workers", type=int, default=1, metavar="N", help="processes that animate (default: %(default)s)")
    p.add_argument("--threads", type=int, metavar="N", help="of PyTorch in each of them (default: PyTorch's choice)")
    p.add_argument("--queue", type=int, default=32, metavar="N", help="jobs that may wait (default: %(default)s)")
    p.add_argument(
        "--live", type=int, default=1, metavar="N", help="people who may drive live at a time (default: %(default)s)"
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
    p.add_argument("--max-seconds", type=float, default=120.0, metavar="S", help="of a driver (default: %(default)s)")
    p.add_argument("--max-frames", type=int, default=7200, metavar="N", help="of a driver (default: %(default)s)")
    p.add_argument(
        "--cors", nargs="+", default=(), metavar="ORIGIN", help="web sites whose pages may use the API (default: none)"
    )
    add_signing(p)
    p.set_defaults(run=run, stopped="the server has stopped; jobs under way continue when it starts again")


def run(args: argparse.Namespace) -> int:
    """Serve, or make a key."""
    from reenactor.server import Limits, Settings, add_key, load_keys, serve

    if args.add_key is not None:
        if args.keys is None:
            raise ReenactError("a key's hash is noted in a file; name it with --keys FILE")
        print(add_key(args.keys, args.add_key))
        return 0
    if (args.sign_cert is None) != (args.sign_key is None):
        raise ReenactError("--sign-cert and --sign-key belong together; give both")
    serve(
        Settings(
            data=args.data,
            host=args.host,
            port=args.port,
            keys=load_keys(args.keys, os.environ),
            workers=args.workers,
            threads=args.threads,
            queue=args.queue,
            live=args.live,
            rate_per_minute=args.rate,
            keep_hours=args.keep_hours,
            job_minutes=args.job_minutes,
            model=args.model,
            weights=weights_folder(args),
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
