"""The trends of a study beside the paper's: tau, its interval over prompts, the chance level and forced columns."""

import math
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from test_marks import row
from test_table1 import study as small_study
from test_table1 import table_in, write

from analysis import paper_table
from analysis.columns import EFFICIENCY, columns
from analysis.paper_table import Setting
from analysis.table import Row
from analysis.trends import (
    Comparison,
    Trend,
    chance,
    comparisons,
    counted,
    measured_trend,
    pairs_along,
    printed_trend,
    trends_sheet,
)
from metrics import METRICS

study = small_study  # the fixture
PSNR = METRICS["psnr"].about


def test_the_trends_are_compared_with_the_papers(study: Path) -> None:
    table = table_in(study)
    sheet = trends_sheet(table, columns(table.samples))
    found = {row[0].text: [cell.text for cell in row[1:]] for row in sheet.rows}
    # From (5, 0.5) to (10, 0.5): 25 to 26 dB. From (5, 0.5) to (5, 0.9): 20 to 25 dB, and 30 dB to an identical video.
    assert found["PSNR with k"] == ["rises (+1.00)", "rises (+1.00)", "forced", "agrees"]
    assert found["PSNR with θ"] == ["rises (+1.00)", "rises (+1.00)", "forced", "agrees"]
    # The three methods' rows print the same FLICKER, so noise rises only where the baseline has the odd number.
    assert found["FLICKER from Original"] == ["rises (+1.00)", "rises (+1.00)", "25 %", "agrees"]
    assert found["VQA with k"] == ["falls (-1.00)", "–", "–", "not measured"]
    assert found["Latency (s) with θ"][2:] == ["forced", "agrees"] and "Speedup with θ" not in found
    speedup = trends_sheet(table, columns(table.samples, ["speedup"]))
    assert [cell.text for cell in speedup.rows[1]] == [
        "Speedup with θ", "falls (-1.00)", "falls (-1.00)", "forced", "agrees"
    ]  # fmt: skip


def test_free_and_forced_trends_are_counted_apart(study: Path) -> None:
    table = table_in(study)
    found = [each for column in columns(table.samples, ["flicker", "psnr"]) for each in comparisons(table, column)]
    free = [each for each in found if not each.forced]
    assert [each.column.name for each in free] == ["flicker"] * 3 and len(found) == 5
    noise = sum(each.chance for each in free)
    agree = sum(each.agrees for each in free)
    assert counted(found) == (
        f"Of 3 free trends {agree} agree with the paper, {3 - agree} differ, and 0 are not separated from zero. By "
        f"tau alone {agree} agree; noise would give {noise:.1f}. Of 2 forced trends 2 agree with the paper, 0 differ, "
        "and 0 are not separated from zero. k and θ decide the cost and the difference from the baseline in any study."
    )


def test_a_trend_that_is_not_separated_from_zero_is_counted_apart() -> None:
    paper = Trend(1.0, 3)
    for here, verdict in (
        (Trend(0.6, 3, 0.2, 0.9), "agrees"), (Trend(0.6, 3, -0.2, 0.9), "not separated"), (Trend(0.6, 3), "agrees"),
        (Trend(0.1, 3, -0.2, 0.3), "differs"), (Trend(0.1, 3, -0.5, 0.3), "not separated"),
        (Trend(-0.6, 3, -0.9, -0.1), "differs"), (Trend(-0.6, 3, -0.9, 0.0), "not separated"), (None, "not measured"),
    ):  # fmt: skip
        assert Comparison(PSNR, "k", paper, here, False, 0.5).verdict == verdict, here
    found = [Comparison(PSNR, "k", paper, Trend(0.6, 3, low, 0.9), False, 0.4) for low in (0.2, -0.2, -0.3)]
    assert counted(found) == (
        "Of 3 free trends 1 agree with the paper, 0 differ, and 2 are not separated from zero. By tau alone 3 "
        "agree; noise would give 1.2."
    )


def test_a_latencys_trend_is_within_one_run() -> None:
    rows = of({(5, 0.5): [1.0] * 6, (10, 0.5): [2.0] * 6}, "latency_s")
    assert measured_trend(rows, EFFICIENCY[0], "k") == (1.0, 1, 1.0, 1.0)
    rows[10, 0.5].samples["run"] = "another"
    assert measured_trend(rows, EFFICIENCY[0], "k") is None


def test_the_papers_clear_trends_are_found() -> None:
    theirs = {key: row["psnr"] for key, row in paper_table.rows().items() if key}
    assert printed_trend(theirs, "k") == (1.0, 5 * 3, None, None)
    assert printed_trend(theirs, "θ") == (1.0, 3 * 10, None, None)
    few = {(5, 0.5): 2.0, (10, 0.5): 1.0, (15, 0.5): 1.0}
    assert printed_trend({(5, 0.5): 2.0}, "k") is None
    assert printed_trend(few, "k") == (pytest.approx(-2 / 3), 3, None, None)
    assert printed_trend(few | {None: 1.5}, "Original") == (pytest.approx(-1 / 3), 3, None, None)


