"""User studies: balance and order, answers that stay, the page in a browser, ratios against closed forms."""

import argparse
import dataclasses
import json
import threading
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from reenactor.cli import study as study_verb
from reenactor.core import ReenactError
from reenactor.media import read_image, write_image
from reenactor.research.evaluation import Entry, Protocol, export, open_predictions
from reenactor.research.evaluation.study import (
    AnswerBook,
    Kind,
    Study,
    StudyServer,
    Trial,
    deceptions,
    make_study,
    read_study,
    session,
    study_tables,
    valid_answers,
    wilson,
    win_ratios,
)
from reenactor.research.evaluation.study.answers import Answer
from reenactor.research.evaluation.study.plan import PICTURES, QUESTIONS, REAL, RIGHT, STUDY, WRONG

CHROMIUM = Path("/usr/bin/chromium")


def pair(name, a="a", b="b"):
    return Trial(name, Kind.PAIR, ("p.png",), "d.png", ((a, f"{a}.png"), (b, f"{b}.png")))


def odd(name, method="a"):
    return Trial(name, Kind.ODD, (), None, ((method, f"{method}.png"), (REAL, "r1.png"), (REAL, "r2.png")))


CHECKS = (
    Trial("check", Kind.PAIR, ("p.png",), "d.png", ((RIGHT, "r1.png"), (WRONG, "w.png"))),
    Trial("odd check", Kind.ODD, (), None, ((RIGHT, "w.png"), (WRONG, "r1.png"), (WRONG, "r2.png"))),
)


@pytest.fixture
def study():
    trials = [pair(f"p{i}") for i in range(6)] + [odd(f"o{i}", "ab"[i % 2]) for i in range(6)]
    return Study("T<est>", 5, 4, 4, (*trials, *CHECKS))


@pytest.fixture
def folder(study, tmp_path):
    (tmp_path / "study" / PICTURES).mkdir(parents=True)
    for i, name in enumerate(sorted(study.pictures)):
        write_image(tmp_path / "study" / PICTURES / name, np.full((32, 32, 3), 30 * i, np.uint8))
    (tmp_path / "study" / STUDY).write_text(study.to_json())
    return tmp_path / "study"


