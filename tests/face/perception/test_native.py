"""MediaPipe comes late and in silence."""

import os
import subprocess
import sys
import threading

from reenactor.face.perception._native import quiet_stderr

SCRIPT = """
import sys
import reenactor.face.perception
assert "mediapipe" not in sys.modules, "importing reenactor must not import mediapipe"
import numpy as np
from reenactor.face.perception import FaceFinder
with FaceFinder() as finder:
    finder.observe_all(np.zeros((64, 64, 3), dtype=np.uint8))
print("heard", file=sys.stderr)
"""


def test_nothing_on_stderr_but_our_own():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "heard\n"


def test_stderr_comes_back_when_the_last_one_leaves(capfd):
    with quiet_stderr():
        os.write(2, b"lost")
        with quiet_stderr():
            os.write(2, b"lost")
        os.write(2, b"lost")
    os.write(2, b"back")
    assert capfd.readouterr().err == "back"


def test_threads_share_one_redirection(capfd):
    inside, leave = threading.Barrier(3), threading.Event()

    def work():
        with quiet_stderr():
            inside.wait()
            leave.wait()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    inside.wait()
    os.write(2, b"lost")
    leave.set()
    for thread in threads:
        thread.join()
    os.write(2, b"back")
    assert capfd.readouterr().err == "back"


def test_a_process_without_stderr_has_nothing_to_redirect():
    script = (
        "import os; from reenactor.face.perception._native import quiet_stderr; os.close(2)\nwith quiet_stderr(): pass"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
