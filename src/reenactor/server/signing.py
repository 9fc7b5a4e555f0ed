"""Signing of results, by a process that has the key and decodes no stranger's pictures; those that do have no key."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reenactor.core import ReenactError
from reenactor.server.processes import Channel, ChildProcess, ProcessDiedError
from reenactor.server.settings import Settings
from reenactor.server.worker import credentials_of, without_paths

_SIGN_S = 120.0


class Signer:
    """Signs files, one after the other; for any number of threads.

    Args:
        settings: of the server.
    """

    def __init__(self, settings: Settings) -> None:
        self._process = ChildProcess("reenactor-signer", sign_results, settings)
        self._lock = threading.Lock()

    def sign(self, result: Path, model: dict[str, Any], photos: Sequence[Path], driver: Path | None) -> str | None:
        """Sign a file in place.

        Args:
            result: the file.
            model: what the process that drew it says of the model, see `worker.model_facts`.
            photos, driver: what it was made of.

        Returns:
            None, or one sentence that says why it is not signed.

        Raises:
            ProcessDiedError: signing broke off.
        """
        with self._lock:
            self._process.send(
                {
                    **model,
                    "result": str(result),
                    "photos": [str(photo) for photo in photos],
                    "drivers": [str(driver)] if driver else [],
                }
            )
            try:
                return self._process.receive(_SIGN_S)["error"]
            except TimeoutError:
                self._process.kill()
                raise ProcessDiedError from None

    def close(self) -> None:
        """End the process; nothing is signed any more."""
        with self._lock:
            self._process.kill()


def sign_results(channel: Channel, settings: Settings) -> None:
    """Process that answers each request of `Signer.sign` with `{"error": None or a sentence}`."""
    from reenactor.media.certificates import own_credentials
    from reenactor.media.person_file import target_files
    from reenactor.media.provenance import Claim, SourceFile, Synthesis, sign

    credentials = None
    while True:
        request = channel.receive()
        result, photos = Path(request["result"]), [Path(path) for path in request["photos"]]
        try:
            credentials = credentials or credentials_of(settings) or own_credentials()
            claim = Claim(
                title=result.name,
                model=request["model"],
                model_version=request["model_version"],
                # Hashed here, not where they are decoded.
                inputs=(*target_files(photos), *(SourceFile.of("driver", path) for path in request["drivers"])),
                synthesis=Synthesis.TRAINED if request["trained"] else Synthesis.UNTRAINED,
            )
            sign(result, result, claim, credentials)
            channel.send({"error": None})
        except ReenactError as error:
            channel.send({"error": without_paths(error, photos, {result: "the result"})})
