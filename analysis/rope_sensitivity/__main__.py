"""Reports which DiT layers want Global-RoPE: each layer's preference, a list of layers, and whether the proxy agrees.

`python -m analysis.rope_sensitivity runs/rope_sensitivity --proxy runs/rope_proxy --metric lpips` prints the ranking
and writes report/rope_sensitivity.{md,csv,png,svg,pdf} into the study's folder. The studies are made by
`python -m bench.sweep +exp=rope_sensitivity` and `+exp=rope_proxy`. `+exp=rope_assignment` reads the .csv, and makes
videos of other prompts; `--assignment runs/rope_assignment` judges the list of layers by these videos.
"""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.columns import EMBEDDED
from analysis.figures.style import encoded
from analysis.output import Report, add_out, write_and_print
from analysis.render import Sheet, plain
from analysis.rope_sensitivity import EFFECTS, Sensitivity, agreement, p_text, proxy_sensitivity, sensitivity
from analysis.rope_sensitivity import assignment as judging
from analysis.rope_sensitivity.figure import draw, scale_of
from analysis.rope_sensitivity.prompts import weaknesses
from analysis.statistics import MIN_PROMPTS
from analysis.study import Study
from vgdfr_commands.start import run


def layer_table(full: Sensitivity, proxy: Sensitivity | None, chosen: tuple[int, ...]) -> pd.DataFrame:
    """Returns the CSV file: a row per layer, in order. +exp=rope_assignment reads the column `recommended`."""
    layers = pd.Series(full.layers)
    table = pd.DataFrame({
        "layer": layers,
        "block": layers.map(lambda n: "dual" if n < full.dual else "single"),
        "rank": pd.Series(full.ranks),
        "recommended": layers.isin(chosen).astype(int),
        "paper": layers.isin(full.paper).astype(int),
        "measure": full.title.rstrip(EMBEDDED).lower(),
    })  # fmt: skip
    for prefix, study in (("", full), ("proxy_", proxy)):
        for effect in EFFECTS if study else ():
            for end, part in (("", "value"), ("_low", "low"), ("_high", "high"), ("_n", "n")):
                table[f"{prefix}{effect}{end}"] = study.effects[effect][part]
        if study:
            table[[f"{prefix}preference_p", f"{prefix}preference_p_corrected"]] = study.tests
    return table


def sheet(name: str, full: Sensitivity, proxy: Sensitivity | None, chosen: tuple[int, ...]) -> Sheet:
    """Returns the layers by rank. Notes tell the recommended list, and how far the proxy agrees."""
    factor, unit = scale_of(full)
    header = ["Rank", "Layer", "Block", f"Preference, {full.title}{f' ({unit})' if unit else ''}", "Global alone"]
    header.insert(4, "p, corrected")
    header += ["Local alone", "n", *(["Proxy's rank"] if proxy else []), "List"]
    means = [[_text(mean, factor) for mean in full.effects[effect].itertuples()] for effect in EFFECTS]
    means.insert(1, ["–" if pd.isna(p) else p_text(p) for p in full.tests["p_corrected"]])
    table, rows = layer_table(full, proxy, chosen), []
    for n, rank in full.ranks.items():
        lists = ", ".join(name for name in ("recommended", "paper") if table[name][n])
        own = [str(rank), str(n), table["block"][n], *(texts[n] for texts in means), str(len(full.comparable))]
        rows.append(plain(*own, *([str(proxy.ranks[n])] if proxy else []), lists))
    warnings = []
    if full.prompts < MIN_PROMPTS:
        warnings.append(f"Only {full.prompts} of the {MIN_PROMPTS} prompts that intervals need: no ranking to rely on.")
    else:
        warnings += weaknesses(full.comparable.index.unique("prompt"), full.profiles, "select")
    if never := [n for n in chosen if table["preference"][n] <= 0]:
        warnings.append(f"Recommended by rank alone, though its preference is not above 0: {_listed(never)}.")
    if proxy and proxy.texts != full.texts:
        warnings.append(f"The proxy's prompts are not the study's: {len(proxy.texts & full.texts)} of its "
                        f"{len(proxy.texts)} prompts are among the study's {len(full.texts)}.")  # fmt: skip
    warnings += [f"Incomplete: {s.incomplete} ({s.title})." for s in (full, proxy) if s and s.incomplete]
    notes = tuple(_notes(name, full, proxy, chosen))
    return Sheet(tuple(header), tuple(rows), notes=notes, banner=" ".join(warnings) or None)


