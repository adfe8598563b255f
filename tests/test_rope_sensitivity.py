"""The sensitivity report on studies with a planted preference, and its refusals."""

import csv
import io
import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from processes import run
from scipy.stats import rankdata

from analysis import Study, StudyError
from analysis.figures.style import encoded
from analysis.output import write_and_print
from analysis.render import markdown
from analysis.rope_sensitivity import EFFECTS, Sensitivity, agreement, p_text, proxy_sensitivity, sensitivity
from analysis.rope_sensitivity.__main__ import report, sheet
from analysis.rope_sensitivity.figure import GLOBAL_ALONE, LOCAL_ALONE, draw, scale_of
from analysis.statistics import Interval, holm
from analysis.study import SPEEDS

PLANTED = (-0.03, 0.01, 0.06, -0.01, 0.04, 0.02)  # the gain of each of 2 dual and 4 single layers by Global-RoPE
EVERY = range(len(PLANTED))
BEST = (2, 4)
IDENTITY: dict[str, Any] = {
    "generator_version": 1, "model": {"dtype": "float32"}, "spec": {"prompt": "a", "seed": 1, "num_frames": 65}
}  # fmt: skip


def conditions() -> dict[str, list[int]]:
    out = {"none": [], "all": list(EVERY)}
    for n in EVERY:
        out |= {f"only_{n}": [n], f"all_but_{n}": [m for m in EVERY if m != n]}
    return out


def record(layers: list[int] | None, prompt: str, **other: Any) -> dict[str, Any]:
    method = {"name": "vgdfr", "k": 5, "theta": 0.7, "max_merge": 4, "global_layers": layers or "none"}
    if layers is None:
        method = {"name": "ropeproxy", "k": 5, "theta": 0.7, "max_merge": 4}
    return {
        "schema": 1, "status": "done", "slug": "a-slug", "method": method, "prompt_id": prompt, "seed_index": 0,
        "identity": IDENTITY | {"method": method, "spec": {**IDENTITY["spec"], "prompt": f"prompt {prompt}"}},
        "layers": {"dual": 2, "single": 4, "global": layers, "paper": [1, 3]},
    } | other  # fmt: skip


def noise(*names: str) -> float:
    """Returns a small number, equal for equal names."""
    return float(np.random.default_rng([ord(c) for c in "".join(names)]).normal(0, 0.002))


def write_study(folder: Path, prompts: Iterable[str] = "abcdefgh", noisy: bool = True) -> Path:
    """Writes prompts of very different difficulty with PLANTED on top.

    LPIPS falls, and PSNR rises, by the gain.
    """
    for i, prompt in enumerate(prompts):
        for name, layers in conditions().items():
            gain = sum(PLANTED[n] for n in layers) + noisy * noise(prompt, name)
            values = {"lpips_embedded": 1 + i - gain, "psnr": 20 + 3 * i + 10 * gain}
            scores = {n: {"id": f"{n}-v1-rgb-no-weights", "value": v, "reason": None} for n, v in values.items()}
            write(folder / name / prompt, record(layers, prompt), scores)
    return folder


def write_proxy(folder: Path, planted: tuple[float, ...] = PLANTED, **other: Any) -> Path:
    for prompt in "abc":
        total = sum(planted)
        errors = {
            "none": 1.0, "all": 1 - total, "only": [1 - p for p in planted], "all_but": [1 - total + p for p in planted]
        }  # fmt: skip
        write(folder / "proxy" / prompt, record(None, prompt, layer_errors=errors, **other), None)
    return folder


def write(folder: Path, values: dict[str, Any], scores: dict[str, Any] | None) -> None:
    folder.mkdir(parents=True)
    (folder / "record.json").write_text(json.dumps(values))
    if scores is not None:
        (folder / "scores.json").write_text(json.dumps({"schema": 2, "scores": scores}))


def made(planted: tuple[float, ...], better: int = -1) -> Sensitivity:
    """Returns a study over three prompts without noise."""
    every = range(len(planted))
    choices = {"none": [], "all": list(every)}
    choices |= {f"only_{n}": [n] for n in every} | {f"all_but_{n}": [m for m in every if m != n] for n in every}
    gains = {name: better * sum(planted[n] for n in layers) for name, layers in choices.items()}
    index = pd.MultiIndex.from_tuples([(prompt, 0) for prompt in "abc"], names=["prompt", "seed"])
    values = pd.DataFrame([{name: i + gain for name, gain in gains.items()} for i in range(3)], index)
    return Sensitivity("M", "", better, values, 2, len(planted) - 2, (0,))