class TestSession:
    def test_questions_follow_each_other(self, study):
        steps = session(study, 0)
        assert len(steps) == 4 * 3 + 1 + 4 + 1
        assert session(study, 0) == steps
        kinds = [step.trial.kind for step in steps]
        assert kinds == sorted(kinds, key=list(Kind).index), "pairs first"
        i = 0
        while steps[i].trial.kind is Kind.PAIR:
            count = 1 if steps[i].trial.check else 3
            assert {(s.trial, s.order) for s in steps[i : i + count]} == {(steps[i].trial, steps[i].order)}
            assert [s.question for s in steps[i : i + count]] == list(QUESTIONS[Kind.PAIR])[:count]
            i += count

    def test_sides_are_balanced_and_random(self, study):
        sides = []
        for number in range(60):
            steps = [s for s in session(study, number) if s.question == "identity" and not s.trial.check]
            first = [s.names[0] for s in steps]
            assert Counter(first) == {"a": 2, "b": 2}
            sides.append(first[0])
            for method in "ab":
                where = [
                    s.names.index(method) for s in session(study, number) if method in s.names and s.question == "odd"
                ]
                assert max(Counter(where).values()) <= -(-len(where) // 3)
        assert 15 < sides.count("a") < 45

    def test_trials_are_shown_equally_often(self, study):
        whole = dataclasses.replace(study, pairs=2, odd=3)
        shown = Counter(s.trial.id for n in range(6) for s in session(whole, n) if s.question in ("identity", "odd"))
        assert {shown[f"p{i}"] for i in range(6)} == {2}
        assert {shown[f"o{i}"] for i in range(6)} == {3}
        assert {len({s.trial.id for s in session(study, n)}) for n in range(20)} == {10}, "none twice"

    def test_orders_differ_between_participants(self, study):
        assert len({tuple((s.trial.id, s.order) for s in session(study, n)) for n in range(10)}) == 10


def answer(who, kind, options, choice, question="identity", check=False, late=False):
    return Answer(who, "t", kind, question, options, options.index(choice), check, late)


class TestReport:
    def test_wilson_is_scipys(self):
        for wins, count in ((0, 5), (3, 7), (10, 10), (41, 150)):
            wanted = binomtest(wins, count).proportion_ci(method="wilson")
            assert wilson(wins, count) == pytest.approx((wanted.low, wanted.high), abs=1e-6)

    def test_a_single_participant(self):
        some = [answer(0, Kind.PAIR, ("b", "a"), "a") for _ in range(3)] + [answer(0, Kind.PAIR, ("a", "b"), "b")]
        ratio = win_ratios(some)["a", "b"]["identity"]
        assert (ratio.value, ratio.answers, ratio.participants) == (0.75, 4, 1)
        assert (ratio.low, ratio.high) == wilson(3, 4)

    def test_several_participants(self):
        """Of two participants of one mind each, half of the resamples mix them and a quarter has only one."""
        some = [answer(who, Kind.PAIR, ("a", "b"), "ab"[who]) for who in (0, 1) for _ in range(50)]
        ratio = win_ratios(some)["a", "b"]["identity"]
        assert (ratio.value, ratio.low, ratio.high) == (0.5, 0.0, 1.0)
        assert wilson(50, 100)[1] < 0.6, "what frames one by one would say"

    def test_deception_is_to_choose_a_photo(self):
        shown = ("real", "m", "real")
        some = [Answer(0, "t", Kind.ODD, "odd", shown, i, False, i == 2) for i in (0, 1, 2, 2)]
        ratio = deceptions(some)["m"]
        assert (ratio.value, ratio.late) == (0.75, 2)

    def test_who_fails_the_checks_is_left_out(self):
        check = (RIGHT, WRONG)
        rows = [answer(0, Kind.PAIR, check, RIGHT, check=True)] * 3 + [answer(0, Kind.PAIR, check, WRONG, check=True)]
        rows += [answer(1, Kind.PAIR, check, c, check=True) for c in (RIGHT, RIGHT, WRONG)]
        rows += [answer(who, Kind.PAIR, ("a", "b"), "ab"[who > 0]) for who in (0, 1, 2)]
        found = valid_answers(rows)
        assert (found.participants, found.failed, found.unchecked) == (1, 1, 1)
        assert [(one.participant, one.choice) for one in found.kept] == [(0, "a")]
        assert "left out: 1 who failed" in study_tables(found)[0].notes[1]
        assert valid_answers([one for one in rows if not one.check]).participants == 3, "a study without checks"


class TestAnswerBook:
    def test_answers_stay(self, study, tmp_path):
        book = AnswerBook(tmp_path / "r.sqlite", study)
        tokens = [book.join() for _ in range(3)]
        assert [book.number(token) for token in tokens] == [0, 1, 2]
        assert book.number("nobody's") is None
        step = session(study, 1)[0]
        book.put(1, 0, step, 1, late=False, took_ms=500)
        book.put(1, 0, step, 0, late=False, took_ms=700)
        again = AnswerBook(tmp_path / "r.sqlite", study)
        assert [again.next_step(n) for n in range(3)] == [0, 1, 0]
        (only,) = AnswerBook(tmp_path / "r.sqlite").answers()
        assert (only.participant, only.choice, only.options) == (1, step.names[1], step.names)

    def test_others_are_refused(self, study, tmp_path):
        AnswerBook(tmp_path / "r.sqlite", study)
        with pytest.raises(ReenactError, match="another study"):
            AnswerBook(tmp_path / "r.sqlite", dataclasses.replace(study, seed=6))
        with pytest.raises(ReenactError, match="is missing"):
            AnswerBook(tmp_path / "none.sqlite")
        (tmp_path / "text").write_text("no database" * 100)
        with pytest.raises(ReenactError, match="holds no answers"):
            AnswerBook(tmp_path / "text", study)


@pytest.fixture
def server(study, folder, tmp_path):
    with StudyServer(*read_study(folder), AnswerBook(tmp_path / "r.sqlite", study), least_s=0) as server:
        thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.05))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(server, path, content=None, *, data=None):
    body = json.dumps(content).encode() if data is None else data
    with urllib.request.urlopen(urllib.request.Request(server.url + path, body), timeout=10) as reply:
        return json.loads(reply.read())


