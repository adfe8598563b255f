"""Checks how tables show each metric: title, decimals, direction and group of columns."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from other_packages import with_references

from metrics import METRICS, PROFILES, About, about, named

TABLE_1 = [  # the columns of the paper's Table 1, and this project's Motion
    About("clip_temp", "CLIPT", "", 4, 1, "Video Quality", network="a CLIP model"),
    About("clipsim", "CLIPSIM", "", 4, 1, "Video Quality", network="a CLIP model"),
    About("vqa", "VQA", "0-100", 2, 1, "Video Quality", network="a video quality model"),
    About("flicker", "FLICKER", "", 4, 1, "Video Quality"),
    About("motion", "Motion", "ratio", 3, 0, "Video Quality"),
    About("psnr", "PSNR", "dB", 2, 1, "Difference"),
    About("ssim", "SSIM", "", 3, 1, "Difference"),
    About("lpips", "LPIPS", "", 3, -1, "Difference", network="a perceptual network"),
    About("cosine", "Cosine", "", 3, 1, "Difference"),
    About("clip_temp_embedded", "CLIPT†", "", 4, 1, "Video Quality", True, "a CLIP model"),
    About("clipsim_embedded", "CLIPSIM†", "", 4, 1, "Video Quality", True, "a CLIP model"),
    About("vqa_embedded", "VQA†", "0-100", 2, 1, "Video Quality", True, "a video quality model"),
    About("lpips_embedded", "LPIPS†", "", 4, -1, "Difference", True, "a perceptual network"),
]


@pytest.mark.parametrize("expected", TABLE_1, ids=[each.name for each in TABLE_1])
def test_the_columns_of_table_1(expected: About) -> None:
    metric = METRICS[expected.name]
    frozen = "motion" if expected.title.startswith(("CLIPT", "FLICKER")) else ""
    assert about(expected.name) == replace(expected, needs_reference=metric.needs_reference, shown_with=frozen)


def test_no_two_metrics_share_a_title() -> None:
    families = [about(name) for name in ("pyiqa:niqe", "pyiqa:musiq", "clipsim:a", "clipsim:b", "clip_temp:a")]
    titles = [each.title for each in (*(metric.about for metric in METRICS.values()), *families) if each]
    assert len(set(titles)) == len(titles) == len(METRICS) + 5


def test_each_has_a_title_for_people_and_the_group_that_its_reference_says() -> None:
    for name, metric in METRICS.items():
        assert metric.title != name and metric.title.endswith("†") == metric.embedded
        assert (metric.group == "Difference") == (metric.needs_reference and name != "motion")
        assert bool(metric.network) == bool(metric.weights)
    psnr = [metric for profile in PROFILES.values() for metric in profile if metric.name.startswith("psnr")]
    assert {(metric.digits, metric.unit) for metric in psnr} == {(2, "dB")}


def test_families_are_known_without_their_weights_and_torch() -> None:
    code = """
import sys
from metrics import about
for name in ("pyiqa:niqe", "pyiqa:musiq", "pyiqa:no_such", "clipsim:/no/such/folder", "clip_temp:ViT-B-32@no.pt"):
    print(about(name))
for name in ("psnrr", "nowhere:x", "my_pkg.sharpness"):
    assert about(name) is None, name
assert "torch" not in sys.modules and "pyiqa" not in sys.modules
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=with_references())
    assert done.returncode == 0, done
    niqe, musiq, no_such, clipsim, clip_temp = done.stdout.splitlines()
    assert "title='pyiqa:niqe'" in niqe and "better=-1" in niqe and "better=1" in musiq and no_such == "None"
    assert "title='CLIPSIM:/no/such/folder'" in clipsim and "digits=4" in clipsim
    assert "title='CLIPT:ViT-B-32@no.pt'" in clip_temp and "network='a CLIP model'" in clip_temp


def test_a_metric_that_was_made_is_shown_as_its_name_says(tmp_path: Path) -> None:
    names = ["pyiqa:piqe", "pyiqa:clipiqa", f"clipsim:{tmp_path}", f"clip_temp:ViT-B-32@{tmp_path}"]
    assert [metric.about for metric in named(names)] == [about(name) for name in names]


def test_what_is_stored_comes_back() -> None:
    stored = {
        "title": "Sharpness",
        "unit": "levels",
        "digits": 1,
        "better": -1,
        "group": "Difference",
        "needs_reference": True,
        "shown_with": "motion",
    }
    shown = about("my_pkg.sharpness", stored)
    expected = About("my_pkg.sharpness", "Sharpness", "levels", 1, -1, "Difference", needs_reference=True)
    assert shown == replace(expected, shown_with="motion")
    assert shown is not None and shown.stored() == stored
    older = {name: value for name, value in stored.items() if name != "shown_with"}
    assert about("my_pkg.sharpness", older) == expected, "older scores do not say it"