def effect(found: Sensitivity, name: str, layer: int) -> Interval:
    value, low, high, n, infinite = found.effects[name].to_numpy()[layer].tolist()
    value, low, high = (None if math.isnan(end) else end for end in (value, low, high))
    return Interval(value, low, high, int(n), int(infinite))


def text_of(found: Sensitivity, proxy: Sensitivity | None, chosen: tuple[int, ...]) -> str:
    return markdown(sheet("study", found, proxy, chosen))


def main(study: Path, proxy: Path | None = None, out: Path | None = None, **other: Any) -> None:
    """Does the same as the command."""
    there = proxy and Study(proxy, experiment="rope_proxy")
    write_and_print(report(Study(study, experiment="rope_sensitivity"), there, **other), study, out)


@pytest.mark.parametrize(("metric", "factor"), [("lpips", 1), ("psnr", 10)])
def test_the_planted_preference_is_found_in_both_directions(tmp_path: Path, metric: str, factor: float) -> None:
    found = sensitivity(Study(write_study(tmp_path)), metric)
    assert found.recommended() == found.recommended(2) == BEST, "as many as the paper's list has here"
    assert found.recommended(1) == (2,) and found.recommended(6) == tuple(EVERY)
    assert list(found.ranks) == [2, 4, 5, 1, 3, 0] and list(found.ranks.values()) == [1, 2, 3, 4, 5, 6]
    assert (found.dual, found.single, found.layers) == (2, 4, range(6))
    for layer, gain in enumerate(PLANTED):
        for name in EFFECTS:
            interval = effect(found, name, layer)
            assert interval.value == pytest.approx(gain * factor, abs=0.003 * factor) and interval.n == 8
            assert interval.low is not None and interval.high is not None
            assert interval.low < (interval.value or 0) < interval.high < (interval.low or 0) + 0.01 * factor
    assert found.overall.value == pytest.approx(sum(PLANTED) * factor, abs=0.003 * factor)


def test_a_layers_preference_is_the_mean_of_both_directions_over_samples_that_all_conditions_have() -> None:
    values = made((0.0, 0.5, 0.1)).values
    values = values.assign(all_but_1=values["all_but_1"] + [0.3, 0, math.nan])  # prompts a, b and c
    found = Sensitivity("M", "", -1, values, 2, 1, ())
    assert [effect(found, "preference", layer).n for layer in range(3)] == [2] * 3 and found.prompts == 2
    assert found.incomplete == "1 of 3 samples have no value under some condition"
    preference, global_alone, local_alone = (effect(found, name, 1) for name in EFFECTS)
    assert global_alone.value == pytest.approx(0.5) and global_alone.n == 3
    assert local_alone.value == pytest.approx((0.8 + 0.5) / 2) and local_alone.n == 2
    assert preference.value == pytest.approx((0.5 + (0.8 + 0.5) / 2) / 2) and preference.n == 2


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ((0.1, 0.2, 0.3, 0.4), (1.0, 2.0, 3.0, 4.0)), ((0.1, 0.2, 0.3, 0.4), (4.0, 3.0, 2.0, 1.0)),
        ((0.3, 0.1, 0.4, 0.2, 0.9), (0.2, 0.7, 0.1, 0.8, 0.3)), ((1.0, 1.0, 2.0, 3.0), (0.5, 0.25, 0.25, 4.0)),
    ],
)  # fmt: skip
def test_the_rank_correlation_is_that_of_the_ranks(ours: tuple[float, ...], theirs: tuple[float, ...]) -> None:
    rho, _, n = agreement(made(ours), made(theirs, better=1), "global_alone")
    assert n == len(ours)
    ranks = [rankdata(np.round(side, 9)) for side in (ours, theirs)]
    assert rho == pytest.approx(np.corrcoef(*ranks)[0, 1])
    if len(set(ours)) == len(set(theirs)) == n:
        assert rho == pytest.approx(1 - 6 * sum((ranks[0] - ranks[1]) ** 2) / (n * (n * n - 1)))


def test_without_ranks_there_is_no_correlation() -> None:
    flat, steep = made((0.0,) * 4), made((0.1, 0.2, 0.3, 0.4))
    assert agreement(flat, steep, "global_alone") == (None, None, 4)


