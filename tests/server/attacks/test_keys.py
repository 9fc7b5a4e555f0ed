"""Keys that end, are revoked or belong to the operator; addresses that are none; escape sequences."""

import os
import socket
import sys
import threading
import time
from datetime import date, timedelta

import pytest
import uvicorn

from reenactor.cli.main import main
from reenactor.core.errors import ReenactError
from reenactor.server import Settings, add_key, keys, load_keys
from reenactor.server.keys import Keys


def rewrite(file, text):
    file.write_text(text)
    os.utime(file, ns=(time.time_ns(), file.stat().st_mtime_ns + 1))


def test_a_key_file_without_a_final_newline(tmp_path):
    """A key that is added to such a line would end both."""
    first = add_key(tmp_path / "keys", "first")
    (tmp_path / "keys").write_text((tmp_path / "keys").read_text().rstrip("\n"))
    second = add_key(tmp_path / "keys", "second")
    known = load_keys(tmp_path / "keys", {})
    assert len(known) == 2
    assert known.owner(first)
    assert known.owner(second)


def test_revoked_without_a_restart(here):
    app = here()
    file = app.settings.data.parent / "keys"
    lines = file.read_text().splitlines()
    assert app.first.get("/v1/motions").status_code == 200
    rewrite(file, lines[1] + "\n")
    assert app.first.get("/v1/motions").status_code == 401
    assert app.second.get("/v1/motions").status_code == 200
    third = add_key(file, "third")
    assert app.client(third).get("/v1/motions").status_code == 200


@pytest.mark.parametrize("change", ["emptied", "deleted", "damaged"])
def test_without_its_file_a_server_is_closed_not_open(here, change, capfd):
    app = here()
    file = app.settings.data.parent / "keys"
    file.unlink() if change == "deleted" else rewrite(file, "rubbish\n" if change == "damaged" else "")
    for client in (app.first, app.nobody):
        for _ in range(3):
            assert client.get("/v1/motions").status_code == 401
    assert capfd.readouterr().err.count("reenactor:") == (0 if change == "emptied" else 1)


def test_keys_end(tmp_path, monkeypatch):
    key = add_key(tmp_path / "keys", "guest", days=2)
    known = load_keys(tmp_path / "keys", {})
    assert f"until={date.today() + timedelta(2)}" in (tmp_path / "keys").read_text()
    assert known.owner(key)
    later = time.time() + 4 * 86400
    monkeypatch.setattr(keys.time, "time", lambda: later)
    assert known.owner(key) is None
    for days in (0, -1, 10**9):
        with pytest.raises(ReenactError, match="days"):
            add_key(tmp_path / "keys", "other", days=days)
    (tmp_path / "keys").write_text(f"a {'0' * 64} until=2026-13-40\n")
    with pytest.raises(ReenactError, match="date"):
        load_keys(tmp_path / "keys", {})


def test_metrics_are_the_operators(here, capsys):
    app = here()
    refused = app.first.get("/metrics")
    assert (refused.status_code, "operator" in refused.json()["error"]) == (403, True)
    file = str(app.settings.data.parent / "keys")
    assert main(["serve", "--keys", file, "--add-key", "watch", "--operator", "--expires", "9"]) == 0
    key = capsys.readouterr().out.strip()
    assert "reenactor_jobs" in app.client(key).get("/metrics").text
    assert Keys().is_operator("")


@pytest.fixture
def listening(here):
    app = here()
    server = uvicorn.Server(uvicorn.Config(app.app, port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield app, server.servers[0].sockets[0].getsockname()
    server.should_exit = True
    thread.join(10)


HOSTS = ["[", "[::1", "a b", "a@b", "http://a", "a/b", "a:b", "a:99999999", "\xff", "\x1b[2J", "x" * 300, "a,b", "%00"]


def test_addresses_that_are_none(listening):
    """With keys and without the page any name is answered, but it has to be one."""
    app, address = listening
    key = app.first.headers["authorization"]

    def status(*lines):
        with socket.create_connection(address, timeout=10) as connection:
            request = ["GET /v1/motions HTTP/1.1", f"Authorization: {key}", "Connection: close", *lines, "", ""]
            connection.sendall("\r\n".join(request).encode("latin-1"))
            return connection.recv(1000).split()[1]

    assert status("Host: some.example:80") == b"200"
    for host in HOSTS:
        assert status(f"Host: {host}") == b"400", host
        assert status("Host: a", f"Origin: http://{host}") == b"400", host
    for origin in ("x", "http://", "//a", "http://a/b", "javascript:1"):
        assert status("Host: a", f"Origin: {origin}") == b"400", origin


ESCAPE = "\x1b]0;owned\x07\x9b2J\u202e"


def test_escape_sequences_reach_no_terminal(tmp_path, capfd):
    """File names and what is written in files, in any command."""
    name = tmp_path / f"a{ESCAPE}.png"
    assert main(["verify", str(name)]) == 2
    name.write_bytes(b"rubbish")
    assert main(["verify", str(name)]) != 0
    assert main(["animate", "--target", str(name), "--driver", "smile", "-o", str(tmp_path / f"{ESCAPE}.mp4")]) == 2
    assert main(["serve", "--keys", str(tmp_path / f"k{ESCAPE}"), "--add-key", "a b"]) == 2
    with pytest.raises(SystemExit):
        main([f"ani{ESCAPE}"])
    shown = "".join(capfd.readouterr())
    assert not set(shown) & set("\x1b\x07\x9b\u202e")
    assert "\\x1b]0;owned" in shown


def test_escape_sequences_in_the_servers_log(tmp_path, capfd):
    from reenactor.server.processes import ChildProcess, ProcessDiedError

    child = ChildProcess("reenactor-test", say, ESCAPE)
    child.send({})
    with pytest.raises(ProcessDiedError):
        child.receive(60)
    shown = capfd.readouterr().err
    assert "owned" in shown
    assert not set(shown) & set("\x1b\x07\x9b\u202e")


def say(channel, text):
    print(f"reenactor: a job failed: {text}", file=sys.stderr, flush=True)


def test_open_servers_need_keys(tmp_path):
    (tmp_path / "keys").write_text("")
    with pytest.raises(ReenactError, match="--add-key"):
        Settings(data=tmp_path, host="0.0.0.0", keys=load_keys(tmp_path / "keys", {})).check()
