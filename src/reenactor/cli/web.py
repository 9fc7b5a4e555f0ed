"""`reenactor web`: the page, for oneself."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

from reenactor.cli.serve import add_server, transformers_of, weights_of
from reenactor.core.errors import ReenactError
from reenactor.core.options import DEFAULT_MODEL
from reenactor.core.system import locked

_PREFIX = "reenactor-web-"


def add_parser(verbs: argparse._SubParsersAction) -> None:
    """Describe the verb."""
    p = verbs.add_parser(
        "web",
        help="animate in a browser",
        description="Show a page to animate photos, drive them with the camera, edit faces by hand, compare models and "
        "inspect files; see docs/app.md. Only this computer is answered unless --host says otherwise; then the page "
        "asks for a key, which is printed, or one of --keys. It is the server of 'reenactor serve --page' with wide "
        "limits and a folder that is deleted at the end.",
    )
    add_server(p, port=7860, live=2)
    p.add_argument("--max-upload-mib", type=int, default=500, metavar="MIB", help="of one file (default: %(default)s)")
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve."""
    from reenactor.server import Limits, Settings, load_keys, serve
    from reenactor.server.keys import one_time_key
    from reenactor.server.settings import is_loopback

    keys, login_key = load_keys(args.keys, os.environ), None
    if not keys and not is_loopback(args.host):
        keys, login_key = one_time_key()
    if threading.current_thread() is threading.main_thread():
        # uvicorn raises the signal again when it is done: the folder must be deleted after SIGTERM, too.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    _delete_left()
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX)).resolve()
    try:
        serve(
            Settings(
                data=folder,
                host=args.host,
                port=args.port,
                page=True,
                names=tuple(name.lower() for name in args.name),
                keys=keys,
                # Live drawing and a job share the cores; more threads than cores wait for one another.
                threads=max(1, (os.cpu_count() or 2) // 2),
                device=args.device,
                live=args.live,
                live_minutes=24 * 60,
                rate_per_minute=10_000,
                keep_hours=6,
                job_minutes=24 * 60,
                model=DEFAULT_MODEL,
                weights=weights_of(args, DEFAULT_MODEL),
                transformers=transformers_of(args),
                sign_cert=args.sign_cert,
                sign_key=args.sign_key,
                limits=Limits(
                    photo_mib=args.max_upload_mib,
                    driver_mib=args.max_upload_mib,
                    photo_megapixels=500,
                    video_megapixels=100,
                    seconds=24 * 3600,
                    frames=10**7,
                    check_memory_mib=8192,
                    check_seconds=3600,
                ),
            ),
            login_key=login_key,
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def _delete_left() -> None:
    """Delete the folders of servers that were killed, which nobody holds any more."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(ReenactError, OSError):
            if (folder / "in-use").is_file() and not folder.is_symlink():
                with locked(folder / "in-use", taken="in use"):
                    shutil.rmtree(folder, ignore_errors=True)