def test_the_command_writes_all_files_the_same_every_time_and_without_torch(tmp_path: Path) -> None:
    study, proxy = write_study(tmp_path / "study"), write_proxy(tmp_path / "proxy")
    main(study, proxy)
    written = study / "report"
    first = {f.name: f.read_bytes() for f in written.iterdir()}
    suffixes = ("md", "csv", "png", "svg", "pdf")
    assert set(first) == {*(f"rope_sensitivity.{suffix}" for suffix in suffixes), "rope_sensitivity_prompts.json"}
    assert json.loads(first["rope_sensitivity_prompts.json"]) == [f"prompt {p}" for p in "abcdefgh"]
    code = (
        "import sys; from analysis.rope_sensitivity.__main__ import command; "
        "command(); sys.exit('torch' in sys.modules)"
    )
    arguments = [str(study), "--proxy", str(proxy)]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {f.name: f.read_bytes() for f in written.iterdir()} == first
    text = first["rope_sensitivity.md"].decode()
    assert done.stdout.strip() == text.strip()
    assert (
        "method.global_layers=[2,4]" in text
        and "Layers separated from zero: 1, 2, 4, 5 prefer Global-RoPE; 0, 3 prefer Local-RoPE." in text
    )
    assert "The proxy's prompts are not the study's: 3 of its 3 prompts are among the study's 8." in text
    assert "preference 1.00 (n = 6 layers" in text and "own list of 2: [2,4]" in text
    rows = list(csv.DictReader(io.StringIO(first["rope_sensitivity.csv"].decode())))
    assert [row["layer"] for row in rows if row["recommended"] == "1"] == ["2", "4"]
    assert [row["layer"] for row in rows if row["paper"] == "1"] == ["1", "3"]
    assert [row["block"] for row in rows] == ["dual"] * 2 + ["single"] * 4
    assert [float(row["proxy_preference"]) for row in rows] == pytest.approx(PLANTED)
    assert all(float(r["preference_low"]) < float(r["preference"]) < float(r["preference_high"]) for r in rows)
    assert all(float(r["preference_p"]) <= float(r["preference_p_corrected"]) < 0.05 for r in rows)
    assert all(r["proxy_preference_p"] == r["proxy_preference_p_corrected"] == "" for r in rows), (
        "3 prompts are too few"
    )


def test_bars_are_the_values_in_their_own_blocks_and_markers_the_lists(tmp_path: Path) -> None:
    found = sensitivity(Study(write_study(tmp_path)), "lpips")
    factor, power = scale_of(found)
    assert (factor, power) == (1000, "10⁻³")
    figure = draw(found, None, BEST)
    dual, single = figure.axes
    assert [dual.get_title(), single.get_title()] == ["dual-stream", "single-stream"]
    drawn = {}
    for axis in figure.axes:
        for bar in axis.patches:
            colour = "#{:02X}{:02X}{:02X}".format(*(round(255 * c) for c in to_rgb(bar.get_facecolor())))
            drawn[round(bar.get_x() + 0.2), colour] = bar.get_height()
    expected = {}
    for layer in found.layers:
        for colour, name in ((GLOBAL_ALONE, "global_alone"), (LOCAL_ALONE, "local_alone")):
            expected[layer, colour] = pytest.approx((effect(found, name, layer).value or 0) * factor)
    assert drawn == expected
    marks = [np.asarray(line.get_xdata()) for axis in figure.axes for line in axis.lines if line.get_marker() == "v"]
    assert [x for numbers in marks for x in numbers] == list(BEST)
    assert dual.get_ylabel().startswith("LPIPS† (10⁻³)")
    encoded(figure)


@pytest.mark.parametrize(("largest", "expected"), [(2.0, 1), (0.2, 1), (0.05, 1e3), (5e-4, 1e3), (3e-6, 1e6), (0.0, 1)])
def test_small_values_are_shown_in_thousandths(largest: float, expected: float) -> None:
    assert scale_of(made((largest, 0.0)))[0] == pytest.approx(expected)


def test_one_prompt_gives_no_interval_and_says_so(tmp_path: Path) -> None:
    study = Study(write_study(tmp_path, "a"))
    made = report(study)
    assert sensitivity(study).effects["preference"]["low"].isna().all()
    text = made.text
    assert "**Only 1 of the 5 prompts that intervals need: no ranking to rely on.**" in text and "[+" not in text
    assert ",,,1" in str(made.files["rope_sensitivity.csv"]) and len(made.files) == 5
    assert "separated from zero" not in text and sensitivity(study).separated == ()


def test_few_or_unbalanced_prompts_are_too_weak_to_select_layers_and_the_report_says_so(tmp_path: Path) -> None:
    few = report(Study(write_study(tmp_path / "few"))).text
    assert "**8 prompts are too few to select layers by: 20 or more are needed.**" in few
    balanced = [f"{i:02}-{SPEEDS[i % 5]}" for i in range(21)]
    assert "too few" not in (text := report(Study(write_study(tmp_path / "balanced", balanced))).text)
    assert "balanced" not in text.replace("`balanced`", "")
    other = [prompt.replace("05-still", "05-fast") for prompt in balanced[:20]]
    text = report(Study(write_study(tmp_path / "other", other))).text
    assert "not balanced over the speed profiles (still 3, slow 4, fast 5, accelerating 4, stopping 4)" in text


