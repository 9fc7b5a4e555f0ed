"""`reenactor person`: photos and videos of one person into a file that is animated like a photo."""

from __future__ import annotations

import argparse
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from reenactor.cli.animate import add_device, add_still, add_weights, weights_folder
from reenactor.cli.progress import Bar
from reenactor.core.errors import ReenactError
from reenactor.core.options import DEFAULT_MODEL

if TYPE_CHECKING:
    from reenactor.media.person_file import Person


def add_parser(verbs: argparse._SubParsersAction) -> None:
    """Describe the verb."""
    p = verbs.add_parser(
        "person",
        help="make a person file of a video, or look at one",
        description="Make a person file of photos and videos of one person, to be animated like a photo: --target "
        "me.person. Ten seconds are enough that show the head turned to both sides, the mouth wide open and the eyes "
        "closed. Without -o, tell what a person file holds.",
        epilog="Make it only of yourself, or of a person who has agreed to it. The file holds their pictures: keep it "
        "as you would keep those. Whatever is made with it names, in its signature, the files that it was made from.",
    )
    p.add_argument(
        "source",
        nargs="+",
        type=Path,
        metavar="SOURCE",
        help="photos and videos; the first holds the picture that moves",
    )
    p.add_argument("-o", "--output", type=Path, metavar="NAME.person", help="the file to make")
    p.add_argument("--face", type=int, metavar="N", help="which face from the left (default: largest)")
    add_still(p)
    p.add_argument(
        "--tune",
        type=float,
        default=0.0,
        metavar="MINUTES",
        help="let the model learn the person from the videos for so long (needs the extra 'person'); if it comes no "
        "nearer to frames that it did not learn, it stays as it was, as it mostly does in 5 minutes of a CPU",
    )
    p.add_argument("--model", default=DEFAULT_MODEL, help="which model is tuned (default: %(default)s)")
    add_weights(p)
    add_device(p)
    p.set_defaults(run=run, stopped="stopped; the same command continues a tuning where it stopped")


def run(args: argparse.Namespace) -> int:
    """Make and save, or describe."""
    from reenactor.engine.job_folder import job_folder
    from reenactor.engine.loading import load_model
    from reenactor.engine.person import make_person
    from reenactor.media.person_file import is_person, read_person, write_person

    if args.output is None:
        if len(args.source) > 1 or not is_person(args.source[0]):
            raise ReenactError("where should the person file go? give -o NAME.person")
        print(_text(args.source[0], read_person(args.source[0])))
        return 0
    _check_output(args.output, args.source)
    folder = args.output.with_name(f"{args.output.name}.reenactor-job")
    with job_folder(folder, args.output) if args.tune else nullcontext():
        try:
            model = load_model(args.model, weights_folder(args), device=args.device) if args.tune else None
            how = {"face": args.face, "still": args.still, "minutes": args.tune, "progress": Bar()}
            person = make_person(args.source, model=model, folder=folder, **how)
            write_person(args.output, person)
        except ReenactError as error:
            # What was learned stays where trying again can help: a full disk.
            if not isinstance(error.__cause__, OSError):
                shutil.rmtree(folder, ignore_errors=True)
            raise
    shutil.rmtree(folder, ignore_errors=True)
    print(_text(args.output, person))
    print(f"  animate it: reenactor animate --target {args.output} --driver talk -o talk.mp4")
    return 0


def _check_output(output: Path, sources: list[Path]) -> None:
    from reenactor.media.person_file import is_person

    if not is_person(output):
        raise ReenactError(f"{output} should end in .person")
    if any(output.exists() and one.exists() and output.samefile(one) for one in sources):
        raise ReenactError(f"the output {output} is also an input; choose another name")
    if not output.parent.is_dir():
        raise ReenactError(f"there is no folder {output.parent} for the output; make it first")


def _text(path: Path, person: Person) -> str:
    from reenactor.engine.person import described

    size = f"{path.stat().st_size / 1e6:.1f} MB"
    return "\n  ".join([f"{path}: {size}", *described(person)])
