"""The page in a real browser: the system's Chromium, headless, with a file in place of the camera."""

import os
import re
import subprocess
import sys
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from factories import head
from reenactor.engine import Reenactor
from reenactor.engine.shipped import demo_photo, shipped_motions
from reenactor.media import VideoReader, read_motion, read_person, read_provenance, read_rgba, write_image
from reenactor.server.page.edits import edits_of

CHROMIUM = Path("/usr/bin/chromium")
sync_api = pytest.importorskip("playwright.sync_api")
pytest.importorskip("gradio")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Chromium")]
WAIT_MS = 60_000
TABS = ["Animate", "Live", "Edit", "Compare", "Inspect"]


class Address(str):
    """The page's, with the folder in which its server keeps everything."""


@pytest.fixture(scope="module")
def page_url(tmp_path_factory):
    """One server for all tests; it must leave nothing behind."""
    folder = tmp_path_factory.mktemp("web")
    (folder / "tmp").mkdir()
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "REENACTOR_HOME": str(folder / "home"),
        "TMPDIR": str(folder / "tmp"),
    }
    command = [sys.executable, "-m", "reenactor", "web", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        url = Address(process.stdout.readline().split()[-1])
        url.folder = folder / "tmp"
        yield url
    finally:
        process.terminate()
        try:
            process.wait(30)
        finally:
            process.kill()
            process.stdout.close()
    assert not list((folder / "tmp").glob("reenactor-web-*"))


@pytest.fixture(scope="module")
def camera(tmp_path_factory):
    """Somebody who talks, as the file that Chromium takes for a camera."""
    path = tmp_path_factory.mktemp("camera") / "camera.mjpeg"
    reenactor = Reenactor()
    reenactor.set_target([np.ascontiguousarray(demo_photo()[:384])])
    with path.open("wb") as file:
        for frame in islice(reenactor.drive(shipped_motions()["talk"]), 60):
            picture = cv2.resize(frame.image, (640, 480))[:, :, ::-1]
            file.write(cv2.imencode(".jpg", picture)[1].tobytes())
    return path


@pytest.fixture(scope="module")
def browser(camera):
    arguments = [
        "--no-sandbox",
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-video-capture={camera}",
    ]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def page(browser, page_url):
    """A fresh visitor. Requests to other addresses and errors in scripts fail the test."""
    context = browser.new_context(viewport={"width": 1180, "height": 900})
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    trouble = []

    def asked(request):
        if not request.url.startswith((page_url, page_url.replace("http", "ws"), "data:", "blob:")):
            trouble.append(request.url)

    page.on("request", asked)
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("console", lambda said: trouble.append(said.text) if said.type == "error" else None)
    page.goto(page_url)
    page.wait_for_selector("#animate")
    yield page
    context.close()
    assert not trouble


def choose_example(page):
    page.click("#example-photo")
    page.wait_for_selector("#faces svg")


def open_tab(page, name):
    page.get_by_role("tab", name=name).click()


def saved(page, button, folder):
    with page.expect_download() as download:
        page.click(button)
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def test_a_broken_photo_is_told_in_a_sentence(page, tmp_path):
    """The page starts offline, takes a file, and answers."""
    (tmp_path / "broken.png").write_bytes(b"no picture at all")
    page.set_input_files("#photos input[type=file]", tmp_path / "broken.png")
    said = page.locator("#photos-said .re-problem")
    said.wait_for()
    assert re.fullmatch(r"broken\.png is not a photo or a video; send [^\n]*\.", said.inner_text())
    assert "/tmp" not in said.inner_text()
    page.click("#animate")
    page.wait_for_selector("#animate-said .re-problem")
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_upload_animate_play_and_inspect(page, tmp_path):
    write_image(tmp_path / "me.png", demo_photo())
    page.set_input_files("#photos input[type=file]", tmp_path / "me.png")
    page.wait_for_selector("#faces svg")
    page.set_input_files("#driver input[type=file]", shipped_motions()["blink"])
    page.wait_for_selector("#animate-motion label:has-text('my file').selected")
    page.click("#animate")
    page.wait_for_selector("#result video")
    page.wait_for_function("document.querySelector('#result video').currentTime > 0.5")
    assert "Signed, and unchanged since." in page.locator("#provenance textarea").input_value()
    result = saved(page, "#result a", tmp_path)
    with VideoReader(result) as video:
        assert video.frame_count == len(read_motion(shipped_motions()["blink"]))
    report = read_provenance(result)
    assert report.valid
    assert [one.name for one in report.inputs] == ["photo1.png", "driver.motion"]

    open_tab(page, "Inspect")
    page.set_input_files("#inspect-file input[type=file]", result)
    page.wait_for_selector("#inspect-said .re-note")
    assert "photo1.png" in page.locator("#inspect-details textarea").input_value()
    damaged = bytearray(result.read_bytes())
    damaged[-2000] ^= 255
    (tmp_path / "damaged.mp4").write_bytes(damaged)
    page.get_by_label("Remove").or_(page.get_by_label("Clear")).last.click()
    page.set_input_files("#inspect-file input[type=file]", tmp_path / "damaged.mp4")
    page.wait_for_selector("#inspect-said .re-problem")
    assert "TAMPERED" in page.locator("#inspect-said").inner_text()


def test_a_video_of_the_person(page, film):
    page.set_input_files("#photos input[type=file]", film)
    page.wait_for_selector("#faces svg")
    page.get_by_label("blink").first.check()
    page.click("#animate")
    page.wait_for_function("document.querySelector('#result video')?.videoWidth === 256")
    said = page.locator("#animate-said").inner_text()
    assert re.search(r"Photo 1: \d frames? (is|are) used; frame \d \(0\.\d\d s\) is the one that moves", said)
    open_tab(page, "Edit")
    page.wait_for_selector("#edit-picture img")


def test_record_yourself_and_use_the_person(page, tmp_path):
    page.click("#record")
    page.wait_for_selector("#re-record p:has-text('Get ready')")
    page.wait_for_selector("#re-record p:has-text('open your mouth wide (')")
    assert page.evaluate("document.querySelector('#re-record video').videoWidth") == 640
    page.wait_for_selector("#faces svg")
    assert not page.locator("#re-record").is_visible()
    assert page.locator("#crops figcaption").inner_text() == "photo 1"
    assert "somebody who has agreed to it" in page.locator("#person-about").inner_text()
    page.click("#make-person")
    page.wait_for_selector("#crops figcaption:text-is('person 1')")
    person = read_person(saved(page, "#person-said a", tmp_path))
    assert len(person.pictures) > 8
    assert person.pictures[0].frame is not None
    said = page.locator("#photos-said").inner_text()
    assert re.search(r"photo1\.\w+: \d+ pictures; frame \d+ is the one that moves", said)
    assert re.search(r"What is not shown is invented; record this, too: the head turned", said)
    assert not page.locator("#make-person").is_visible()

    page.get_by_label("blink").first.check()
    page.click("#animate")
    page.wait_for_function("document.querySelector('#result video')?.videoWidth > 0")
    names = [one.name for one in read_provenance(saved(page, "#result a", tmp_path)).inputs]
    assert names == ["photo1.person", person.sources[0].name, "blink.motion"]
    open_tab(page, "Edit")
    page.wait_for_selector("#edit-picture img")
    open_tab(page, "Live")
    page.click("#live-start")
    page.wait_for_function("+document.getElementById('re-live').dataset.frames > 5")


def test_a_recording_can_be_stopped(page):
    page.click("#record")
    page.wait_for_selector("#re-record p:has-text('Get ready')")
    page.click("#re-record [data-stop]")
    page.wait_for_selector("#re-record[data-state=off]", state="attached")
    assert not page.locator("#faces svg").is_visible()


def test_a_cut_out_photo_stays_cut_out(page, tmp_path):
    face = demo_photo()
    fade = np.linspace(600, 0, face.shape[1]).clip(0, 255).astype(np.uint8)
    write_image(tmp_path / "cut.png", np.dstack([face, np.broadcast_to(fade, face.shape[:2])]))
    page.set_input_files("#photos input[type=file]", tmp_path / "cut.png")
    page.wait_for_selector("#faces svg")
    page.get_by_label("blink").first.check()
    page.get_by_role("button", name="More").first.click()
    page.locator("#alpha input").check()
    page.click("#animate")
    page.wait_for_function("document.querySelector('#result img')?.naturalWidth > 0")
    result = saved(page, "#result a", tmp_path)
    assert result.suffix == ".webp"
    assert read_provenance(result).valid
    opacity = read_rgba(result)[..., 3].astype(int)
    assert np.abs(opacity - fade).max() < 40


def test_long_work_can_be_cancelled(page):
    choose_example(page)
    page.get_by_label("talk").first.check()
    page.click("#animate")
    page.wait_for_selector("#animate-said [role=progressbar]")
    page.click("#animate-cancel:enabled")
    page.wait_for_selector("#animate-said .re-problem")
    assert "Stopped" in page.locator("#animate-said").inner_text()
    page.wait_for_selector("#animate:enabled")


def test_the_camera_drives_the_photo(page, tmp_path):
    choose_example(page)
    open_tab(page, "Live")
    page.click("#live-start")
    page.wait_for_function("+document.getElementById('re-live').dataset.frames > 40")
    told = page.evaluate("({...document.getElementById('re-live').dataset})")
    print(f"live: {told['fps']} pictures a second, {told['delay']} ms")
    assert float(told["fps"]) > 0
    assert float(told["delay"]) > 0
    assert re.search(r"pictures a second · \d+ ms behind", page.locator("#re-live-status").inner_text())

    def picture():
        return page.evaluate("document.getElementById('re-live-result').toDataURL()")

    before = picture()
    page.wait_for_timeout(500)
    assert picture() != before
    page.click("[data-do=mirror]")
    assert page.get_attribute("[data-do=mirror]", "aria-pressed") == "false"
    page.click("[data-do=neutral]")
    page.click("[data-do=record]")
    page.wait_for_selector("[data-do=record][aria-pressed=true]")
    page.wait_for_timeout(1500)
    page.click("[data-do=record]")
    recording = saved(page, "#re-live-recording a", tmp_path)
    assert read_provenance(recording).valid
    with VideoReader(recording) as video:
        assert video.frame_count > 3
    page.click("[data-do=stop]")
    assert page.locator("#re-live-status").inner_text() == "Stopped."


def test_sliders_change_the_picture_and_are_saved(page, tmp_path):
    choose_example(page)
    open_tab(page, "Edit")
    page.wait_for_selector("#edit-picture img")
    before = page.get_attribute("#edit-picture img", "src")
    slider = page.locator("#edit-yaw input[type=range]")
    slider.focus()
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    page.wait_for_function("src => document.querySelector('#edit-picture img').src !== src", arg=before)
    motion = saved(page, "#edit-save-motion", tmp_path)
    assert edits_of(read_motion(motion)).yaw == pytest.approx(10, abs=0.3)
    assert read_provenance(saved(page, "#edit-save-picture", tmp_path)).valid
    page.click("#edit-reset")
    page.wait_for_function("document.querySelector('#edit-yaw input[type=range]').value === '0'")
    page.set_input_files("[data-testid='Read one-upload-button']", motion)
    page.wait_for_function("Math.abs(document.querySelector('#edit-yaw input[type=range]').value - 10) < 1")


def test_leaving_deletes_what_was_sent(browser, page_url, wait_until):
    def kept():
        (folder,) = Path(page_url.folder).glob("reenactor-web-*")
        return {path.name for name in ("targets", "jobs") for path in (folder / name).iterdir()}

    before = kept()
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    page.goto(page_url)
    choose_example(page)
    assert len(kept() - before) == 1
    context.close()
    wait_until(lambda: not kept() - before, 30)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_tabs_are_seen_on_a_phone(browser, page_url, scheme):
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme=scheme)
    page = context.new_page()
    page.goto(page_url, timeout=WAIT_MS)
    page.wait_for_selector("#animate")
    # Inside the page's width, and not covered: they are what a finger meets near their corners.
    page.wait_for_function(
        """names => names.every(name => {
            const tab = [...document.querySelectorAll("[role=tab]")].find(one => one.innerText === name);
            tab?.scrollIntoView({ block: "center" });
            const box = tab?.getBoundingClientRect();
            return box && box.left >= 0 && box.right <= 390 && box.width > 30 && box.height > 30
                && document.elementFromPoint(box.left + 2, box.top + 2) === tab
                && document.elementFromPoint(box.right - 2, box.bottom - 2) === tab;
        })""",
        arg=TABS,
        timeout=20_000,
    )
    for name in reversed(TABS):
        open_tab(page, name)
        page.wait_for_selector(f"[role=tab][aria-selected=true]:text-is('{name}')")
    context.close()


