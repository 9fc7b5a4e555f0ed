"""`reenactor web`: the app in a browser."""

from __future__ import annotations

import argparse
from pathlib import Path

from reenactor.core.errors import ReenactError


def add_parser(verbs: argparse._SubParsersAction) -> None:
    """Describe the verb."""
    p = verbs.add_parser(
        "web",
        help="animate in a browser",
        description="Show a page to animate photos, drive them with the camera, edit faces by hand, compare models and "
        "inspect files; see docs/app.md. Only this computer is answered unless --host says otherwise.",
    )
    p.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    p.add_argument("--port", type=int, default=7860, help="0 takes a free one (default: %(default)s)")
    p.add_argument(
        "--name", action="append", default=[], metavar="NAME", help="a host name under which the page is opened, too"
    )
    p.add_argument(
        "--weights",
        action="append",
        default=[],
        metavar="MODEL=DIR",
        help="a checkpoint for a model, a folder or a zip file; repeatable",
    )
    p.add_argument("--max-upload-mib", type=int, default=500, metavar="MIB", help="of one file (default: %(default)s)")
    p.add_argument(
        "--live", type=int, default=2, metavar="N", help="people who may drive live at a time (default: %(default)s)"
    )
    p.add_argument("--sign-cert", type=Path, metavar="PEM", help="certificate chain to sign with")
    p.add_argument("--sign-key", type=Path, metavar="PEM", help="the certificate's private key")
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve."""
    from reenactor.server.page import WebSettings, serve_web

    serve_web(
        WebSettings(
            host=args.host,
            port=args.port,
            names=tuple(name.lower() for name in args.name),
            weights=dict(_weights(given) for given in args.weights),
            max_upload_mib=args.max_upload_mib,
            live=args.live,
            sign_cert=args.sign_cert,
            sign_key=args.sign_key,
        )
    )
    return 0


def _weights(given: str) -> tuple[str, Path]:
    from reenactor.models import create_model
    from reenactor.nn.download import checkpoint_folder

    name, equals, where = given.partition("=")
    if not equals:
        raise ReenactError(f"--weights is MODEL=DIR here, such as hybrid=runs/h/best, not {given}")
    folder = checkpoint_folder(where)
    create_model(name, folder)  # told now, not when somebody chooses it
    return name, folder
