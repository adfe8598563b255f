"""The marks of Table 1: the best only where the runner-up is separated, no frozen videos, and the noise floor."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from test_table1 import latex, markdown, table_in, write

from analysis import render
from analysis.columns import EFFICIENCY, Column
from analysis.differences import deviation, difference, separated, within_floor
from analysis.marks import leaders, ranked, rivals
from analysis.statistics import HOW_INTERVALS, NOTHING
from analysis.table import Row
from analysis.table1 import table_sheet
from metrics import METRICS, about

PROMPTS = "abcdefgh"
PSNR = METRICS["psnr"].about
WOBBLE = (0.0, 0.3, -0.2, 0.1, -0.3, 0.2, 0.0, -0.1)  # differs over prompts, so that intervals have a width


def row(title: str, values: Mapping[str, Sequence[float]], role: str = "method", prompts: int | None = None) -> Row:
    """Returns a row with a value per prompt in each column."""
    count = prompts or len(next(iter(values.values())))
    index = pd.MultiIndex.from_tuples([(f"{i:02}", 0) for i in range(count)], names=["prompt", "seed"])
    samples = pd.DataFrame({name: list(own)[:count] for name, own in values.items()}, index).assign(run="one")
    return Row(title, title, "own", title, role, "own", "", None, None, "", samples, samples[:0])


def psnr(base: float, shift: int = 0) -> list[float]:
    return [base + w for w in (*WOBBLE[shift:], *WOBBLE[:shift])]


def names_of(rows: Sequence[Row], column: Column = PSNR) -> tuple[list[str], list[str]]:
    """Returns the names of the best and of the second best rows."""
    best, second = leaders(rivals(rows, column), column)
    return [r.name for r in best], [r.name for r in second]


def test_only_what_is_separated_from_the_next_is_marked() -> None:
    clear = [row("a", {"psnr": psnr(30)}), row("b", {"psnr": psnr(28, 1)}), row("c", {"psnr": psnr(26, 2)})]
    assert names_of(clear) == (["a"], ["b"])
    near = row("b", {"psnr": psnr(29.95, 3)})
    assert names_of([clear[0], near, clear[2]]) == ([], []), "the second is marked only if the best is"
    assert names_of([clear[0], clear[1], row("c", {"psnr": psnr(27.95, 3)})]) == (["a"], [])
    assert names_of(clear[:2]) == (["a"], []), "the worse one of two is no second best"
    assert names_of([row(r.name, {"psnr": r.values("psnr").tolist()}, prompts=4) for r in clear]) == ([], [])
    assert names_of(clear, METRICS["lpips"].about) == ([], []), "there is no such value"


def test_rows_of_equal_values_share_a_mark_and_are_never_ranked_against_each_other() -> None:
    rows = [row(name, {"psnr": psnr(30)}) for name in "ab"] + [row(name, {"psnr": psnr(28, 1)}) for name in "cd"]
    assert names_of([*rows, row("e", {"psnr": psnr(26, 2)})]) == (["a", "b"], ["c", "d"])
    assert [[r.name for r in entry] for entry in ranked(rows, PSNR)] == [["a", "b"], ["c", "d"]]
    assert names_of(rows[:2]) == ([], [])
    unlike = row("e", {"psnr": [*psnr(30)[:-1], 40.0]})
    assert names_of([rows[0], unlike]) == ([], []), "one prompt alone separates nothing"


def test_lower_values_and_ratios_of_latencies_are_separated_too() -> None:
    slow, fast = ({"latency_s": psnr(s), "reference_latency_s": psnr(4, 1)} for s in (2.0, 1.0))
    rows = [row(n, v | {"speedup": np.divide(v["reference_latency_s"], v["latency_s"]).tolist()})
            for n, v in (("slow", slow), ("fast", fast))]  # fmt: skip
    latency, speedup, _, tokens = EFFICIENCY
    assert names_of(rows, latency) == names_of(rows, speedup) == (["fast"], [])
    assert names_of(rows, tokens) == ([], []), "neither direction is better"
    assert difference(rows[0], rows[1], latency) == (pytest.approx(1.0), pytest.approx(1.0), pytest.approx(1.0), 8, 0)
    rows[1].samples["run"] = "another"
    assert names_of(rows, speedup) == names_of(rows, latency) == ([], []), "latencies of two runs are not compared"
    assert difference(rows[0], rows[1], latency) == NOTHING and deviation(rows[0], rows[1], latency) is None


def test_latency_and_speedup_have_marks_only_beyond_the_error_of_prices() -> None:
    """Rows of equal work share one price, so that their intervals over prompts have no width."""
    for behind, marked in ((1.51, []), (1.54, []), (1.6, ["a"])):
        rows = [row(n, {"latency_s": [s] * 8, "reference_latency_s": [3.0] * 8, "speedup": [3.0 / s] * 8})
                for n, s in (("a", 1.5), ("b", behind), ("c", 2.0))]  # fmt: skip
        latency, speedup, *_ = EFFICIENCY
        assert separated(rows[0], rows[1], latency) == separated(rows[1], rows[0], speedup) == bool(marked)
        assert names_of(rows, latency)[0] == names_of(rows, speedup)[0] == marked, behind
    assert names_of([row(n, {"psnr": [v] * 8}) for n, v in (("a", 30.3), ("b", 30.0))])[0] == ["a"], "no price here"


def test_equal_printed_numbers_are_not_told_apart() -> None:
    rows = [row("a", {"psnr": [30.001] * 8}), row("b", {"psnr": [30.0] * 8})]
    assert names_of(rows) == ([], [])


FROZEN = [
    "flicker", "clip_temp", "clip_temp_embedded", "clip_temp_evalcrafter", "clip_temp:a_folder",
    "background_consistency", "coherence_20_embedded",
]  # fmt: skip


@pytest.mark.parametrize("name", FROZEN)
def test_columns_that_reward_frozen_videos_have_no_marks(name: str) -> None:
    column = about(name)
    assert column is not None and column.shown_with == "motion" and column.better == 1
    rows = [row("a", {name: psnr(30)}), row("b", {name: psnr(20, 1)})]
    assert names_of(rows, column) == ([], [])


def test_a_metric_from_outside_says_that_it_rewards_frozen_videos() -> None:
    stored = about("my.calm", {"title": "Calm", "unit": "", "digits": 1, "better": 1, "group": "Video Quality"})
    assert stored is not None and names_of([row(n, {"my.calm": psnr(v)}) for n, v in (("a", 2), ("b", 9))], stored)[0]
    frozen = about("my.calm", stored.stored() | {"shown_with": "motion"})
    assert frozen is not None
    assert names_of([row(n, {"my.calm": psnr(v)}) for n, v in (("a", 2), ("b", 9))], frozen) == ([], [])


def test_noise_gets_a_bold_mark_in_fewer_than_one_of_twenty_tables() -> None:
    """Each table has 15 rows of noise over 10 prompts in four columns."""
    draw, marked, tables = np.random.default_rng(8), 0, 40
    shown = [METRICS[name].about for name in ("psnr", "lpips", "cosine", "vqa")]
    for _ in range(tables):
        common = draw.normal(size=(10, len(shown)))
        noise = [common + draw.normal(size=(10, len(shown))) for _ in range(15)]
        rows = [row(str(i), dict(zip((c.name for c in shown), v.T.tolist(), strict=True))) for i, v in enumerate(noise)]
        marked += any(names_of(rows, column)[0] for column in shown)
    assert marked / tables < 0.05


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Returns a study of 8 prompts with two clear rows and the baseline again, whose videos are almost the same."""
    for i, prompt in enumerate(PROMPTS):
        again = math.inf if prompt == "a" else 45.0 + WOBBLE[i]
        scores: dict[str, dict[str, Any]] = {
            "baseline": {"flicker": 0.9, "psnr": None},
            "baselinererun": {"flicker": 0.9, "psnr": str(again) if math.isinf(again) else again, "ssim": 0.999},
            "vgdfr-k5-theta0.5": {"flicker": 0.8, "psnr": 30.0 + WOBBLE[i], "ssim": 0.9 + WOBBLE[i] / 100},
            "vgdfr-k5-theta0.9": {"flicker": 0.7, "psnr": 35.0 + WOBBLE[-i], "ssim": 1.0},
        }
        for slug, own in scores.items():
            write(tmp_path, slug, prompt, {"baseline": 10.0, "baselinererun": 10.0}.get(slug, 5.0) + WOBBLE[i], own)
    return tmp_path