def test_trends_are_over_the_samples_that_two_rows_have(tmp_path: Path) -> None:
    """At theta 0.9 every sample is better and faster than at 0.5, but only the hard and slow prompt has a sample."""
    for prompt, s, psnr in (("a", 10.0, 40.0), ("b", 90.0, 20.0)):
        write(tmp_path, "baseline", prompt, 10 * s, {})
        write(tmp_path, "vgdfr-k5-theta0.5", prompt, s, {"psnr": psnr})
        if prompt == "b":
            write(tmp_path, "vgdfr-k5-theta0.9", prompt, s - 1, {"psnr": psnr + 1})
    table = table_in(tmp_path)
    assert table.rows[1].mean("psnr").value == 30.0 and table.rows[2].mean("psnr").value == 21.0
    for column in columns(table.samples, ["psnr", "speedup"]):
        with_theta = next(each for each in comparisons(table, column) if each.along == "θ")
        assert with_theta.here == (1.0, 1, None, None), column.name


def of(values: dict[Setting, list[float]], name: str = "psnr") -> dict[Setting, Row]:
    return {setting: row(str(setting), {name: own}) for setting, own in values.items()}


def test_an_interval_of_tau_is_over_prompts() -> None:
    sure = measured_trend(of({(5, 0.5): [20.0] * 6, (10, 0.5): [21.0, 22, 23, 24, 25, 26]}), PSNR, "k")
    assert sure == (1.0, 1, 1.0, 1.0), "every prompt rises"
    open_ = measured_trend(of({(5, 0.5): [20.0] * 6, (10, 0.5): [19.0, 18, 19, 22, 22, 23]}), PSNR, "k")
    assert open_ == (1.0, 1, -1.0, 1.0), "half of the prompts fall"
    assert open_ is not None and open_.text == "rises (+1.00 [-1.00, +1.00])"
    few = measured_trend(of({(5, 0.5): [20.0] * 4, (10, 0.5): [21.0] * 4}), PSNR, "k")
    assert few == (1.0, 1, None, None)


def test_an_interval_of_tau_has_as_many_falls_as_a_bootstrap_by_hand() -> None:
    """Of the step's prompts, 5 have 20 and 5 have -19: the mean falls if more than 5 of 10 drawn prompts are low."""
    steps = [20.0] * 5 + [-19.0] * 5
    trend = measured_trend(of({(5, 0.5): [30.0] * 10, (10, 0.5): [30 + s for s in steps]}), PSNR, "k")
    assert trend == (1.0, 1, -1.0, 1.0), "the share of falls is 38 %, more than 2.5 %"
    clear = measured_trend(of({(5, 0.5): [30.0] * 10, (10, 0.5): [30 + s + 19 for s in steps]}), PSNR, "k")
    assert clear is not None and clear.low == 1.0, "all draws fall with a probability of 0.001"


def test_infinite_values_exceed_all_others_and_missing_samples_are_left_out() -> None:
    rising = of({(5, 0.5): [20.0, 50, math.nan], (10, 0.5): [math.inf, 20, 1]})
    assert measured_trend(rising, PSNR, "k") == (1.0, 1, None, None)
    equal = of({(5, 0.5): [math.inf, 20.0], (10, 0.5): [math.inf, 20.001]})
    assert measured_trend(equal, PSNR, "k") == (0.0, 1, None, None), "the printed digits are equal"
    apart = of({(5, 0.5): [1.0, math.nan], (10, 0.5): [math.nan, 1.0]})
    assert measured_trend(apart, PSNR, "k") is None


def test_a_speedups_trend_is_of_ratios_of_means() -> None:
    """The mean of the samples' speed-ups rises, and the ratio of means falls."""
    base = row("a", {"latency_s": [1.0, 10.0], "reference_latency_s": [2.0, 20.0]})
    other = row("b", {"latency_s": [0.4, 11.0], "reference_latency_s": [2.0, 20.0]})
    assert measured_trend({(5, 0.5): base, (10, 0.5): other}, EFFICIENCY[1], "k") == (-1.0, 1, None, None)


def test_the_chance_level_is_the_share_of_orders() -> None:
    three: list[Setting] = [(5, 0.5), (10, 0.5), (15, 0.5)]
    pairs = pairs_along(three, "k")
    taus = [np.mean([np.sign(order[three.index(b)] - order[three.index(a)]) for a, b in pairs])
            for order in permutations(range(3))]  # fmt: skip
    for direction, share in (
        ("rises", np.mean(np.array(taus) > 0.3)), ("falls", np.mean(np.array(taus) < -0.3)), ("no trend", 0.0)
    ):  # fmt: skip
        assert chance(pairs, direction, (3.0, 1.0, math.inf)) == pytest.approx(share, abs=0.01)
    whole = pairs_along(list(paper_table.rows()), "Original")
    places = tuple(map(float, range(16)))
    assert chance(whole, "rises", places) == pytest.approx(6 / 16, abs=0.01), "6 of 16 places are low enough"


def test_rows_that_print_the_same_make_a_trend_less_likely() -> None:
    pairs = pairs_along([(5, 0.5), (10, 0.5), (15, 0.5)], "k")
    for direction in ("rises", "falls", "no trend"):
        assert chance(pairs, direction, (0.1, 0.1, 0.2)) == pytest.approx(1 / 3, abs=0.01), "tau is 2/3, 0 or -2/3"
    assert chance(pairs, "no trend", (0.1, 0.1, 0.1)) == 1.0