def test_a_recommendation_that_the_data_does_not_bear_out_is_marked() -> None:
    found = made((-0.2, 0.1, -0.1))
    assert "its preference is not above 0: 2.**" in text_of(found, None, found.recommended(2))


def test_failed_samples_and_identical_videos_are_counted(tmp_path: Path) -> None:
    study = write_study(tmp_path)
    write(study / "only_0" / "z", record([0], "z") | {"status": "failed", "layers": None}, None)
    file = study / "only_1" / "a" / "scores.json"
    file.write_text(file.read_text().replace('"value": 20.', '"value": "inf", "was": 20.'))
    found = sensitivity(Study(study), "psnr")
    assert effect(found, "global_alone", 1).infinite == 1 and effect(found, "global_alone", 1).n == 7
    text = text_of(found, None, BEST)
    assert "Incomplete: 1 failed samples (PSNR).**" in text and "1 samples are identical to their baseline" in text
    assert [effect(found, "preference", layer).n for layer in found.layers] == [7] * 6


def test_a_killed_sweep_ranks_layers_on_the_samples_that_all_have_and_says_so(tmp_path: Path) -> None:
    """Layer 3 lacks the hard prompts, which alone would rank it first or last."""
    study = write_study(tmp_path)
    plan = [f"{f.parent.parent.name}/{f.parent.name}" for f in study.glob("*/*/record.json")]
    (study / "plan.json").write_text(json.dumps({"samples": plan}))
    assert "Incomplete" not in text_of(sensitivity(Study(study), "lpips"), None, BEST)
    for prompt in "efgh":
        (study / "only_3" / prompt / "record.json").unlink()
        spoil(study / "only_1" / prompt / "scores.json", lambda d: d["scores"]["lpips_embedded"].update(value=0.0))
    found = sensitivity(Study(study), "lpips")
    assert list(found.ranks) == [2, 4, 5, 1, 3, 0] and found.prompts == 4
    text = text_of(found, None, BEST)
    assert "Incomplete: 4 of 8 samples have no value under some condition, 4 planned and not tried (LPIPS†).**" in text
    assert [line.split("|")[8].strip() for line in text.splitlines() if line[2:3].isdigit()] == ["4"] * 6


