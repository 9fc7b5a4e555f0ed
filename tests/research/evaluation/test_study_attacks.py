"""Attacks on a study's server over HTTP: invented participants and times, other sites, connections that stay."""

import http.client
import json
import socket
import sqlite3
import threading
import time

import pytest
from test_study import folder, study  # noqa: F401

from reenactor.research.evaluation.study import AnswerBook, Kind, StudyServer, read_study, session
from reenactor.research.evaluation.study import server as study_server


@pytest.fixture
def serving(study, folder, tmp_path):  # noqa: F811
    """Starts servers; the page's own settings are the default."""
    running = []

    def start(**settings):
        server = StudyServer(*read_study(folder), AnswerBook(tmp_path / "r.sqlite", study), **settings)
        thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02))
        thread.start()
        running.append((server, thread))
        return server

    yield start
    for server, thread in running:
        server.shutdown()
        thread.join()
        server.server_close()


def ask(server, path, content=None, headers=(), *, method="POST", data=None):
    """Status and answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
    body = json.dumps(content or {}).encode() if data is None else data
    connection.request(method, path, None if method == "GET" else body, dict(headers))
    reply = connection.getresponse()
    said = reply.read()
    connection.close()
    return reply.status, json.loads(said) if said.startswith(b"{") else said


def join(server):
    status, said = ask(server, "/api/join")
    assert status == 200
    ask(server, "/api/next", said)
    return said["token"]


def vote(server, token):
    """Answer as fast as the server takes it until it refuses; the number of votes."""
    for i, step in enumerate(session(server.study, server.book.number(token))):
        if step.trial.kind is Kind.ODD:
            ask(server, "/api/show", {"token": token, "step": i})
        said = {"token": token, "step": i, "chosen": 0, "late": False, "took_ms": 5000}
        if ask(server, "/api/answer", said)[0] != 200:
            return i
    return len(session(server.study, 0))


def test_twelve_invented_participants(serving):
    server = serving()
    found = [ask(server, "/api/join") for _ in range(12)]
    assert [status for status, _ in found] == [200] * 4 + [429] * 8
    for _, said in found[:4]:
        ask(server, "/api/next", said)
        assert vote(server, said["token"]) == 0, "no answer before anybody could look"
    assert server.book.answers() == []


def test_votes_for_questions_that_were_not_asked(serving):
    server = serving(least_s=0)
    token = ask(server, "/api/join")[1]["token"]
    assert ask(server, "/api/answer", {"token": token, "step": 0, "chosen": 0})[0] == 409
    assert ask(server, "/api/answer", {"token": token + "x", "step": 0, "chosen": 0})[0] == 403
    assert server.book.answers() == []


def test_times_are_the_servers(serving, tmp_path, monkeypatch):
    """The page says what it likes: never late, and as long as an honest participant takes."""
    clock = [1000.0]
    monkeypatch.setattr("reenactor.research.evaluation.study.answers.time.time", lambda: clock[0])
    server = serving()
    token = join(server)
    steps = session(server.study, 0)
    for i, step in enumerate(steps):
        odd = step.trial.kind is Kind.ODD
        said = {"token": token, "step": i, "chosen": 0, "late": False, "took_ms": 1}
        if odd:
            assert ask(server, "/api/answer", said)[0] == 409, "not shown yet"
            ask(server, "/api/show", said)
        assert ask(server, "/api/answer", said)[0] == 429
        clock[0] += 60
        assert ask(server, "/api/answer", said)[0] == 200
    assert [one.late for one in server.book.answers()] == [step.trial.kind is Kind.ODD for step in steps]
    with sqlite3.connect(tmp_path / "r.sqlite") as db:
        assert {row[0] for row in db.execute("SELECT took_ms FROM answers")} == {60_000}


def test_requests_of_one_address(serving, monkeypatch):
    monkeypatch.setattr(study_server, "_REQUESTS_A_S", 2)
    server = serving()
    found = [ask(server, "/", method="GET")[0] for _ in range(40)]
    assert found[:20] == [200] * 20
    assert found.count(429) >= 10
    assert [ask(serving(per_address=0), "/", method="GET")[0] for _ in range(40)] == [200] * 40


def test_what_is_saved_up_comes_back_evenly(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(study_server.time, "monotonic", lambda: clock[0])
    allowance = study_server._Allowance(4, 8.0)
    assert [allowance.take("a") for _ in range(6)] == [True] * 4 + [False] * 2
    assert allowance.take("b"), "another address has its own"
    clock[0] = 2.1
    assert [allowance.take("a") for _ in range(2)] == [True, False]
    for i in range(30_000):
        allowance.take(str(i))
    assert len(allowance._left) <= 10_000


def test_one_subscriber_has_many_ipv6_addresses():
    assert study_server._network("2001:db8::1") == study_server._network("2001:db8::ffff")
    assert study_server._network("2001:db8::1") != study_server._network("2001:db8:0:1::1")
    assert study_server._network("10.0.0.1") != study_server._network("10.0.0.2")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 403),
        ({"Host": "evil.example", "Origin": "http://evil.example"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "[::1"}, 400),
        ({"Host": ""}, 403),
        ({"Host": "localhost"}, 200),
        ({"Host": "STUDY.example:1"}, 200),
        ({"Host": "study.example", "Origin": "http://study.example"}, 200),
    ],
)
def test_other_sites(headers, status, serving):
    """A page of another site, or one whose name was made to lead here."""
    server = serving(names=["Study.Example"])
    assert ask(server, "/api/join", headers=headers)[0] == status
    assert ask(server, "/", method="GET", headers=headers)[0] == status


@pytest.mark.parametrize(
    ("data", "headers"),
    [
        (b"[" * 4000, {}),
        (b'{"token": "\\ud800"}', {}),
        (b'{"token": "' + "é".encode() + b'"}', {}),
        (b"{}", {"Content-Length": "\xb2"}),
        (b"{}", {"Content-Length": "9" * 5000}),
        (b"{}", {"Transfer-Encoding": "chunked", "Content-Length": "2"}),
        (b"{}", {"Content-Length": "-1"}),
    ],
)
def test_bodies_that_break(data, headers, serving, capfd):
    server = serving()
    status, said = ask(server, "/api/next", data=data, headers=headers)
    assert 400 <= status < 500
    assert set(said) == {"error"}
    assert "Traceback" not in capfd.readouterr().err


def test_answers_that_cannot_be_stored(serving, tmp_path, monkeypatch, capfd):
    server = serving()
    monkeypatch.setattr(AnswerBook, "join", lambda self: sqlite3.connect("/").execute("SELECT 1"))
    assert ask(server, "/api/join")[0] == 503
    assert "Traceback" not in capfd.readouterr().err


def silent(server):
    return socket.create_connection(("127.0.0.1", server.server_address[1]), timeout=10)


def handlers(before):
    return [one for one in threading.enumerate() if one not in before and "process_request_thread" in one.name]


@pytest.mark.parametrize("bound", ["_CONNECTIONS_OF_ONE", "_CONNECTIONS"])
def test_connections_have_a_bound(bound, serving, monkeypatch):
    """Many connections that send nothing: so many threads, and the server answers when they end."""
    monkeypatch.setattr(study_server, bound, 5)
    before = threading.enumerate()
    server = serving()
    held = [silent(server) for _ in range(40)]
    assert [one.recv(1) for one in held[5:]] == [b""] * 35
    assert len(handlers(before)) == 5, "the others were closed at once, not by their silence"
    for one in held:
        one.close()
    while handlers(before):
        time.sleep(0.01)
    assert ask(server, "/", method="GET")[0] == 200


def test_silence_ends_a_connection(serving, monkeypatch):
    assert 0 < study_server._Handler.timeout == study_server._SILENCE_S <= 60
    monkeypatch.setattr(study_server._Handler, "timeout", 0.5)
    with silent(serving()) as one:
        assert one.recv(1) == b""


def test_a_byte_now_and_then(serving, monkeypatch):
    """Each byte comes in time; the connection ends nevertheless."""
    monkeypatch.setattr(study_server, "_LIFE_S", 0.5)
    before = threading.enumerate()
    server = serving()
    with silent(server) as slow:
        slow.sendall(b"GET / HTTP/1.1\r\nX: ")
        slow.settimeout(0.05)
        end = time.monotonic() + 30
        while time.monotonic() < end:
            try:
                slow.sendall(b"x")
                if slow.recv(1) == b"":
                    break
            except TimeoutError:
                continue
            except ConnectionError:
                break
        else:
            pytest.fail("the connection stays for ever")
    while handlers(before):
        assert time.monotonic() < end
        time.sleep(0.01)
