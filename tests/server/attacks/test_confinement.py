"""What a process can do that a stranger's file took over."""

import ctypes
import os
import resource
import socket
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from reenactor.core.files import config_folder, sha256
from reenactor.media import read_provenance, write_image
from reenactor.media.certificates import own_credentials
from reenactor.server import Client, Settings, jobs, live, signing, uploads
from reenactor.server.confinement import Confinement
from reenactor.server.page import previews
from reenactor.server.processes import ChildProcess
from reenactor.server.signing import Signer

KEY = "k" * 40
NO_NEW_PRIVILEGES = 39  # sys/prctl.h


def outcome(act):
    try:
        return str(act())
    except (OSError, MemoryError) as error:
        return type(error).__name__


def attempts(channel):
    """In the process: what an attacker would try, and what came of it."""
    asked = channel.receive()
    folder, single, mine = (Path(asked[name]) for name in ("folder", "single", "mine"))
    libc = ctypes.CDLL(None)

    def huge():
        with (mine / "huge").open("wb") as file:
            file.seek(5 * 2**30)
            file.write(b"x")
            file.flush()

    def uncovered():
        libc.umount2(os.fsencode(folder), 2)
        libc.unshare(0x10020000)
        libc.umount2(os.fsencode(folder), 2)
        return os.listdir(folder)

    def in_a_thread():
        thread = threading.Thread(target=int)
        thread.start()
        return thread.join()

    channel.send(
        {
            "network": outcome(lambda: socket.create_connection(("127.0.0.1", asked["port"]), 2)),
            "datagrams": outcome(lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", 9))),
            "keys": outcome(lambda: os.listdir(folder)),
            "key": outcome(single.read_text),
            "uncovered": outcome(uncovered),
            "memory": outcome(lambda: len(bytearray(2**31))),
            "huge file": outcome(huge),
            "small file": outcome(lambda: (mine / "small").write_text("x")),
            "thread": outcome(in_a_thread),
            "new privileges": outcome(lambda: 1 - libc.prctl(NO_NEW_PRIVILEGES, 0, 0, 0, 0)),
            "core dump": outcome(lambda: resource.getrlimit(resource.RLIMIT_CORE)),
        }
    )


def tried(confinement, tmp_path):
    for name in ("keys", "mine"):
        (tmp_path / name).mkdir()
    (tmp_path / "keys" / "key.pem").write_text("secret")
    (tmp_path / "single.pem").write_text("secret")
    process = ChildProcess("attacker", attempts, confinement=confinement)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        paths = {"folder": tmp_path / "keys", "single": tmp_path / "single.pem", "mine": tmp_path / "mine"}
        process.send({name: str(path) for name, path in paths.items()} | {"port": listening.getsockname()[1]})
        found = process.receive(60)
    process.close()
    return found


def test_what_a_confined_process_can_do(tmp_path, monkeypatch):
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # with threads it could not leave its namespaces
        monkeypatch.delenv(name, raising=False)
    hidden = (tmp_path / "keys", tmp_path / "single.pem", tmp_path / "none")
    assert tried(Confinement(hidden, memory_bytes=2**30), tmp_path) == {
        "network": "OSError",
        "datagrams": "OSError",
        "keys": "[]",
        "key": "",
        "uncovered": "[]",
        "memory": "MemoryError",
        "huge file": "OSError",
        "small file": "1",
        "thread": "None",
        "new privileges": "0",
        "core dump": "(0, 0)",
    }
    assert (tmp_path / "keys" / "key.pem").read_text() == "secret", "others see it as before"


def test_what_another_process_can_do(tmp_path):
    """The same attempts succeed without confinement: the test sees what it looks for."""
    found = tried(None, tmp_path)
    assert found["network"].startswith("<socket")
    assert (found["key"], found["memory"], found["huge file"]) == ("secret", str(2**31), "None")
    assert "key.pem" in found["keys"]


def test_whoever_decodes_is_confined(here, monkeypatch):
    """Of the processes for requests only the one that signs sees the keys."""
    confined = {}

    class Noted(ChildProcess):
        def __init__(self, name, *arguments, confinement=None):
            super().__init__(name, *arguments, confinement=confinement)
            confined[name] = confinement

    for module in (jobs, live, previews, signing, uploads):
        monkeypatch.setattr(module, "ChildProcess", Noted)
    app = here(sign_cert=Path("cert.pem"), sign_key=Path("key.pem"))
    previews.Previews(app.settings)
    assert confined.pop("reenactor-signer") is None
    assert {name.removeprefix("reenactor-") for name in confined} == {"worker", "live", "checker", "preview", "compare"}
    for name, one in confined.items():
        assert {config_folder(), Path("key.pem")} <= set(one.hidden), name


def test_what_is_not_in_force_is_said(monkeypatch):
    assert "not in force" not in Confinement(memory_bytes=2**34).report()
    assert "a limit on memory" in Confinement().report()
    monkeypatch.setattr(Confinement, "_leave", lambda self: False)
    said = Confinement(memory_bytes=2**34).report()
    assert said.endswith("; not in force on this system: no network, out of sight of the keys")


PROTECTED = """
import ctypes, os, sys
from reenactor.server.confinement import protect_keys
from reenactor.server.keys import load_keys
load_keys(None, os.environ)
protect_keys()
dumpable = ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)
print(os.environ.get("REENACTOR_API_KEYS"), os.environ["OTHER"], dumpable, flush=True)
sys.stdin.read()
"""


def test_keys_do_not_stay_in_the_environment():
    environment = {**os.environ, "REENACTOR_API_KEYS": KEY, "OTHER": "o"}
    command = [sys.executable, "-c", PROTECTED]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True)
    assert process.stdout.readline() == "None o 0\n"
    left = Path(f"/proc/{process.pid}/environ").read_text()
    process.communicate()
    assert KEY not in left
    assert "OTHER=o" in left


