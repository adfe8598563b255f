"""Which DiT layers want Global-RoPE: each layer's preference, a list of layers, and whether the proxy agrees.

`python -m analysis.rope_sensitivity runs/rope_sensitivity --proxy runs/rope_proxy --metric lpips` prints the ranking
and writes report/rope_sensitivity.{md,csv,png,svg,pdf} into the study's folder. The studies are made by
`python -m bench.sweep +exp=rope_sensitivity` and `+exp=rope_proxy`; `+exp=rope_assignment` reads the .csv.
"""

import argparse
import csv
import io
from pathlib import Path

from analysis import sheet
from analysis.columns import EMBEDDED
from analysis.figures.style import encoded
from analysis.output import add_out, study_name, write_and_print
from analysis.rope_sensitivity_data import (
    METRICS,
    Sensitivity,
    agreement,
    measured_of_proxy,
    measured_of_study,
    refuse_other_settings,
    sensitivity,
)
from analysis.rope_sensitivity_figure import draw, scale_of
from analysis.sheet import Sheet, plain
from analysis.statistics import MIN_PROMPTS, Interval
from vgdfr_commands.start import run

PARTS = {  # a layer's three intervals
    "preference": lambda layer: layer.preference,
    "global_alone": lambda layer: layer.global_alone,
    "local_alone": lambda layer: layer.local_alone,
}


def markdown(name: str, full: Sensitivity, proxy: Sensitivity | None, chosen: tuple[int, ...]) -> str:
    """The report for people: the ranking, the recommended list, and whether the proxy agrees."""
    measured, (factor, power) = full.measured, scale_of(full)
    unit = " ".join(part for part in (power, measured.unit) if part)
    of = f"{measured.title} ({unit})" if unit else measured.title
    header = ["Rank", "Layer", "Block", f"Preference, {of}", "Global alone", "Local alone", "n"]
    ranks = {layer.number: rank for rank, layer in enumerate(proxy.ranked, 1)} if proxy else {}
    header += ["Proxy's rank"] * bool(proxy) + ["List"]
    rows = []
    for rank, layer in enumerate(full.ranked, 1):
        lists = [s for s, there in (("recommended", chosen), ("paper", measured.paper)) if layer.number in there]
        rows.append(plain(
            str(rank), str(layer.number), "dual" if layer.dual else "single",
            *(_text(of_layer(layer), factor) for of_layer in PARTS.values()),
            str(layer.preference.n), *([str(ranks[layer.number])] if proxy else []), ", ".join(lists),
        ))  # fmt: skip
    warnings = " ".join(_warnings(full, proxy, chosen))
    notes = tuple(_said(name, full, proxy, chosen))
    return sheet.markdown(Sheet(tuple(header), tuple(rows), notes=notes, banner=warnings or None))


def _warnings(full: Sensitivity, proxy: Sensitivity | None, chosen: tuple[int, ...]) -> list[str]:
    out = []
    if full.prompts < MIN_PROMPTS:
        out.append(f"Only {full.prompts} of the {MIN_PROMPTS} prompts that intervals need: no ranking to rely on.")
    if never := [n for n in chosen if (full.layers[n].preference.value or 0) <= 0]:
        out.append(f"Recommended by rank alone, though its preference is not above 0: {_listed(never)}.")
    for each in (full, proxy):
        if each and each.incomplete:
            out.append(f"Incomplete: {each.incomplete} ({each.measured.title}).")
    return out