def test_ways_side_by_side_and_where_they_come_from(page):
    choose_example(page)
    open_tab(page, "Compare")
    page.get_by_label("blink").last.check()
    page.click("#compare")
    page.wait_for_function("[...document.querySelectorAll('video')].filter(v => v.videoWidth === 256).length === 2")
    # Of the two models that ship, one can tell.
    page.wait_for_function("document.querySelectorAll('#compare-origins img').length === 2")
    origins = page.locator("#compare-origins")
    assert origins.locator("h3").all_inner_texts() == ["hybrid, parts"]
    moment = page.locator("#compare-moment input[type=range]")
    last_s = float(moment.get_attribute("max"))
    assert float(moment.input_value()) == pytest.approx(last_s / 2, abs=0.05)
    # The picture, and what was taken over.
    heats = origins.locator("img").nth(1)
    before = heats.get_attribute("src")
    moment.focus()
    page.keyboard.press("Home")
    origins.get_by_text("0.00 s", exact=True).wait_for()
    assert heats.get_attribute("src") != before

    page.locator("#compare-ways").get_by_label("hybrid, parts").uncheck()
    page.locator("#compare-ways").get_by_label("warp, absolute").check()
    page.click("#compare")
    page.wait_for_selector("#compare-said .re-note:has-text('None of the variants chosen')")
    assert not origins.is_visible()


def test_a_photo_that_drives_has_no_moment_to_choose(page, tmp_path):
    write_image(tmp_path / "me.png", demo_photo())
    choose_example(page)
    open_tab(page, "Compare")
    driver = page.get_by_role("tabpanel").filter(has_text="Variants (two").locator("input[type=file]")
    driver.set_input_files(tmp_path / "me.png")
    page.wait_for_selector("#compare-motion label:has-text('my file').selected")
    page.click("#compare")
    page.wait_for_selector("#compare-origins img")
    assert not page.locator("#compare-moment").is_visible()


def test_a_face_is_chosen_by_click(page, tmp_path):
    face = head()
    write_image(tmp_path / "two.png", np.ascontiguousarray(np.concatenate([face, face[:, ::-1]], axis=1)))
    page.set_input_files("#photos input[type=file]", tmp_path / "two.png")
    page.wait_for_selector("#face label:visible:has-text('2, from the left')")
    picture = page.locator("#faces svg")
    for share, number in ((0.75, 2), (0.25, 1)):
        box = picture.bounding_box()
        picture.click(position={"x": share * box["width"], "y": box["height"] / 2})
        page.wait_for_selector(f"#face label.selected:has-text('{number}, from the left')")