def test_the_noise_floor_is_told_and_numbers_within_it_are_grey(study: Path) -> None:
    made = table_sheet(table_in(study), ["psnr", "ssim", "flicker"])
    marks = {row[0].text: [cell.mark for cell in row[2:]] for row in made.rows}
    assert marks["VGDFR (k=5, θ=0.9)"] == ["best", "grey", ""], "SSIM is within the floor, so it is not the best"
    assert marks["VGDFR (k=5, θ=0.5)"] == marks["Original again"] == ["", "", ""]
    floor = next(note for note in made.notes if note.startswith("Noise floor"))
    assert "(Original again against the baseline, n=8): PSNR 45.00 (n=7, +1 identical), SSIM 0.999." in floor
    assert "A number in grey (after ~ in Markdown) is no farther from the baseline" in floor
    assert " ~1.000 |" in render.markdown(made)
    assert r"\textcolor{gray}{1.000}" in render.latex(made) and r"% needs \usepackage{xcolor}" in render.latex(made)
    assert '<span class="grey">1.000</span>' in render.fragment(made)
    assert "xcolor" not in latex(table_in(study.parent / study.name, frames="kept"))


def test_the_floor_is_compared_over_common_samples_and_infinite_values_exceed_all_others() -> None:
    floor = row("floor", {"psnr": [40.0, math.inf, 42.0]})
    assert within_floor(row("a", {"psnr": [41.0, math.inf, 42.0]}), floor, PSNR)
    assert within_floor(row("a", {"psnr": [math.inf] * 3}), floor, PSNR)
    assert not within_floor(row("a", {"psnr": [41.0, 40.0, 43.0]}), floor, PSNR), "the floor is identical in one video"
    assert within_floor(row("a", {"psnr": [40.0]}), floor, PSNR), "over the first prompt alone"
    assert not within_floor(row("a", {"psnr": [math.nan]}), floor, PSNR)
    lpips = METRICS["lpips"].about
    assert within_floor(row("a", {"lpips": [0.1]}), row("floor", {"lpips": [0.2]}), lpips)
    assert not within_floor(row("a", {"lpips": [0.3]}), row("floor", {"lpips": [0.2]}), lpips)


def test_the_note_tells_the_rule_of_the_marks(study: Path) -> None:
    text = markdown(table_in(study))
    assert "Of the VGDFR rows, ablations apart, the best value is bold if the paired 95 % interval" in text
    assert "FLICKER has no marks, because a frozen video gets the best value there: read with Motion." in text
    assert "**35.00**" in text and "**0.8" not in text
    priced = "In Latency (s) and Speedup a marked row must also be more than 5 % ahead of the next row"
    assert priced in text and priced not in markdown(table_in(study), ["psnr"])


def test_the_note_on_intervals_tells_what_those_of_latencies_do_not_hold(study: Path) -> None:
    table = table_in(study)
    assert "are over prompts, too, and do not hold the error of prices between runs (up to 5 %)" in markdown(
        table, intervals=True
    )
    assert f"\n{HOW_INTERVALS}\n" in markdown(table, ["psnr"], intervals=True)