class TestServer:
    def test_no_method_is_named(self, server):
        token = ask(server, "api/join", {})["token"]
        question = ask(server, "api/next", {"token": token})
        assert set(question) == {
            *("title", "total", "done", "step", "kind", "question", "person", "driver", "pictures", "left_ms")
        }
        assert (question["step"], question["total"], question["left_ms"]) == (0, 18, None)
        with urllib.request.urlopen(server.url, timeout=10) as page:
            assert "T&lt;est&gt;" in page.read().decode()

    def test_an_answer_counts_once(self, server):
        token = ask(server, "api/join", {})["token"]
        ask(server, "api/next", {"token": token})
        said = {"token": token, "step": 0, "chosen": 1, "late": False}
        assert ask(server, "api/answer", said)["step"] == 1
        assert ask(server, "api/answer", {**said, "chosen": 0})["step"] == 1
        assert [one.chosen for one in server.book.answers()] == [1]

    @pytest.mark.parametrize(
        ("path", "content", "status"),
        [
            ("api/next", {"token": "x"}, 403),
            ("api/next", {"token": ["x"]}, 403),
            ("api/nothing", {}, 404),
            ("api/answer", {"step": "0", "chosen": 0}, 400),
            ("api/answer", {"step": 0, "chosen": 2}, 400),
            ("api/answer", {"step": 0, "chosen": -1}, 400),
            ("api/show", {"step": 5}, 409),
        ],
    )
    def test_bad_requests(self, server, path, content, status):
        token = ask(server, "api/join", {})["token"]
        with pytest.raises(urllib.error.HTTPError) as caught:
            ask(server, path, {"token": token, **content})
        assert caught.value.code == status
        caught.value.close()
        assert server.book.answers() == []

    def test_the_time_goes_on(self, server, monkeypatch):
        clock = [1000.0]
        monkeypatch.setattr("reenactor.research.evaluation.study.answers.time.time", lambda: clock[0])
        token = ask(server, "api/join", {})["token"]
        steps = session(server.study, 0)
        first = next(i for i, step in enumerate(steps) if step.trial.kind is Kind.ODD)
        ask(server, "api/next", {"token": token})
        for i in range(first):
            ask(server, "api/answer", {"token": token, "step": i, "chosen": 0})
        assert ask(server, "api/next", {"token": token})["left_ms"] == 3000, "it begins when they are shown"
        for later, left_ms in ((0.0, 3000), (1.0, 2000), (1.5, 500), (9.0, 0)):
            clock[0] += later
            assert ask(server, "api/show", {"token": token, "step": first}) == {"left_ms": left_ms}
            assert ask(server, "api/next", {"token": token})["left_ms"] == left_ms

    @pytest.mark.parametrize("data", [b"[1]", b"{", b" " * 5000])
    def test_bodies_that_are_none(self, server, data):
        with pytest.raises(urllib.error.HTTPError) as caught:
            ask(server, "api/join", data=data)
        assert caught.value.code in (400, 413)
        caught.value.close()

    @pytest.mark.parametrize("path", ["pictures/../study.json", "study.json", "pictures/", "assets/study/index.html"])
    def test_other_files_are_not_served(self, server, path):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(server.url + path, timeout=10)
        assert caught.value.code == 404
        caught.value.close()


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM.exists():
        pytest.skip("there is no Chromium here")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.mark.slow