def _said(name: str, full: Sensitivity, proxy: Sensitivity | None, chosen: tuple[int, ...]) -> list[str]:
    measured = full.measured
    better = "higher" if measured.better > 0 else "lower"
    out = [
        f"Study `{name}`, {full.prompts} prompts, mean and 95 % interval over prompts, above 0 where the layer "
        f"prefers Global-RoPE ({measured.title}: {better} is better). Global alone: the gain when this layer alone "
        "turns global, from all local. Local alone: the loss when it alone turns local, from all global. Preference: "
        f"the mean of both, of all layers over the same {full.layers[0].preference.n} samples (n)."
    ]
    if measured.title.endswith(EMBEDDED):
        out.append(f"{EMBEDDED} seen by the small judge trained on the embedded world.")
    surely = [layer.number for layer in full.ranked if layer.preference.low is not None and layer.preference.low > 0]
    settings = f"`method.global_layers=[{','.join(map(str, chosen))}]`"
    out.append(f"Recommended global layers, {len(chosen)} of {len(full.layers)}: {settings}.")
    if full.prompts >= MIN_PROMPTS:
        out.append(f"Layers whose preference is above 0 with the whole interval: {_listed(surely)}.")
    for each in (full, proxy) if proxy else (full,):
        (factor, power), title = scale_of(each), each.measured.title
        unit = " ".join(part for part in (power, each.measured.unit) if part)
        out.append(
            f"All layers global against all local, gain in {title}: {_text(each.whole, factor)} {unit}".strip() + "."
        )
    if proxy:
        parts = []
        for title, of in (
            ("preference", "preference"),
            ("global alone", "global_alone"),
            ("local alone", "local_alone"),
        ):
            rho, p, n = agreement(full, proxy, PARTS[of])
            parts.append(
                f"{title}: none (no ranks)" if rho is None else f"{title} {rho:.2f} (n = {n} layers, p = {p:.2g})"
            )
        out.append(
            f"Rank correlation (Spearman) of the one-pass proxy ({proxy.prompts} prompts, relative error of the "
            f"velocity) with {measured.title}: {'; '.join(parts)}. The proxy's own list of {len(chosen)}: "
            f"[{','.join(map(str, proxy.recommended(len(chosen))))}]."
        )
    for each in (full, proxy):
        if each and each.num_infinite:
            out.append(
                f"{each.num_infinite} samples are identical to their baseline under a condition (infinite "
                f"{each.measured.title}) and left out of the preference of all layers."
            )
    return out


def csv_text(full: Sensitivity, proxy: Sensitivity | None, chosen: tuple[int, ...]) -> str:
    """A row per layer, in order; `recommended` is read by +exp=rope_assignment."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    bounds = ("", "_low", "_high", "_n")
    names = [
        f"{prefix}{part}{bound}" for prefix in ("", "proxy_")[: 1 + bool(proxy)] for part in PARTS for bound in bounds
    ]
    writer.writerow(["layer", "block", "rank", "recommended", "paper", "measure", *names])
    ranks = {layer.number: rank for rank, layer in enumerate(full.ranked, 1)}
    for n, layer in enumerate(full.layers):
        values: list[str] = []
        for of in [layer, *([proxy.layers[n]] if proxy else [])]:
            values += [text for part in PARTS.values() for text in _cells(part(of))]
        flags = [str(int(n in there)) for there in (chosen, full.measured.paper)]
        block = "dual" if layer.dual else "single"
        writer.writerow([n, block, ranks[n], *flags, full.measured.title.rstrip(EMBEDDED).lower(), *values])
    return out.getvalue()


def _cells(of: Interval) -> list[str]:
    return [*("" if v is None else f"{v:.6g}" for v in (of.value, of.low, of.high)), str(of.n)]


def _text(of: Interval, factor: float) -> str:
    if of.value is None:
        return "–"
    value = f"{of.value * factor:+.3f}"
    return value if of.low is None or of.high is None else f"{value} [{of.low * factor:+.3f}, {of.high * factor:+.3f}]"


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, sorted(numbers))) or "none"


def main(
    study: Path,
    proxy: Path | None = None,
    metric: str = "lpips",
    size: int | None = None,
    out: Path | None = None,
) -> None:
    """Print the report and write its files, each whole, into `out` (by default report/ in the study).

    Raises StudyError where a study is not what it must be, CannotWrite if `out` is given and cannot be written.
    """
    full = sensitivity(measured_of_study(study, metric))
    other = None
    if proxy is not None:
        refuse_other_settings(study, proxy)
        other = sensitivity(measured_of_proxy(proxy))
    chosen = full.recommended(size)
    text = markdown(study_name(study), full, other, chosen)
    contents = {"md": text, "csv": csv_text(full, other, chosen)} | encoded(draw(full, other, chosen))
    files = {f"rope_sensitivity.{suffix}": content for suffix, content in contents.items()}
    write_and_print(files, text, study, out)


def command() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="a study of +exp=rope_sensitivity")
    parser.add_argument("--proxy", type=Path, help="a study of +exp=rope_proxy, to compare")
    parser.add_argument("--metric", default="lpips", help=f"{', '.join(METRICS)} (default: lpips)")
    parser.add_argument("--size", type=int, help="layers to recommend (default: as many as the paper's list has)")
    add_out(parser)
    arguments = parser.parse_args()
    main(arguments.study, arguments.proxy, arguments.metric, arguments.size, arguments.out)


if __name__ == "__main__":
    run(command)
