"""The gallery: its content, and its behaviour in a browser that opens it from disk."""

import io
import json
import math
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright
from processes import run
from test_table1 import table_in

from analysis import StudyError
from analysis.gallery import write_gallery as write_of_table
from analysis.table1 import table_sheet
from vgdfr.video_file import write_preview

FRAMES, FPS = 21, 12
NEAR_S = 2e-3  # a video that is paused this near to its frame's middle stays there
KEPT = [0, 1, 5, 9, 11, 13, 14, 15, 16, 17, 18, 19, 20]
SCHEDULE = {"segments": [[0, 1, 1], [1, 8, 4], [9, 4, 2], [13, 8, 1]], "kept_frames": KEPT, "kept_latents": [0]}
HOSTILE = """</script><script>window.broken=1</script><img src=x onerror="window.broken=1"> "quoted" & 'it''s'"""
PROMPTS = {"00-still": "a red circle stays still", "01-fast": "a blue square moves fast", "02-hostile": HOSTILE}


def write_gallery(study: Path, out: Path | None = None, copy: bool = False, allow_mixed: bool = False) -> Path:
    """Does the same as the command."""
    return write_of_table(table_in(study, allow_mixed=allow_mixed), out or study / "report" / "gallery", copy)


def level(frame: int) -> int:
    return 16 + 5 * frame


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Returns two videos. Each frame's grey tells its number; the right half of the second video is lighter by 20."""
    folder = tmp_path_factory.mktemp("videos")
    levels = np.array([level(frame) for frame in range(FRAMES)], np.uint8)
    frames = np.zeros((FRAMES, 64, 64, 3), np.uint8) + levels[:, None, None, None]
    write_preview(folder / "plain.mp4", frames, FPS)
    frames[:, :, 32:] += 20
    write_preview(folder / "lighter.mp4", frames, FPS)
    return folder / "plain.mp4", folder / "lighter.mp4"


def write(
    study: Path, slug: str, prompt: str, text: str, video: Path | None, scores: dict[str, Any], **other: Any
) -> Path:
    name, *settings = slug.split("-")
    method: dict[str, Any] = {"name": name}
    if settings:
        method |= {"k": int(settings[0][1:]), "theta": float(settings[1][5:])}
    spec = {"prompt": text, "seed": 7, "height": 64, "width": 64, "num_frames": FRAMES, "fps": FPS}
    record = {
        "schema": 1, "status": "done", "slug": slug, "model_name": "embedded", "method": method, "prompt_id": prompt,
        "seed_index": 0, "prompt_dimensions": [], "latency_s": 2.0 if name == "baseline" else 1.0, "token_ratio": 0.5,
        "schedule": None if name == "baseline" else SCHEDULE,
        "identity": {"generator_version": 1, "model": {"dtype": "float32"}, "spec": spec},
    } | other  # fmt: skip
    folder = study / slug / f"{prompt}-s0-#50% é"
    folder.mkdir(parents=True)
    (folder / "record.json").write_text(json.dumps(record))
    values = {
        n: {"id": f"{n}-v1-rgb-no-weights", "value": v, "reason": None if v is not None else "no baseline"}
        for n, v in scores.items()
    }
    (folder / "scores.json").write_text(json.dumps({"schema": 2, "scores": values}))
    if video:
        os.link(video, folder / "preview.mp4")
    return folder


