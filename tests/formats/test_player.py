from __future__ import annotations

import base64
import json
import re
import shutil
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from kinema.formats.player import MAX_MOTIONS, write_player, write_players
from kinema.motion import rotations as rot

HOSTILE = "</script><script>window.hacked = 1</script><img src=x onerror='hacked=1'> {{data}} {{title}} & \"quoted\""


class Page(HTMLParser):
    """What a browser's parser finds: the text of each script, and every address that would be fetched."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in {"src", "href", "action"}]
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data):
        if self.cdata_elem == "script":
            self.scripts[-1] += data


def read_page(path) -> tuple[Page, dict]:
    page = Page(path.read_text(encoding="utf-8"))
    return page, json.loads(page.scripts[0])


def test_page_holds_the_motion(walk, tmp_path):
    write_player(walk.replace(metadata={"text": "a walk", "licence": "CC0", "source": "me"}), tmp_path / "x.html")
    page, data = read_page(tmp_path / "x.html")
    motion = data["motions"][0]
    quats = np.frombuffer(base64.b64decode(motion["rotations"]), "<i2").reshape(len(walk), -1, 4) / 32767
    assert rot.angle_between(rot.normalize(quats), walk.rotations).max() < 2e-4
    root = np.frombuffer(base64.b64decode(motion["root"]), "<f4").reshape(-1, 3)
    np.testing.assert_allclose(root, walk.root_position, atol=1e-5)
    assert (motion["fps"], motion["frames"], motion["title"]) == (30.0, 90, "a walk")
    assert "CC0" in motion["about"]
    assert "me" in motion["about"]
    # nothing to fetch: the only address is the empty icon
    assert page.addresses == ["data:,"]
    assert not re.search(r"https?://|@import|url\(", (tmp_path / "x.html").read_text(encoding="utf-8"))


def test_captions_cannot_break_out(walk, tmp_path):
    write_player(walk.replace(metadata={"licence": HOSTILE}), tmp_path / "x.html", title=HOSTILE)
    page, data = read_page(tmp_path / "x.html")
    assert len(page.scripts) == 2
    assert "img" not in page.tags
    assert data["motions"][0]["title"] == HOSTILE


def test_equal_skeletons_share_a_mesh(walk, tmp_path):
    write_players([walk, walk], tmp_path / "x.html", ["a", "b"])
    _, data = read_page(tmp_path / "x.html")
    assert len(data["meshes"]) == 1
    assert [motion["mesh"] for motion in data["motions"]] == [0, 0]


def test_too_much_is_refused_in_a_sentence(walk, tmp_path, monkeypatch):
    monkeypatch.setattr("kinema.formats.player.MAX_BYTES", 10_000)
    with pytest.raises(ValueError, match="crop it"):
        write_player(walk, tmp_path / "x.html")
    with pytest.raises(ValueError, match=f"1 to {MAX_MOTIONS}"):
        write_players([], tmp_path / "x.html")
    with pytest.raises(ValueError, match="titles"):
        write_players([walk], tmp_path / "x.html", [])
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def browser():
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if executable is None:
        pytest.skip("needs chromium on PATH")
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    flags = [
        "--no-sandbox",
        "--use-angle=swiftshader",
        "--enable-unsafe-swiftshader",
        "--disable-background-networking",
    ]
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=flags)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser):
    """A page whose console errors, exceptions and requests fail the test."""
    page = browser.new_page(viewport={"width": 480, "height": 420})
    complaints: list[str] = []
    page.on(
        "console", lambda message: complaints.append(message.text) if message.type in {"error", "warning"} else None
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "request",
        lambda request: None if request.url.startswith(("file:", "data:")) else complaints.append(request.url),
    )
    yield page
    page.close()
    # swiftshader says that reading pixels stalls it
    assert [text for text in complaints if "ReadPixels" not in text] == []


def canvas(page) -> np.ndarray:
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    picture = Image.open(BytesIO(page.locator("#view").screenshot())).convert("RGB")
    return np.asarray(picture).astype(float)


def readout(page) -> tuple[float, int]:
    seconds, frame = re.match(r"([\d.]+) / .*frame (\d+) /", page.inner_text("#time")).groups()
    return float(seconds), int(frame)


def test_page_draws_the_figure_and_obeys_the_scrubber(page, walk, tmp_path):
    write_player(walk.replace(metadata={"text": HOSTILE}), tmp_path / "x.html")
    page.emulate_media(reduced_motion="reduce")
    page.goto((tmp_path / "x.html").as_uri())
    first = canvas(page)
    assert readout(page) == (0.0, 0)
    # the left and right colours of hands and feet are on the screen
    assert ((first[..., 0] > 1.5 * first[..., 2]) & (first[..., 0] > 120)).sum() > 40
    assert ((first[..., 2] > 1.8 * first[..., 0]) & (first[..., 1] > 1.8 * first[..., 0])).sum() > 40
    assert page.inner_text("h2").strip() == HOSTILE
    assert page.evaluate("window.hacked") is None
    np.testing.assert_array_equal(canvas(page), first)
    page.locator("#scrub").fill("45")
    later = canvas(page)
    assert readout(page) == (1.5, 45)
    assert (np.abs(later - first).max(-1) > 40).sum() > 200
    page.locator("#scrub").fill("0")
    np.testing.assert_allclose(canvas(page), first, atol=2)


def test_page_is_worked_by_the_keyboard(page, walk, tmp_path):
    write_player(walk, tmp_path / "x.html")
    page.emulate_media(reduced_motion="reduce")
    page.goto((tmp_path / "x.html").as_uri())
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    canvas(page)
    assert readout(page)[1] == 11
    page.keyboard.press("End")
    page.keyboard.press("ArrowLeft")
    before = canvas(page)
    assert readout(page)[1] == 88
    page.keyboard.press("d")
    turned = canvas(page)
    assert (np.abs(turned - before).max(-1) > 20).sum() > 200
    page.keyboard.press("r")
    np.testing.assert_allclose(canvas(page), before, atol=2)
    page.keyboard.press("Home")
    assert page.get_by_role("button", name="Play").is_visible()
    page.keyboard.press("Space")
    page.get_by_role("button", name="Pause").wait_for()
    page.wait_for_function("document.getElementById('scrub').value > 3")
    page.keyboard.press("Space")
    page.get_by_role("button", name="Play").wait_for()
    # every control is reached with the tab key and has a name
    reached = set()
    for _ in range(8):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id"))
    assert {"view", "play", "scrub", "speed", "follow", "reset"} <= reached
    page.locator("#follow").focus()
    page.keyboard.press("Space")
    assert page.locator("#follow").get_attribute("aria-pressed") == "false"
    assert page.get_by_role("button", name="Play").is_visible()


def test_page_turns_and_zooms_by_mouse(page, walk, tmp_path):
    write_player(walk, tmp_path / "x.html")
    page.emulate_media(reduced_motion="reduce")
    page.goto((tmp_path / "x.html").as_uri())
    before = canvas(page)
    page.mouse.move(200, 150)
    page.mouse.down()
    page.mouse.move(280, 150, steps=3)
    page.mouse.up()
    turned = canvas(page)
    assert (np.abs(turned - before).max(-1) > 20).sum() > 200
    page.mouse.wheel(0, -500)
    near = canvas(page)

    def figure(image):  # the dark parts
        return (image.max(-1) < 100).sum()

    assert figure(near) > 1.5 * figure(turned)


def test_several_motions_share_a_page(page, walk, tmp_path):
    short = walk.replace(root_position=walk.root_position[:20], rotations=walk.rotations[:20])
    write_players([walk, short], tmp_path / "x.html", ["first", "second"])
    page.emulate_media(reduced_motion="reduce")
    page.goto((tmp_path / "x.html").as_uri())
    assert page.locator("h2").all_inner_texts() == ["first", "second"]
    page.locator("#scrub").fill("19")
    at_end = canvas(page)
    page.locator("#scrub").fill("60")
    after = canvas(page)
    changed = np.abs(after - at_end).max(-1) > 40
    half = changed.shape[1] // 2
    # the longer one moves on, the shorter waits in its last frame
    assert changed[:, :half].sum() > 100
    assert changed[:, half:].sum() == 0