def _notes(name: str, full: Sensitivity, proxy: Sensitivity | None, chosen: tuple[int, ...]) -> list[str]:
    studies = [full, proxy] if proxy else [full]
    better = "higher" if full.better > 0 else "lower"
    out = [
        f"Study `{name}`, {full.prompts} prompts: mean and 95 % interval over prompts. A layer with a value above 0 "
        f"prefers Global-RoPE ({full.title}: {better} is better). Global alone is the gain when only this layer turns "
        "global, from all layers local. Local alone is the loss when only this layer turns local, from all layers "
        f"global. Preference is the mean of both, for every layer over the same {len(full.comparable)} samples (n)."
    ]
    if full.title.endswith(EMBEDDED):
        out.append(f"{EMBEDDED} seen by the small judge trained on the embedded world.")
    setting = f"method.global_layers=[{','.join(map(str, chosen))}]"
    out.append(f"Recommended global layers, {len(chosen)} of {len(full.layers)}: `{setting}`.")
    if full.prompts >= MIN_PROMPTS:
        out += _decision(full, chosen)
    for study in studies:
        factor, unit = scale_of(study)
        gain = f"{_text(study.overall, factor)} {unit}".strip()
        out.append(f"All layers global against all local, gain in {study.title}: {gain}.")
    if proxy:
        own = ",".join(map(str, proxy.recommended(len(chosen))))
        out.append(
            f"Rank correlation (Spearman) of the one-pass proxy ({proxy.prompts} prompts, relative error of the "
            f"velocity) with {full.title}: {'; '.join(_correlation(full, proxy, effect) for effect in EFFECTS)}. "
            f"The proxy's own list of {len(chosen)}: [{own}]."
        )
    return out + [
        f"{study.infinite} samples are identical to their baseline under some condition (infinite {study.title}). "
        "The preference of every layer leaves them out."
        for study in studies if study.infinite
    ]  # fmt: skip


def _decision(full: Sensitivity, chosen: tuple[int, ...]) -> list[str]:
    """Returns which layers are separated from zero, and which recommended layers are not."""
    values, layers = full.effects["preference"]["value"], len(full.layers)
    sides = {side: [n for n in full.separated if (values[n] > 0) == (side == "Global")] for side in ("Global", "Local")}
    parts = [f"{_listed(own)} prefer{'s' * (len(own) == 1)} {side}-RoPE" for side, own in sides.items() if own]
    named = f"Layers separated from zero: {'; '.join(parts)}." if parts else "No layer is separated from zero."
    alone = [n for n in chosen if n not in full.separated]
    return [
        f"{named} The tests are over {full.prompts} prompts and corrected for {layers} layers (Holm, 5 %). The "
        "intervals are not corrected, so an interval without zero separates no layer.",
        *[f"Recommended by the mean alone, without separation from zero: {_listed(alone)}."] * bool(alone),
        "A list that these prompts select is judged on other prompts: `python -m bench.sweep +exp=rope_assignment`, "
        "then this report with `--assignment runs/rope_assignment`.",
    ]


def _correlation(full: Sensitivity, proxy: Sensitivity, effect: str) -> str:
    title, (rho, p, n) = effect.replace("_", " "), agreement(full, proxy, effect)
    return f"{title}: none (no ranks)" if rho is None else f"{title} {rho:.2f} (n = {n} layers, p = {p:.2g})"


def _text(mean: Any, factor: float) -> str:
    """Returns the mean times the factor, with its interval unless there are too few prompts."""
    value = f"{mean.value * factor:+.3f}"
    return value if pd.isna(mean.low) else f"{value} [{mean.low * factor:+.3f}, {mean.high * factor:+.3f}]"


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers)) or "none"


def report(
    study: Study,
    proxy: Study | None = None,
    metric: str = "lpips",
    size: int | None = None,
    assignment: Study | None = None,
) -> Report:
    """Returns the report of a study of +exp=rope_sensitivity, compared with a `proxy` study of +exp=rope_proxy.

    metric: a metric that compares with the baseline. size: the number of layers to recommend, by default as many as
    the paper's list has. assignment: a study of +exp=rope_assignment, which judges the recommended layers. Raises
    StudyError if a study is another one, if proxy or assignment have other settings, and if a prompt of the assignment
    is among the study's.
    """
    full, other = sensitivity(study, metric), proxy and proxy_sensitivity(proxy)
    if proxy and other:
        judging.check_settings(proxy, other.settings, study, full.settings, "run +exp=rope_proxy with its own")
    chosen = full.recommended(size)
    table = layer_table(full, other, chosen).to_csv(index=False, float_format="%.6g", lineterminator="\n")
    contents = {"csv": table, **encoded(draw(full, other, chosen))}
    files = {f"rope_sensitivity.{suffix}": content for suffix, content in contents.items()}
    files["rope_sensitivity_prompts.json"] = json.dumps(sorted(full.texts), ensure_ascii=False, indent=1)
    sheets = [sheet(study.name, full, other, chosen)]
    if assignment:
        judged = judging.judgement(assignment, study, full, chosen, metric)
        sheets.append(judging.sheet(judged, study.name, len(full.texts)))
        files["rope_assignment.csv"] = judging.table(judged)
    return Report("rope_sensitivity", tuple(sheets), files)


def command() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="a study of +exp=rope_sensitivity")
    parser.add_argument("--proxy", type=Path, help="a study of +exp=rope_proxy to compare with")
    parser.add_argument(
        "--assignment", type=Path, help="a study of +exp=rope_assignment that judges the list of layers"
    )
    parser.add_argument("--metric", default="lpips", help="a metric that compares with the baseline (default: lpips)")
    parser.add_argument("--size", type=int, help="layers to recommend (default: as many as the paper's list has)")
    add_out(parser)
    given = parser.parse_args()
    study = Study(given.study, experiment="rope_sensitivity")
    proxy = Study(given.proxy, experiment="rope_proxy") if given.proxy else None
    assignment = Study(given.assignment, experiment="rope_assignment") if given.assignment else None
    write_and_print(report(study, proxy, given.metric, given.size, assignment), given.study, given.out)


if __name__ == "__main__":
    run(command)