def make(study: Path, videos: tuple[Path, Path]) -> Path:
    """Writes three prompts and four conditions.

    θ=0.9 equals its baseline. The prompt 01-fast fails at k=10 and has no sample at θ=0.9.
    """
    plain, lighter = videos
    for i, (prompt, text) in enumerate(PROMPTS.items()):
        dimensions = ["scene"] if prompt == "02-hostile" else []
        extra: dict[str, Any] = {"prompt_dimensions": dimensions}
        write(study, "baseline", prompt, text, plain, {"clipsim_embedded": 0.5, "psnr": None}, **extra)
        write(study, "vgdfr-k5-theta0.5", prompt, text, lighter, {"clipsim_embedded": 0.4, "psnr": 20.0 + i}, **extra)
        failed = {"status": "failed", "latency_s": None, "token_ratio": None, "schedule": None, "error": "Traceback\n"
                  f"  at\nOutOfMemoryError: {HOSTILE}\n"} if prompt == "01-fast" else {}  # fmt: skip
        write(study, "vgdfr-k10-theta0.5", prompt, text, None if failed else lighter,
              {} if failed else {"clipsim_embedded": 0.45, "psnr": 18.0}, **extra, **failed)  # fmt: skip
        if prompt != "01-fast":
            write(study, "vgdfr-k5-theta0.9", prompt, text, plain, {"clipsim_embedded": 0.5, "psnr": "inf"}, **extra)
    return study


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, videos: tuple[Path, Path]) -> Path:
    return make(tmp_path_factory.mktemp("a <b>study & more #1%"), videos)


def document(gallery: Path) -> dict[str, Any]:
    text = (gallery / "data.js").read_text()
    return json.loads(text.removeprefix('"use strict";\nconst GALLERY = ').removesuffix(";\n"))


def test_it_holds_the_conditions_the_prompts_and_each_samples_scores(study: Path, tmp_path: Path) -> None:
    data = document(write_gallery(study, tmp_path / "out").parent)
    assert [c["title"] for c in data["conditions"]] == [
        "Original", "VGDFR (k=5, θ=0.5)", "VGDFR (k=5, θ=0.9)", "VGDFR (k=10, θ=0.5)",
    ]  # fmt: skip
    assert [c["reference"] for c in data["conditions"]] == [0, 0, 0, 0]
    assert [(c["n"], c["failed"]) for c in data["conditions"]] == [(3, 0), (3, 0), (2, 0), (2, 1)]
    at = {c["title"]: i for i, c in enumerate(data["columns"])}
    assert "CLIPSIM†" in at, "the small judge's columns are marked"
    assert data["conditions"][1]["means"][at["PSNR"]] == 21.0
    assert (data["conditions"][2]["means"][at["PSNR"]], data["conditions"][2]["infinite"][at["PSNR"]]) == (None, 2)
    assert [p["id"] for p in data["prompts"]] == list(PROMPTS)
    assert [p["content"] for p in data["prompts"]] == [["still"], ["fast"], ["scene"]]
    baseline, lighter, same, failed = data["prompts"][1]["samples"]
    assert lighter["scores"][at["PSNR"]] == 21.0 and lighter["scores"][at["Speedup"]] == 2.0
    assert baseline["scores"][at["Speedup"]] is None and baseline["reasons"][str(at["PSNR"])] == "no baseline"
    assert lighter["kept"] == KEPT and lighter["segments"] == SCHEDULE["segments"] and "kept" not in baseline
    assert same is None, "the sweep has not made this sample yet"
    assert failed == {"failed": "failed", "reason": f"OutOfMemoryError: {HOSTILE}"}
    assert data["prompts"][0]["samples"][2]["scores"][at["PSNR"]] == "inf"


def test_samples_of_different_devices_are_shown_together_where_that_is_asked_for(
    tmp_path: Path, videos: tuple[Path, Path]
) -> None:
    study = tmp_path / "s"
    write(study, "baseline", "00-still", "a prompt", videos[0], {})
    folder = write(study, "vgdfr-k5-theta0.5", "00-still", "a prompt", videos[1], {"psnr": 20.0})
    record = json.loads((folder / "record.json").read_text())
    record["identity"]["model"]["device_type"] = "cuda"
    (folder / "record.json").write_text(json.dumps(record))
    with pytest.raises(StudyError, match="--allow-mixed"):
        write_gallery(study)
    page = write_gallery(study, allow_mixed=True)
    assert len(document(page.parent)["conditions"]) == 2 and "Made on different devices" in page.read_text()