def test_a_whole_session_in_a_browser(browser, server):
    """Clicks and keys, a reload in the middle of both kinds, three seconds: and the file holds what was chosen."""
    from playwright.sync_api import expect

    page = browser.new_page(viewport={"width": 390, "height": 780})
    errors = []
    page.on("pageerror", lambda error: errors.append(error))
    page.goto(server.url)
    page.click("#begin")
    steps, chosen, late = session(server.study, 0), [], []
    reloaded = False
    for i, step in enumerate(steps):
        expect(page.locator("#count")).to_have_text(f"{i + 1} / {len(steps)}")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        if i == 2:
            page.reload()
            expect(page.locator("#count")).to_have_text(f"{i + 1} / {len(steps)}")
        pictures = page.locator(".option img")
        overtime = False
        if step.trial.kind is Kind.ODD:
            expect(page.locator(".option").first).to_be_disabled()
            expect(pictures.first).to_be_hidden()
            if step.trial.check:
                page.keyboard.press("Enter")  # the button has the focus
            else:
                page.click("#show")
            if not reloaded:
                # The limit goes on while the page is loaded anew, and then hides the pictures.
                reloaded = overtime = True
                expect(pictures.first).to_be_visible()
                page.reload()
                expect(page.locator("#question")).to_have_text("Which one was it?", timeout=6000)
                expect(pictures.first).to_be_hidden()
            else:
                expect(pictures.first).to_be_visible()
        index = step.names.index(RIGHT) if step.trial.check else i % len(step.order)
        if i % 3 == 0:
            page.locator(".option").nth(index).click()
        elif len(step.order) == 2 and i % 3 == 1:
            page.keyboard.press(["ArrowLeft", "ArrowRight"][index])
        else:
            page.keyboard.press(str(index + 1))
        chosen.append(index)
        late.append(overtime)
    expect(page.locator("#thanks")).to_be_visible()
    page.reload()
    expect(page.locator("#thanks")).to_be_visible()
    page.close()
    assert errors == []
    answers = server.book.answers()
    assert [one.chosen for one in answers] == chosen
    assert [one.late for one in answers] == late
    assert [one.options for one in answers] == [step.names for step in steps]

    told = valid_answers(answers)
    assert (told.participants, told.failed) == (1, 0)
    for question in QUESTIONS[Kind.PAIR]:
        mine = [s.names[c] for s, c in zip(steps, chosen, strict=True) if s.question == question and not s.trial.check]
        assert win_ratios(told.kept)["a", "b"][question].value == mine.count("a") / len(mine)
    for method, ratio in deceptions(told.kept).items():
        mine = [s.names[c] for s, c in zip(steps, chosen, strict=True) if s.question == "odd" and method in s.names]
        assert ratio.value == mine.count(REAL) / len(mine)