def test_the_signer_hashes_what_it_signs(tmp_path, photo, face):
    """The process that drew says which model it was; what was used, and by whom it is signed, the signer says."""
    result = tmp_path / "result.png"
    write_image(result, face)
    signer = Signer(Settings(data=tmp_path / "data"))
    model = {"model": "warp", "model_version": "1", "trained": False}
    assert signer.sign(result, {**model, "inputs": [], "result": "/etc/passwd"}, [photo], photo) is None
    (tmp_path / "no.png").write_text("no picture")
    refused = signer.sign(tmp_path / "no.png", model, [photo], None)
    signer.close()
    assert "cannot sign the result" in refused
    assert str(tmp_path) not in refused
    report = read_provenance(result)
    assert (report.valid, report.title, report.synthetic) == (True, "result.png", True)
    assert [(one.role, one.sha256) for one in report.inputs] == [("target", sha256(photo)), ("driver", sha256(photo))]


@pytest.mark.slow
def test_a_server_with_keys(photo, motion, tmp_path):
    """Keys in the environment, a job from the upload to the signature: what its processes can see."""
    own_credentials()
    environment = {**os.environ, "REENACTOR_API_KEYS": KEY}
    command = [sys.executable, "-m", "reenactor", "serve", "--port", "0", "--data", str(tmp_path / "data")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        url = process.stdout.readline().split()[-1]
        said = process.stdout.readline()
        assert said == "reenactor: uploads are decoded without network, out of sight of the keys, within limits\n"
        with Client(url, key=KEY) as client:
            job = client.add_job(client.add_target([photo]), motion, size=64, max_side=128)
            assert client.wait(job.id).state == "done"
            client.download(job.id, tmp_path / "result.mp4")
        family = psutil.Process(process.pid).children(recursive=True)
        for pid in [process.pid, *(one.pid for one in family)]:
            assert KEY not in Path(f"/proc/{pid}/environ").read_text()
        seen = {one.pid: list(Path(f"/proc/{one.pid}/root{config_folder()}").iterdir()) for one in family}
        own = os.readlink("/proc/self/ns/net")
        apart = [pid for pid in seen if os.readlink(f"/proc/{pid}/ns/net") != own]
        assert len(apart) >= 2, "the checker and the worker"
        assert not any(seen[pid] for pid in apart)
        assert any(seen.values()), "the signer sees the key"
    finally:
        process.terminate()
        process.communicate(timeout=30)
    assert read_provenance(tmp_path / "result.mp4").valid