def test_what_is_best_is_best_in_table_1_too(tmp_path: Path, videos: tuple[Path, Path]) -> None:
    study = make(tmp_path / "s", videos)
    for i in range(3, 8):
        for slug, clipsim in (("baseline", 0.5), ("vgdfr-k5-theta0.9", 0.5), ("vgdfr-k10-theta0.5", 0.45 - i / 1000)):
            write(study, slug, f"{i:02}", f"prompt {i}", None, {"clipsim_embedded": clipsim})
    write(study, "vgdfr-k15-theta0.5", "00-still", PROMPTS["00-still"], None, {"clipsim_embedded": 0.5})
    data = document(write_gallery(study, tmp_path / "out").parent)
    table = table_in(study)
    rows = table_sheet(table).rows
    assert [c["best"] for c in data["conditions"]] == [[cell.mark == "best" for cell in row[2:]] for row in rows]
    at = [c["title"] for c in data["columns"]].index("CLIPSIM†")
    best = [c["title"] for c in data["conditions"] if c["best"][at]]
    assert best == ["VGDFR (k=5, θ=0.9)"], "k=15 has the same mean over other samples, so it does not compete"


def test_no_text_of_the_study_becomes_markup_and_nothing_names_another_host(study: Path, tmp_path: Path) -> None:
    folder = write_gallery(study, tmp_path / "out").parent
    for file in folder.iterdir():
        text = file.read_text().replace("http://www.w3.org/2000/svg", "")
        assert "<img" not in text and "<b>study" not in text and "://" not in text, file.name
    assert "&lt;b&gt;study" in (folder / "index.html").read_text()
    assert "<" not in (folder / "data.js").read_text()
    assert document(folder)["prompts"][2]["text"] == HOSTILE


@pytest.mark.parametrize("copy", [False, True])
def test_the_videos_lie_where_the_page_looks_for_them(tmp_path: Path, videos: tuple[Path, Path], copy: bool) -> None:
    study = make(tmp_path / "runs" / "s %23", videos)
    gone = study / "baseline" / "00-still-s0-#50% é" / "preview.mp4"
    gone.unlink()
    before = sorted((p, p.stat().st_mtime_ns) for p in study.rglob("*") if p.is_file())
    folder = write_gallery(study, copy=copy).parent
    assert folder == study / "report" / "gallery"
    assert before == sorted((p, p.stat().st_mtime_ns) for p, _ in before), "the study has not changed"
    sources = [s["video"] for p in document(folder)["prompts"] for s in p["samples"] if s and "video" in s]
    missing = document(folder)["prompts"][0]["samples"][0]
    assert len(sources) == 9 and missing["failed"] == "no video" and missing["scores"], (
        "a sample without a video keeps its scores"
    )
    if copy:
        folder = Path(shutil.move(folder, tmp_path / "elsewhere"))
        shutil.rmtree(study)
    assert all((folder / unquote(source)).read_bytes()[4:8] == b"ftyp" for source in sources)


def test_a_gallery_is_replaced_with_what_it_no_longer_needs(tmp_path: Path, videos: tuple[Path, Path]) -> None:
    study = make(tmp_path / "s", videos)
    folder = write_gallery(study, copy=True).parent
    assert len([*folder.rglob("*.mp4")]) == 10
    shutil.rmtree(study / "vgdfr-k10-theta0.5")
    write_gallery(study, copy=True)
    assert len([*folder.rglob("*.mp4")]) == 8 and len(document(folder)["conditions"]) == 3
    write_gallery(study)
    assert not [*folder.rglob("*.mp4")] and not [*folder.rglob(".*")]