@pytest.mark.slow
def test_the_limit_hides_the_pictures(browser, study, folder, tmp_path):
    from playwright.sync_api import expect

    only_odd = dataclasses.replace(
        study, pairs=0, odd=2, trials=tuple(one for one in study.trials if one.kind is Kind.ODD)
    )
    with StudyServer(only_odd, folder, AnswerBook(tmp_path / "odd.sqlite", only_odd)) as server:
        thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.05))
        thread.start()
        page = browser.new_page()
        page.goto(server.url)
        page.click("#begin")
        page.click("#show")
        first = page.locator(".option img").first
        expect(first).to_be_visible()
        began = page.evaluate("performance.now()")
        expect(first).to_be_hidden(timeout=6000)
        assert 1500 < page.evaluate("performance.now()") - began < 4500
        page.keyboard.press("2")
        expect(page.locator("#count")).to_contain_text("2 /")
        page.close()
        assert [one.late for one in server.book.answers()] == [True]
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def drawn(cases_of, packs, copies, tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    cases = cases_of(Protocol.SELF, count=5, size=64)
    return [
        export(packs, cases, Entry("warp"), folder / "warp"),
        open_predictions(copies(folder / "driver's", cases, "driver")),
        open_predictions(copies(folder / "still", cases, "target")),
    ]


class TestMaking:
    def test_all_with_each_other(self, drawn, packs, tmp_path):
        made = make_study(drawn, packs, tmp_path, examples=4, checks=1, pairs=5, odd=5)
        study, folder = read_study(tmp_path)
        assert (study, folder) == (made, tmp_path)
        plain = Counter((one.kind, one.names) for one in study.trials if not one.check)
        names = [one.method.name for one in drawn]
        couples = [(names[0], names[1]), (names[0], names[2]), (names[1], names[2])]
        wanted = {(Kind.PAIR, couple): 4 for couple in couples} | {(Kind.ODD, (n, REAL, REAL)): 4 for n in names}
        assert plain == wanted
        assert sum(one.check for one in study.trials) == 2
        for one in study.trials:
            shown = [picture for _, picture in one.options]
            assert len(set(shown)) == len(shown)
            if one.kind is Kind.PAIR:
                assert len(set(one.person)) == 3
                assert one.driver not in one.person, "the answer is not given away"

    def test_pictures_are_the_results(self, drawn, packs, tmp_path):
        study = make_study(drawn, packs, tmp_path, examples=1, checks=0)
        by_name = dict(next(one for one in study.trials if one.kind is Kind.PAIR).options)
        one = next(s for s in drawn[0].cases.cases if study.trials[0].id.startswith(s.id))
        np.testing.assert_array_equal(read_image(tmp_path / PICTURES / by_name["warp"]), read_image(drawn[0].path(one)))

    def test_against_one(self, drawn, packs, tmp_path):
        study = make_study(drawn, packs, tmp_path, against="warp", examples=2, checks=0)
        assert all("warp" in one.names for one in study.trials if one.kind is Kind.PAIR)

    def test_by_command(self, drawn, tmp_path, capsys):
        def call(*arguments):
            top = argparse.ArgumentParser()
            study_verb.add_parser(top.add_subparsers())
            args = top.parse_args(["study", *map(str, arguments)])
            capsys.readouterr()
            assert args.run(args) == 0
            return capsys.readouterr().out

        folders = [drawn[0].folder, drawn[2].folder]
        more = ("--examples", 2, "--checks", 1, "--data", drawn[0].data)
        assert "2 pairs, 4 of three, 2 checks" in call("make", *folders, *more, "--out", tmp_path / "study")
        study, _ = read_study(tmp_path / "study")
        book = AnswerBook(tmp_path / "r.sqlite", study)
        with pytest.raises(ReenactError, match="no answers that count"):
            call("report", tmp_path / "r.sqlite")
        book.join()
        for i, step in enumerate(session(study, 0)):
            wanted = RIGHT if step.trial.check else REAL if step.trial.kind is Kind.ODD else "warp"
            book.put(0, i, step, step.names.index(wanted), late=False, took_ms=1)
        said = call("report", tmp_path / "r.sqlite", "--json", tmp_path / "r.json")
        low, high = wilson(0, 2)
        assert f"| still over warp | {' | '.join([f'0.000 [{low:.3f}, {high:.3f}]'] * 3)} | 6 |" in said
        found = json.loads((tmp_path / "r.json").read_text())
        assert found["deceptions"]["warp"] == {
            **{"value": 1.0, "low": wilson(2, 2)[0], "high": 1.0},
            **{"answers": 2, "participants": 1, "late": 0},
        }
        with StudyServer(study, tmp_path / "study", book) as busy:
            port = busy.server_address[1]
            with pytest.raises(ReenactError, match="another --port"):
                call("serve", tmp_path / "study", "--db", tmp_path / "r.sqlite", "--port", port)

    def test_bad_input(self, drawn, packs, tmp_path):
        with pytest.raises(ReenactError, match="no method 'x'"):
            make_study(drawn, packs, tmp_path, against="x")
        with pytest.raises(ReenactError, match="different names"):
            make_study([drawn[0], drawn[0]], packs, tmp_path)
        with pytest.raises(ReenactError, match="numbers above 0"):
            make_study(drawn, packs, tmp_path, examples=0)
        with pytest.raises(ReenactError, match="is missing"):
            read_study(tmp_path / "none")
        make_study(drawn, packs, tmp_path, examples=1)
        next((tmp_path / PICTURES).iterdir()).unlink()
        with pytest.raises(ReenactError, match="lacks"):
            read_study(tmp_path)
        (tmp_path / STUDY).write_text("{}")
        with pytest.raises(ReenactError, match="does not describe"):
            read_study(tmp_path)