def test_the_report_goes_where_it_is_asked_and_nothing_into_the_study(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", "ab")
    main(study, out=tmp_path / "out")
    assert (tmp_path / "out" / "rope_sensitivity.csv").is_file() and not (study / "report").exists()


def spoil(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    values = json.loads(file.read_text())
    change(values)
    file.write_text(json.dumps(values))


def remove(study: Path, *names: str) -> None:
    for name in names:
        for file in study.glob(f"{name}/*/record.json"):
            file.unlink()


BAD: list[tuple[Callable[[Path], object], str]] = [
    (lambda s: remove(s, "none"), "no finished sample of global_layers=none; a whole study is made by"),
    (lambda s: remove(s, "only_3", "all_but_1"), r"global_layers=only_3, all_but_1;"),
    (lambda s: spoil(s / "only_3/a/record.json", lambda r: r["method"].update(k=9)), "k=5; k=9"),
    (
        lambda s: spoil(s / "only_3/a/record.json", lambda r: r["identity"].update(model={"dtype": "x"})),
        "mixes 2 models",
    ),
    (lambda s: spoil(s / "only_3/a/record.json", lambda r: r.update(layers=None)), "do not say their layers"),
    (
        lambda s: spoil(s / "only_3/a/record.json", lambda r: r.update(prompt_id="b")),
        "remove the samples that do not belong",
    ),
    (
        lambda s: [spoil(f, lambda d: d["scores"].pop("lpips_embedded")) for f in s.glob("*/*/scores.json")],
        "has no lpips_embedded: it was not scored; python -m bench.score",
    ),
    (
        lambda s: [spoil(f, lambda d: d["scores"].pop("lpips_embedded")) for f in s.glob("only_2/*/scores.json")],
        "layer 2 has no finite LPIPS† in common with the conditions none and all",
    ),
    (
        lambda s: [spoil(f, lambda r: r.update(method={"name": "baseline"})) for f in s.glob("*/*/record.json")],
        "holds no sample of a method with global_layers",
    ),
    (lambda s: [shutil.rmtree(f) for f in s.iterdir()], r"holds no samples; .*\+exp=rope_sensitivity"),
    (lambda s: shutil.rmtree(s), r"is no folder; .*\+exp=rope_sensitivity"),
]


@pytest.mark.parametrize(("damage", "message"), BAD)
def test_what_is_no_whole_study_is_refused(tmp_path: Path, damage: Callable[[Path], object], message: str) -> None:
    study = write_study(tmp_path / "study", "ab")
    damage(study)
    with pytest.raises(StudyError, match=message):
        main(study)
    assert not (study / "report").exists()


def test_wrong_arguments_are_refused(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", "ab")
    for size in (0, 7):
        with pytest.raises(StudyError, match=f"size must be between 1 and the 6 layers of the model, got {size}"):
            main(study, size=size)
    with pytest.raises(StudyError, match="metric must be one of psnr, ssim, lpips, cosine, .* got vqa"):
        main(study, metric="vqa")
    with pytest.raises(StudyError, match="holds no layer errors"):
        main(study, proxy=study)
    other = write_proxy(tmp_path / "other")
    for file in other.glob("*/*/record.json"):
        spoil(file, lambda r: r["method"].update(theta=0.5))
    with pytest.raises(StudyError, match="is of another theta than .*: 0.5, not 0.7"):
        main(study, proxy=other)
    with pytest.raises(StudyError, match="and no videos"):
        main(other)
    result = run("analysis.rope_sensitivity", str(tmp_path))
    assert result.returncode == 1 and result.stderr.startswith("error: ") and "Traceback" not in result.stderr


def test_the_proxys_preference_is_the_error_it_spares(tmp_path: Path) -> None:
    found = proxy_sensitivity(Study(write_proxy(tmp_path)))
    assert found.effects["preference"]["value"].tolist() == pytest.approx(PLANTED)
    assert found.prompts == 3 and not math.isnan(found.overall.value or math.nan)


def null_study(generator: np.random.Generator, prompts: int, layers: int, gains: Mapping[int, float]) -> Sensitivity:
    """Returns a study of prompts of very different difficulty, whose layers have the mean gains, 0 without one."""
    every = range(layers)
    choices = {"none": [], "all": list(every)}
    choices |= {f"only_{n}": [n] for n in every} | {f"all_but_{n}": [m for m in every if m != n] for n in every}
    index = pd.MultiIndex.from_tuples([(f"{p:02}", 0) for p in range(prompts)], names=["prompt", "seed"])
    values = generator.normal(0, 0.1, (prompts, len(choices))) + generator.exponential(3, (prompts, 1))
    planted = [sum(gains.get(n, 0) for n in chosen) for chosen in choices.values()]
    return Sensitivity("M", "", 1, pd.DataFrame(values + planted, index, [*choices]), 4, layers - 4, (0,))


def test_where_no_layer_matters_at_most_one_study_in_twenty_names_a_layer_and_its_report_says_none() -> None:
    """Of 20,000 such studies 3.8 % name a layer. Without the correction 33 % would."""
    generator = np.random.default_rng(0)
    studies = [null_study(generator, 20, 12, {}) for _ in range(200)]
    named = [study for study in studies if study.separated]
    assert 0 < len(named) <= 0.05 * len(studies)
    assert sum((study.tests["p"] < 0.05).any() for study in studies) > 0.2 * len(studies)
    said = [text_of(study, None, study.recommended()) for study in (studies[0], named[0])]
    assert (
        studies[0] not in named
        and "No layer is separated from zero. The tests are over 20 prompts and corrected " in said[0]
    )
    assert f"without separation from zero: {studies[0].recommended()[0]}." in said[0]
    assert "No layer is separated" not in said[1] and "Layers separated from zero: " in said[1]


def test_a_layer_that_matters_is_named_with_its_side_and_the_others_are_not() -> None:
    study = null_study(np.random.default_rng(6), 20, 12, {3: 0.3, 7: -0.3})
    assert study.separated == (3, 7)
    text = text_of(study, None, (3, 5))
    assert "Layers separated from zero: 3 prefers Global-RoPE; 7 prefers Local-RoPE." in text
    assert "Recommended by the mean alone, without separation from zero: 5." in text
    corrected = holm(study.tests["p"].tolist())
    assert study.tests["p_corrected"].tolist() == corrected
    cells = {int(row[1]): row[4] for row in ([c.text for c in r] for r in sheet("s", study, None, (3, 5)).rows)}
    assert cells == {n: p_text(p) for n, p in enumerate(corrected)}