def test_another_site_with_a_data_js_is_left_alone(study: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    (site / "videos" / "holiday").mkdir(parents=True)
    files = {"data.js": "const GALLERY = {};\n", "index.html": "<p>mine", "videos/holiday/a.mp4": "the sea"}
    for name, text in files.items():
        (site / name).write_text(text)
    with pytest.raises(StudyError, match="holds something that is no gallery"):
        write_gallery(study, site, copy=True)
    assert {name: (site / name).read_text() for name in files} == files and len([*site.rglob("*.*")]) == 3


def test_a_gallery_that_was_interrupted_is_made_again_and_foreign_videos_stay(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    copied: list[Path] = []

    def interrupted(file: Path, to: Path) -> None:
        to.write_bytes(file.read_bytes())
        copied.append(to)
        if len(copied) == 3:
            raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", interrupted)
        with pytest.raises(OSError, match="no space"):
            write_gallery(study, out, copy=True)
    assert [*out.rglob("*.mp4")] and not (out / "index.html").exists()
    mine = out / "videos" / "holiday" / "a.mp4"
    mine.parent.mkdir()
    mine.write_text("the sea")
    write_gallery(study, out)
    assert [*out.rglob("*.mp4")] == [mine] and len(document(out)["conditions"]) == 4


def test_what_it_cannot_show_or_must_not_overwrite_is_an_error(study: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    for out, message in (("mine", "holds something that is no gallery"), ("mine/thesis.txt", "is a file")):
        with pytest.raises(StudyError, match=message):
            write_gallery(study, tmp_path / out)
    with pytest.raises(StudyError, match="is no folder"):
        write_gallery(tmp_path / "nowhere")
    assert [p.name for p in tmp_path.rglob("*")] == ["mine", "thesis.txt"], "nothing was written"
    done = run("analysis.gallery", str(tmp_path))
    assert done.returncode == 1 and re.fullmatch(r"error: .* holds no samples; .*\n", done.stderr) and not done.stdout


# ---- in a browser ----


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = os.environ.get("PLAYWRIGHT_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if not program:
        pytest.skip("no Chromium: install the package chromium, or set PLAYWRIGHT_CHROMIUM to the program")
    quiet = ("no-first-run", "background-networking", "component-update", "sync")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic"]
    flags += [f"--{name}" if name == "no-first-run" else f"--disable-{name}" for name in quiet]
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=program, args=flags) as browser:
        yield browser


@pytest.fixture
def view(browser: Browser) -> Iterator[Page]:
    """Yields a page, which must end without an error and without a request to any host."""
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.set_default_timeout(20_000)
    said: list[str] = []
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith("file://") else said.append(request.url))
    yield page
    assert page.evaluate("window.broken") is None, "a text of the study was run"
    page.close()
    assert not said


@pytest.fixture(scope="module")
def gallery(study: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_gallery(study, tmp_path_factory.mktemp("out") / "gallery").as_uri()


def opened(page: Page, url: str) -> Page:
    """Opens a gallery, which starts on the middle frame, and goes to the first frame."""
    page.goto(url)
    at_rest(page)
    page.keyboard.press("Home")
    shows(page, 0)
    return at_rest(page)


def until(page: Page, condition: str) -> None:
    """Waits for a condition by asking from here, because the page's policy forbids scripts from texts."""
    for _ in range(400):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(25)
    raise AssertionError(f"not within 10 s: {condition}")


def at_rest(page: Page) -> Page:
    """Waits until every video shows a frame and none is seeking."""
    shown = "v.readyState >= 2 && !v.seeking && v.paused"
    until(page, f"[...document.querySelectorAll('video')].every((v) => v.error || ({shown}))")
    return page


def shows(page: Page, number: int) -> None:
    """Waits until the page says that its videos show this frame. It says so when all of them do."""
    until(page, f"document.getElementById('frame').value === '{number}'")


def stopped(page: Page) -> None:
    """Waits until every video is in the middle of the frame that the page says it shows."""
    at_rest(page)
    middle = f"(Number(document.getElementById('frame').value) + 0.5) / {FPS}"
    near = f"Math.abs(v.currentTime - {middle}) < {NEAR_S}"
    until(page, f"[...document.querySelectorAll('video')].every((v) => {near})")


def times(page: Page) -> list[float]:
    return page.evaluate("[...document.querySelectorAll('video')].map((v) => v.currentTime)")


def frame(page: Page) -> int:
    return int(page.locator("#frame").input_value())


def grey(page: Page, condition: int, x: float = 0.25) -> tuple[int, ...]:
    """Returns the colour at this share of the width of a condition's screen."""
    shot = page.locator(f"figure[data-condition='{condition}'] .screen").screenshot()
    image = Image.open(io.BytesIO(shot)).convert("RGB")
    return image.getpixel((round(image.width * x), image.height // 2))  # type: ignore[return-value]


def wait_for_grey(page: Page, condition: int, expected: int, x: float = 0.25) -> None:
    """Waits for a colour, because painting comes a moment after the page's state."""
    for _ in range(200):
        if all(abs(v - expected) <= 4 for v in grey(page, condition, x)):
            return
        page.wait_for_timeout(50)
    assert grey(page, condition, x) == expected


def test_every_video_shows_the_frame_that_is_stepped_to(view: Page, gallery: str) -> None:
    opened(view, gallery)
    for key, expected in ((".", 1), ("ArrowRight", 2), (",", 1), ("ArrowLeft", 0), ("End", 20), (".", 20), ("Home", 0)):
        view.keyboard.press(key)
        shows(view, expected)
    for _ in range(7):
        view.keyboard.press(".")
    shows(view, 7)
    stopped(view)
    assert times(view) == pytest.approx([7.5 / FPS] * 4)
    for condition in range(4):
        wait_for_grey(view, condition, level(7))
    wait_for_grey(view, 1, level(7) + 20, x=0.75)
    box = view.locator("figure[data-condition='1'] .timeline").bounding_box()
    assert box
    view.mouse.click(box["x"] + box["width"] * 12.5 / FRAMES, box["y"] + 5)
    shows(view, 12)
    wait_for_grey(view, 2, level(12))


def test_videos_play_in_sync_stop_on_one_frame_and_loop(view: Page, gallery: str) -> None:
    opened(view, gallery)
    view.keyboard.press(" ")
    assert view.locator("#play").inner_text() == "Pause"
    until(view, "document.getElementById('frame').value >= 4")
    spread = math.inf
    for _ in range(40):  # on a busy machine the videos may need a moment to come together
        spread = max(now := times(view)) - min(now)
        if spread <= 1 / FPS:
            break
        view.wait_for_timeout(50)
    assert spread <= 1 / FPS
    view.keyboard.press(" ")
    stopped(view)
    assert times(view) == pytest.approx([(frame(view) + 0.5) / FPS] * 4, abs=NEAR_S), (
        "all stop in the middle of one frame"
    )

    view.locator("#speed").select_option("2")
    view.keyboard.press("End")
    view.locator("#play").click()
    until(view, "document.getElementById('frame').value >= 15")
    until(view, "document.getElementById('frame').value < 10")  # it loops
    view.keyboard.press("l")
    assert view.locator("#loop").get_attribute("aria-pressed") == "false"
    until(view, "document.getElementById('play').textContent === 'Play'")
    stopped(view)
    assert frame(view) == FRAMES - 1
    assert times(view) == pytest.approx([(FRAMES - 0.5) / FPS] * 4, abs=NEAR_S)


def test_kept_and_interpolated_frames_are_marked_as_the_record_has_them(view: Page, gallery: str) -> None:
    opened(view, gallery)
    seen = []
    for number in range(FRAMES):
        shows(view, number)
        seen.append(view.locator("figure[data-condition='1'] .state").inner_text())
        view.keyboard.press(".")
    assert [i for i, text in enumerate(seen) if text == "kept"] == KEPT
    assert set(seen) == {"kept", "interpolated"}
    assert view.locator("figure[data-condition='0'] .state").inner_text() == "", "a baseline has no schedule"
    timeline = view.locator("figure[data-condition='1'] .timeline")
    assert (
        timeline.get_by_role("img").get_attribute("aria-label")
        == f"{len(KEPT)} of 21 frames kept, the others interpolated"
    )
    bars = timeline.locator("path").evaluate_all(
        "(all) => all.map((p) => [p.getAttribute('class'), p.getAttribute('d').split('M').length - 1])"
    )
    assert dict(bars) == {"f1": 9, "f4": 2, "f4 between": 6, "f2": 2, "f2 between": 2}


def test_the_difference_is_black_where_videos_are_equal_and_amplified_elsewhere(view: Page, gallery: str) -> None:
    opened(view, gallery)
    view.keyboard.press("End")
    view.keyboard.press("d")
    at_rest(view)
    wait_for_grey(view, 0, level(20))  # the baseline's own video does not change
    wait_for_grey(view, 1, 0)
    wait_for_grey(view, 1, 4 * 20, x=0.75)
    wait_for_grey(view, 2, 0, x=0.75)
    view.locator("#gain").select_option("8")
    wait_for_grey(view, 1, 8 * 20, x=0.75)
    view.locator("#chosen button").first.click()  # videos are compared with the baseline also while it is hidden
    at_rest(view)
    assert view.locator("figure").count() == 3
    wait_for_grey(view, 1, 8 * 20, x=0.75)
    view.keyboard.press("Home")
    view.keyboard.press(" ")
    until(view, "document.getElementById('frame').value >= 5")  # the difference plays frame by frame
    view.keyboard.press(" ")
    stopped(view)
    wait_for_grey(view, 1, 0)
    view.keyboard.press("d")
    wait_for_grey(view, 1, level(frame(view)))


def test_the_table_sorts_by_every_column_with_what_is_missing_last(view: Page, gallery: str) -> None:
    opened(view, gallery)

    def order() -> list[int]:
        return view.locator("tbody tr").evaluate_all("(rows) => rows.map((r) => Number(r.dataset.condition))")

    header = view.get_by_role("columnheader", name="PSNR")
    assert order() == [0, 1, 2, 3]
    header.get_by_role("button").click()
    assert order() == [1, 3, 0, 2] and header.get_attribute("aria-sort") == "descending"
    header.get_by_role("button").focus()
    view.keyboard.press("Enter")
    assert order() == [3, 1, 0, 2] and header.get_attribute("aria-sort") == "ascending"
    assert header.get_by_role("button").evaluate("(b) => b === document.activeElement"), (
        "the focus stays on the control"
    )
    view.get_by_role("columnheader", name="Latency").get_by_role("button").click()
    assert order() == [1, 2, 3, 0], "if lower is better, the lowest value comes first"
    view.get_by_role("columnheader", name="Condition").get_by_role("button").click()
    assert order() == [0, 1, 2, 3]
    assert view.get_by_role("columnheader", name="CLIPSIM†").count() == 1
    assert "2 (1 failed)" in view.locator("tbody tr").nth(3).inner_text()
    view.locator("tbody tr").nth(1).get_by_role("checkbox").uncheck()
    assert view.locator("figure").count() == 3


def test_prompts_are_filtered_by_text_and_content(view: Page, gallery: str) -> None:
    opened(view, gallery)
    options = view.locator(".prompt")
    assert options.count() == 3
    view.keyboard.press("/")
    view.keyboard.type("blue d")  # keys in a text field are no commands
    assert options.all_inner_texts() == [] and view.locator("#count").inner_text() == "no prompt of 3 matches"
    assert view.locator("#difference").get_attribute("aria-pressed") == "false"
    view.keyboard.press("Backspace")
    assert options.count() == 1 and view.locator("#text").inner_text() == PROMPTS["01-fast"]
    view.locator("#find").fill("")
    view.get_by_role("button", name="scene 1").click()
    assert options.count() == 1 and options.first.get_attribute("aria-selected") == "true"
    view.get_by_role("button", name="still 1").click()
    assert options.count() == 2
    for chip in ("scene 1", "still 1", "with failures 1"):
        view.get_by_role("button", name=chip).click()
    assert view.locator("#text").inner_text() == PROMPTS["01-fast"]


def test_keys_choose_prompts_and_controls_keep_their_own(view: Page, gallery: str) -> None:
    opened(view, gallery)
    for key, prompt in (
        ("j", "01-fast"),
        ("j", "02-hostile"),
        ("j", "02-hostile"),
        ("k", "01-fast"),
        ("k", "00-still"),
    ):
        view.keyboard.press(key)
        assert view.locator("#text").inner_text() == PROMPTS[prompt]
    view.get_by_role("listbox").focus()
    view.keyboard.press("ArrowDown")
    assert view.get_by_role("listbox").get_attribute("aria-activedescendant") == "prompt-1"
    assert view.locator("#help").is_hidden()
    view.keyboard.press("?")
    assert view.locator("#help").is_visible()
    view.locator("#loop").focus()
    view.keyboard.press(" ")  # the key belongs to the button with the focus, not to the player
    assert view.locator("#loop").get_attribute("aria-pressed") == "false"
    assert view.locator("#play").inner_text() == "Play"
    view.locator("#loop").click()
    view.keyboard.press(" ")  # after a click the keys belong to the player
    assert view.locator("#loop").get_attribute("aria-pressed") == "true"
    assert view.locator("#play").inner_text() == "Pause"
    view.keyboard.press(" ")
    stopped(view)
    view.keyboard.press("Home")
    shows(view, 0)
    view.locator("#frame").focus()
    view.keyboard.press("ArrowRight")
    shows(view, 1)  # the key moves by one frame and not by two
    stopped(view)
    assert frame(view) == 1
    width = view.locator("figure").first.bounding_box()
    view.locator("#videos").click(position={"x": 5, "y": 5})
    view.keyboard.press("+")
    larger = view.locator("figure").first.bounding_box()
    assert width and larger and larger["width"] > width["width"] and larger["width"] % 64 == 0
    unnamed = "(all) => all.filter((e) => !e.ariaLabel && !e.labels?.length && !e.textContent.trim()).length"
    assert view.locator("button, select, input").evaluate_all(unnamed) == 0, "every control has a name"


def test_failed_missing_and_hostile_ones_are_shown_as_text(view: Page, gallery: str) -> None:
    opened(view, gallery)
    view.keyboard.press("j")
    assert view.locator("figure[data-condition='3'] .screen").inner_text() == f"failed\nOutOfMemoryError: {HOSTILE}"
    assert view.locator("figure[data-condition='2'] .screen").inner_text().startswith("not made")
    assert view.locator("video").count() == 2
    view.keyboard.press("j")
    assert view.locator("#text").inner_text() == HOSTILE
    assert view.locator(".prompt").nth(2).get_attribute("title") == HOSTILE
    assert view.locator("main img").count() == 0 and "<b>study" not in view.locator("header").inner_html()


def test_a_video_that_cannot_be_played_says_so_and_holds_up_none(
    view: Page, tmp_path: Path, videos: tuple[Path, Path]
) -> None:
    study = make(tmp_path / "s", videos)
    bad = next((study / "vgdfr-k5-theta0.5").glob("00-still*")) / "preview.mp4"
    bad.unlink()
    bad.write_bytes(b"no video")
    opened(view, write_gallery(study).as_uri())
    view.wait_for_selector("figure[data-condition='1'] .nothing")
    assert view.locator("figure[data-condition='1'] .screen").inner_text().startswith("cannot be played")
    view.keyboard.press(".")
    shows(view, 1)
    assert times(view)[0] == pytest.approx(1.5 / FPS)
    wait_for_grey(view, 2, level(1))


def test_of_a_thousand_samples_only_those_shown_are_in_the_page(
    view: Page, tmp_path: Path, videos: tuple[Path, Path]
) -> None:
    for i in range(250):
        for j, slug in enumerate(("baseline", "vgdfr-k5-theta0.5", "vgdfr-k5-theta0.7", "vgdfr-k5-theta0.9")):
            write(
                tmp_path, slug, f"{i:03d}-slow", f"prompt number {i}", videos[j % 2], {"psnr": 20.0 + j if j else None}
            )
    asked: list[str] = []
    view.on("request", lambda request: asked.append(request.url))
    opened(view, write_gallery(tmp_path, tmp_path / "report" / "gallery").as_uri())
    assert view.locator("#count").inner_text() == "250 of 250 prompts"
    assert view.locator("video").count() == 4 and sum(url.endswith(".mp4") for url in asked) == 4
    assert view.locator(".prompt").count() < 40
    for _ in range(30):
        view.keyboard.press("j")
    at_rest(view)
    assert view.locator("#text").inner_text() == "prompt number 30"
    assert view.locator("#prompt-30[aria-selected=true]").is_visible()
    assert view.locator("video").count() == 4 and view.locator(".prompt").count() < 40
    view.locator("#find").fill("number 24")
    assert view.locator("#count").inner_text() == "13 of 250 prompts" and view.locator(".prompt").count() == 13


def test_it_opens_on_videos_that_differ(view: Page, tmp_path: Path, videos: tuple[Path, Path]) -> None:
    """Equal PSNR means equal videos here. The prompt 02 has the lowest PSNR, under one condition only."""
    differences = {0.1: 20.0, 0.2: 20.0, 0.3: 20.0, 0.4: 24.0, 0.5: 28.0, 0.6: 30.0, 0.7: 32.0, 0.8: "inf", 0.9: 36.0}
    for prompt in ("00-still", "01-fast", "02-slow"):
        write(tmp_path, "baseline", prompt, prompt, videos[0], {"psnr": None})
        for theta, psnr in differences.items():
            if prompt != "02-slow" or theta == 0.9:
                value = {"00-still": 40.0, "01-fast": psnr, "02-slow": 5.0}[prompt]
                write(tmp_path, f"vgdfr-k5-theta{theta}", prompt, prompt, videos[1], {"psnr": value})
    write(tmp_path, "fewersteps-k5-theta1", "00-still", "00-still", videos[1], {"psnr": 40.0})
    view.goto(write_gallery(tmp_path).as_uri())
    at_rest(view)
    assert view.locator("#text").inner_text() == "01-fast"
    assert view.locator(".prompt[aria-selected=true]").inner_text().startswith("01-fast")
    assert view.locator("#chosen [aria-pressed=true]").all_inner_texts() == [
        "Original", *(f"k=5 θ={theta}" for theta in (0.1, 0.4, 0.6, 0.7, 0.9)),
    ]  # fmt: skip
    assert "Fewer steps (" in view.locator("#chosen").inner_text(), "only the most frequent method has no name"
    shows(view, FRAMES // 2)
    view.keyboard.press("j")
    assert view.locator("#text").inner_text() == "02-slow", "the list has the study's order"


def test_a_narrow_window_shows_the_player_and_the_list_on_demand(view: Page, gallery: str) -> None:
    view.set_viewport_size({"width": 500, "height": 800})
    opened(view, gallery)
    for control in ("#play", "#back", "#forward", "#frame", "#speed", "#loop", "#difference", "#size", "#list-button"):
        box = view.locator(control).bounding_box()
        assert box and box["x"] >= 0 and box["x"] + box["width"] <= 500 and box["y"] + box["height"] <= 800, control
    assert not view.locator("#prompts").is_visible()
    view.locator("#list-button").click()
    assert view.locator("#list-button").get_attribute("aria-expanded") == "true"
    view.locator(".prompt").nth(1).click()
    assert view.locator("#text").inner_text() == PROMPTS["01-fast"] and not view.locator("#prompts").is_visible()
    view.locator("#size").select_option("512")
    assert view.locator("main").evaluate("(e) => e.scrollWidth <= e.clientWidth"), "the largest videos fit, too"
    view.keyboard.press("/")
    assert view.locator("#find").evaluate("(e) => e === document.activeElement"), "the search opens the list"


@pytest.mark.parametrize("width", [500, 1280, 1920])
def test_nothing_is_wider_than_the_window_and_no_host_can_be_asked(view: Page, gallery: str, width: int) -> None:
    view.set_viewport_size({"width": width, "height": 900})
    opened(view, gallery)
    for selector in ("html", "main", "#prompts"):
        assert view.locator(selector).evaluate("(e) => e.scrollWidth <= e.clientWidth"), selector
    policy = view.locator("meta[http-equiv]").get_attribute("content") or ""
    assert policy.startswith("default-src 'none'") and "http" not in policy and "*" not in policy
