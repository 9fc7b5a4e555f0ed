"""`reenactor animate`: photos and a driver in, a moving picture out."""

from __future__ import annotations

import argparse
import glob
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from reenactor.cli.progress import Bar
from reenactor.core.errors import ReenactError
from reenactor.core.options import DEFAULT_MODEL, Background, Head, Layout, Options, Runtime, Transfer

if TYPE_CHECKING:
    from reenactor.media import Credentials

_MOST_NAMES = 5


def add_parser(verbs: argparse._SubParsersAction) -> None:
    """Describe the verb."""
    p = verbs.add_parser(
        "animate",
        help="make photos move like a driver",
        description="Make the person in one to eight photos, videos or person files move like a driver.",
        epilog=(
            "A folder or a quoted pattern ('people/*.jpg') for --target or --driver makes a batch: every photo with "
            "every driver, into the folder given with -o; results that are there already are kept, and a line says "
            "if they were made otherwise; delete them to make them again."
        ),
    )
    p.add_argument(
        "--target",
        nargs="+",
        required=True,
        metavar="PHOTO",
        help="one to eight photos, videos or person files (see 'reenactor person') of one person; the first is the "
        "picture that moves, or holds it: videos show teeth, closed eyes and both cheeks",
    )
    p.add_argument(
        "--driver",
        required=True,
        metavar="FILE",
        help="who moves: a video or animation, a photo, a .motion file, or a motion that ships: blink, smile or talk",
    )
    formats = (
        ".mp4 .mov .mkv .webm .gif .webp; with a photo as driver also .png .jpg, and .webp is a still picture then"
    )
    p.add_argument("-o", "--output", required=True, type=Path, metavar="FILE", help=formats)
    p.add_argument("--model", default=DEFAULT_MODEL, help="which model draws (default: %(default)s)")
    add_weights(p)
    p.add_argument(
        "--transfer",
        choices=[one.value for one in Transfer],
        help="parts moves the target's face at rest as the driver's moves from its own (default); relative adds the "
        "movement to the photo as it is; absolute copies the driver's face; transformer is paper B's (default of "
        "marionette-lt)",
    )
    p.add_argument("--keep-expression", action="store_true", help="keep the photo's smile beneath the movement")
    p.add_argument(
        "--head",
        metavar="relative|absolute|0..1",
        help="relative turns it by as much as the driver's (default); absolute to the driver's own angles (as "
        "--transfer absolute does); a number is the part of the movement that it follows: 0 and it stays",
    )
    p.add_argument(
        "--strength",
        type=float,
        default=1.0,
        metavar="0..2",
        help="how strong the driver's expression becomes (default: %(default)s; lids and gaze stay as they are)",
    )
    p.add_argument("--transformer", type=Path, metavar="DIR", help="weights for --transfer transformer")
    layout = p.add_mutually_exclusive_group()
    layout.add_argument("--crop-only", action="store_true", help="show the face crop alone, not the whole photo")
    layout.add_argument("--grid", action="store_true", help="show target, driver and result side by side")
    p.add_argument(
        "--size", type=int, metavar="PX", help="side of the face crop (default: as in the photo, 256 to 1024)"
    )
    p.add_argument(
        "--max-side", type=int, default=1920, metavar="PX", help="shrink larger photos to this (default: %(default)s)"
    )
    p.add_argument("--face", type=int, metavar="N", help="which face of the photos from the left (default: largest)")
    add_still(p)
    p.add_argument(
        "--driver-face", type=int, metavar="N", help="which face of a driver with pictures (default: largest)"
    )
    add_runtime(p)
    add_device(p)
    p.add_argument(
        "--moving-background",
        action="store_true",
        help="let the background follow the head, as the model draws it (default: it stays)",
    )
    p.add_argument(
        "--alpha",
        action="store_true",
        help="keep the transparency of a photo that is cut out; for .mov (ProRes 4444), .webm, .webp and .png",
    )
    p.add_argument("--smooth", action="store_true", help="steady a jittery driver (One-Euro filter)")
    add_signing(p)
    p.set_defaults(run=run, stopped="stopped; the same command continues where it stopped")


def add_still(p: argparse.ArgumentParser) -> None:
    """Which frame of a video moves."""
    p.add_argument(
        "--still",
        type=int,
        metavar="FRAME",
        help="which frame of the first video moves, counted from 0 (default: one that faces the camera, at rest)",
    )


def add_weights(p: argparse.ArgumentParser) -> None:
    """Where a trained model's weights are."""
    p.add_argument(
        "--weights",
        metavar="DIR|ZIP|URL",
        help="a checkpoint of the model: its folder, or a zip of it, here or on the web (default: the one that ships)",
    )
    p.add_argument("--sha256", metavar="HEX", help="of that zip, or of the folder's config.json; a URL needs it")


def weights_folder(args: argparse.Namespace) -> Path | None:
    """The folder of the weights given on the command line, unpacked if need be; None if none are given."""
    if args.weights is None:
        if args.sha256 is not None:
            raise ReenactError("--sha256 is that of --weights; give both")
        return None
    from reenactor.nn.download import checkpoint_folder

    return checkpoint_folder(args.weights, args.sha256)


def add_runtime(p: argparse.ArgumentParser) -> None:
    """What computes the model."""
    p.add_argument(
        "--runtime",
        choices=[one.value for one in Runtime],
        default="torch",
        help="what computes a trained model (default: %(default)s); auto measures which is fastest here, once",
    )


def add_device(p: argparse.ArgumentParser) -> None:
    """What PyTorch computes on."""
    p.add_argument(
        "--device",
        default="auto",
        help="what PyTorch computes on: auto (a CUDA GPU if there is one), cpu, cuda, cuda:1 or mps (default: auto)",
    )


def add_signing(p: argparse.ArgumentParser) -> None:
    """Options about the signature that every output carries."""
    p.add_argument(
        "--sign-cert", type=Path, metavar="PEM", help="certificate chain to sign with, instead of a self-made one"
    )
    p.add_argument("--sign-key", type=Path, metavar="PEM", help="the certificate's private key")
    p.add_argument(
        "--no-provenance",
        action="store_true",
        help="do not sign: nothing in the file will tell others, or you later, that it is synthetic and what it was "
        "made from, and sites that ask for Content Credentials may refuse it",
    )


def run(args: argparse.Namespace) -> int:
    """Animate; several inputs one after the other."""
    jobs, batch = _jobs(args)
    from reenactor.engine import animate, other_origin

    options, credentials = _options(args), signing_credentials(args)
    failed = 0
    for targets, driver, output in jobs:
        try:
            if batch and output.exists():
                otherwise = other_origin(output, targets, Path(driver), options)
                print(f"{output}: there already{f' ({otherwise})' if otherwise else ''}, kept")
                continue
            report = animate(targets, driver, output, options, credentials=credentials, progress=Bar())
            print(report.text())
        except ReenactError as error:
            if not batch:
                raise
            failed += 1
            print(f"reenactor: {output.name}: {error}", file=sys.stderr)
    if failed:
        raise ReenactError(f"{failed} of {len(jobs)} could not be made; the reasons stand above")
    return 0


def signing_credentials(args: argparse.Namespace) -> Credentials | None:
    """The certificate given on the command line, if any."""
    if (args.sign_cert is None) != (args.sign_key is None):
        raise ReenactError("--sign-cert and --sign-key belong together; give both")
    if args.sign_cert is None or args.no_provenance:
        return None
    from reenactor.media import load_credentials

    return load_credentials(args.sign_cert, args.sign_key)


def _options(args: argparse.Namespace) -> Options:
    head, head_movement = _head(args.head)
    return Options(
        model=args.model,
        weights=weights_folder(args),
        transfer=Transfer(args.transfer) if args.transfer else None,
        head=head,
        head_movement=head_movement,
        strength=args.strength,
        keep_expression=args.keep_expression,
        transformer=args.transformer,
        layout=Layout.GRID if args.grid else Layout.CROP if args.crop_only else Layout.PHOTO,
        size=args.size,
        max_side=args.max_side,
        face=args.face,
        driver_face=args.driver_face,
        still=args.still,
        smooth=args.smooth,
        background=Background.MOVING if args.moving_background else Background.STILL,
        provenance=not args.no_provenance,
        runtime=Runtime(args.runtime),
        device=args.device,
        alpha=args.alpha,
    )


def _head(given: str | None) -> tuple[Head | None, float]:
    """How the head turns, and how much of the driver's movement it follows, by the value of --head."""
    if given is None or given in list(Head):
        return (Head(given) if given else None), 1.0
    try:
        return None, float(given)
    except ValueError:
        choices = ", ".join(Head)
        raise ReenactError(f"--head must be one of {choices}, or a number from 0 to 1, not {given}") from None


def _jobs(args: argparse.Namespace) -> tuple[list[tuple[list[Path], Path, Path]], bool]:
    """(photos, driver, output) of every job, and whether this is a batch."""
    from reenactor.engine.shipped import shipped_motions
    from reenactor.media import IMAGE_SUFFIXES, is_image, is_motion, is_person, is_still, is_video

    shipped = shipped_motions()
    if args.driver in shipped and not Path(args.driver).exists():
        args.driver = str(shipped[args.driver])
    photos = f"photo ({', '.join(IMAGE_SUFFIXES)})"
    people = None
    if len(args.target) == 1:
        people = _many(args.target[0], lambda path: is_image(path) or is_person(path), f"{photos} or .person file")
    drivers = _many(
        args.driver,
        lambda path: is_video(path) or is_motion(path) or is_image(path),
        "video (.mp4, .mov, .gif and others), photo or .motion file",
    )
    if people is None and drivers is None:
        return [([Path(t) for t in args.target], Path(args.driver), args.output)], False
    if args.output.suffix and not args.output.is_dir():
        raise ReenactError(f"a batch needs a folder for its results, and {args.output} names a file; give -o a folder")
    sets = [[Path(t) for t in args.target]] if people is None else [[person] for person in people]
    jobs = []
    for targets in sets:
        for driver in drivers or [Path(args.driver)]:
            suffix = ".png" if is_still(driver) else ".mov" if args.alpha else ".mp4"
            jobs.append((targets, driver, args.output / f"{targets[0].stem}--{driver.stem}{suffix}"))
    outputs = [output for _, _, output in jobs]
    if twice := {output.stem for output in outputs if outputs.count(output) > 1}:
        raise ReenactError(
            f"two photos or drivers of the batch have the same name ({min(twice)} would be made twice); "
            "rename one of them"
        )
    try:
        args.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ReenactError(f"cannot make the folder {args.output}: {error.strerror}; choose another") from error
    return jobs, True


def _many(given: str, accepts: Callable[[Path], bool], kinds: str) -> list[Path] | None:
    """The accepted files of a folder or pattern, in order; None for a single file. `kinds` names what is accepted.

    Prints what is left out; hidden files of a folder are not even looked at.
    """
    path = Path(given)
    if path.is_dir():
        inside = sorted(p for p in path.iterdir() if not p.name.startswith("."))
    elif not path.exists() and glob.has_magic(given):
        inside = sorted(map(Path, glob.glob(given)))
    else:
        return None
    files = [p for p in inside if not p.is_dir()]
    found = [p for p in files if accepts(p)]
    if not found:
        raise ReenactError(f"nothing in {given} is a {kinds}; check the name")
    kind = re.sub(r" \(.*?\)", "", kinds)
    others = [p for p in files if not accepts(p)]
    _say_skipped(given, others, f"file that is no {kind}" if len(others) == 1 else f"files that are no {kind}")
    folders = [p for p in inside if p.is_dir()]
    _say_skipped(given, folders, "folder" if len(folders) == 1 else "folders")
    return found


def _say_skipped(given: str, paths: list[Path], what: str) -> None:
    if paths:
        names = ", ".join(path.name for path in paths[:_MOST_NAMES])
        more = f" and {len(paths) - _MOST_NAMES} more" if len(paths) > _MOST_NAMES else ""
        print(f"{given}: skipped {len(paths)} {what}: {names}{more}")
