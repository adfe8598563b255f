"""Projects costs: the FLOPs of a model's stages, and the upper bound of a schedule's speed-up.

`python -m analysis.cost` prints the stages of HunyuanVideo 13B in the paper's setting, and the costs that Table 1's
latencies imply. `python -m analysis.cost runs/table1` prints the bound of each condition's speed-up and the measured
speed-up, and writes report/cost.md and report/cost.csv. `--model embedded --set model.video.num_frames=33` prints the
stages of another model of conf.
"""

import argparse
import csv
import io
from collections.abc import Sequence
from pathlib import Path

from analysis import sheet
from analysis.accelerators import accelerators_sheet
from analysis.conditions import Line, lines
from analysis.devices import mixture
from analysis.load import MORE, StudyError, load
from analysis.output import add_out, study_name, write_and_print
from analysis.projection import (
    FlopsOfStudy,
    Projection,
    bound,
    flops_of,
    implied_cost,
    is_counted,
    model_of,
    paper_savings,
    paper_table,
    projections,
    study_savings,
)
from analysis.sheet import Sheet, plain
from vgdfr.flops import TEXT_TOKENS, Flops
from vgdfr.schedule import uniform
from vgdfr_commands.start import run

ABOVE = "▲"  # marks a speed-up above its bound


def paper_sheet(flops: Flops, steps: int) -> Sheet:
    """Returns the cost per compressed step that Table 1's latencies imply, its tokens, and the bounds."""
    baseline_s, rows = paper_table()
    fewest = {
        factor: len(uniform(flops.num_frames, factor, frames_per_latent=flops.frames_per_latent).kept_latents)
        for factor in (2, 4)
    }
    header = ["k", "θ", "Latency (s)", "Speedup", "cost per compressed step", "latent frames", "tokens"]
    header += [f"bound, factor {f} ({n} of {flops.num_latents})" for f, n in fewest.items()]
    body = []
    for row in rows:
        r = implied_cost(row, baseline_s, steps)
        kept = flops.latents_of_cost(r)
        bounds = [bound(steps, row.k, flops.cost_ratio(n)) for n in fewest.values()]
        body.append(plain(
            str(row.k), f"{row.theta:g}", f"{row.latency_s:.2f}", f"{row.speedup:.2f}", f"{r:.3f}", f"{kept:.1f}",
            f"{kept / flops.num_latents:.2f}",
            *(f"{b:.2f}{' ' + ABOVE if row.speedup > round(b, 2) else ''}" for b in bounds),
        ))  # fmt: skip
    saved = paper_savings(baseline_s, rows, steps)
    return Sheet(
        title="The paper's Table 1",
        header=tuple(header),
        rows=tuple(body),
        notes=(
            f"Cost per compressed step: (latency - k t) / (({steps} - k) t), t = {baseline_s:.2f} s / {steps}; all "
            "that is no full step counts in it, so it is from above. Latent frames and tokens: those at which a pass "
            "costs so much by the FLOP model. Bound: every block merged, by at most 2 or 4 frames into one, and "
            f"nothing but the DiT takes time. {ABOVE}: the printed speed-up is above that bound: more was merged.",
            f"A sweep of Table 1 at these costs, DiT passes for one prompt: {saved.alone:.1f} each sample alone, "
            f"{saved.prefix_shared:.1f} with the first steps shared: {saved.alone / saved.prefix_shared:.2f} times "
            "fewer FLOPs. What equal schedules save beyond that, mean latencies do not tell; a study's records do.",
        ),
    )


def stages_sheet(name: str, flops: Flops, steps: int, k: int, levels: int, kept: Sequence[int]) -> Sheet:
    """Returns the FLOPs of each stage at the `kept` lengths of the shortened latent, and the speed-ups they allow."""
    body, n = [], flops.num_latents
    prefix = k * flops.count_dit(n)
    for latents in kept:
        whole = latents == n
        rest = (steps - k) * flops.count_dit(latents)
        module = 0 if whole else flops.decode(levels=levels) + flops.encode(latents, levels)
        denoised = prefix + rest + module
        reduced = ["–", "–"] if whole else [_tera(flops.decode(levels=levels)), _tera(flops.encode(latents, levels))]
        body.append(plain(
            f"{latents} of {n}", *(_tera(v) for v in (flops.count_dit(latents), prefix, rest)), *reduced,
            _tera(flops.decode(latents)), f"{flops.cost_ratio(latents):.3f}",
            f"{bound(steps, k, flops.cost_ratio(latents)):.2f}", f"{steps * flops.count_dit(n) / denoised:.2f}",
        ))  # fmt: skip
    c0, c1, c2 = (float(c) for c in flops.dit_coefficients)
    header = ["latent frames", "DiT pass", f"{k} full steps", f"{steps - k} steps on them", "compression decoder"]
    header += ["compression encoder", "VAE decode", "cost of a pass", "bound", "projected"]
    return Sheet(
        title=f"{name}: {flops.num_frames} frames of {flops.width}x{flops.height}, {steps} steps, k = {k}",
        header=tuple(header),
        rows=tuple(body),
        notes=(
            f"In TFLOP, a multiplication with its addition as two. A DiT pass on n latent frames: {_tera(c0)} + "
            f"{_tera(c1)} n + {_tera(c2)} n² ({flops.text_tokens} text tokens); text encoders, once a prompt: "
            f"{_tera(flops.text())}. Bound: the speed-up of the denoising loop if only the DiT took time; projected: "
            "with the compression module, at equal FLOP/s.",
        ),
    )


def _tera(flops: float) -> str:
    value = flops / 1e12
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


CSV_COLUMNS = (
    "condition", "prompt", "seed_index", "kept_latents", "num_latents", "dit_flops", "module_flops", "baseline_flops",
    "cost_ratio", "measured_cost_ratio", "bound", "projected", "speedup", "above_bound",
)  # fmt: skip


Projected = Sequence[tuple[Line, Sequence[Projection]]]


def counts_passes(projected: Projected) -> bool:
    """Whether any record counts the DiT's passes. Reports of older studies have no column for the DiT's work."""
    return any(p.row.record.get("dit_passes") for _, samples in projected for p in samples)


def csv_text(projected: Projected) -> str:
    """Returns a CSV line per projected sample."""
    out, counted = io.StringIO(), counts_passes(projected)
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*CSV_COLUMNS, *["dit_work"] * counted])
    for _, samples in projected:
        for p in samples:
            ratios = [_number(r) for r in (p.cost_ratio, p.measured_cost_ratio)]
            gains = [_number(g) for g in (p.bound, p.projected, p.speedup)]
            flops = [f"{f:.0f}" for f in (p.dit_flops, p.module_flops, p.baseline_flops)]
            settings = [p.row.record["slug"], *p.row.sample_id, p.kept_latents, p.num_latents]
            work = [_number(p.dit_work)] * counted
            writer.writerow([*settings, *flops, *ratios, *gains, int((p.speedup or 0) > p.bound), *work])
    return out.getvalue()


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def study_sheet(projected: Projected, num_baselines: int, study: str) -> Sheet:
    """Returns each condition's cost, bound and measured speed-up, over the samples that have a speed-up."""
    body, left_out, counted = [], 0, counts_passes(projected)
    for line, every in projected:
        samples = [p for p in every if p.speedup is not None]
        left_out += len(every) - len(samples)
        measured = line.means["speedup"].value
        if measured is None or not samples:
            continue
        tokens = sum(p.kept_latents / p.num_latents for p in samples) / len(samples)
        base, dit, module = (
            sum(v) for v in zip(*((p.baseline_flops, p.dit_flops, p.module_flops) for p in samples), strict=True)
        )
        single = sum((p.speedup or 0) > p.bound for p in samples)
        body.append(plain(
            line.title, str(len(samples)), f"{tokens:.2f}", *[f"{dit / base:.3f}"] * counted,
            *(_mean_ratio([getattr(p, name) for p in samples]) for name in ("cost_ratio", "measured_cost_ratio")),
            f"{base / dit:.2f}", f"{base / (dit + module):.2f}",
            f"{measured:.2f}{' ' + ABOVE if measured > base / dit else ''}", str(single),
        ))  # fmt: skip
    mixed = mixture([p.row for _, samples in projected for p in samples])
    saved = study_savings([p for _, samples in projected for p in samples], num_baselines)
    assert saved.equal_shared is not None
    header = ["Method", "n", "Tokens", *["DiT work"] * counted, "cost of a pass, FLOPs", "cost of a pass, measured"]
    header += ["bound", "projected", "Speedup", "samples above bound"]
    unknown = [line.title for line, _ in projected if not all(is_counted(row.record) for row in line.rows)]
    return Sheet(
        title=f"Study `{study}`: what its schedules can gain",
        header=tuple(header),
        rows=tuple(body),
        notes=(
            "Cost of a pass: on the shortened latent, as a share of a full one, over the samples that were merged. "
            "Bound: baseline's FLOPs over the sample's if only the DiT took time; projected: with the compression "
            "module, at equal FLOP/s. "
            f"{ABOVE}: the measured speed-up is above its bound, so times were not taken alike, or a short pass "
            "runs at more FLOP/s than a long one."
            + f" {left_out} samples were not timed as the others, and are in the sweep's FLOPs alone."
            * bool(left_out),
            f"DiT FLOPs of the sweep, in baselines: {saved.alone:.1f} each sample alone, {saved.prefix_shared:.1f} "
            f"with the first steps shared ({saved.alone / saved.prefix_shared:.2f} times fewer), "
            f"{saved.equal_shared:.1f} with equal schedules shared, too "
            f"({saved.alone / saved.equal_shared:.2f} times fewer).",
            *["DiT work: FLOPs of the passes that the DiT made, over those of the baseline's."] * counted,
            *[f"Left out, as their records do not say what the DiT did: {', '.join(unknown)}."] * bool(unknown),
            *([mixed] if mixed else []),
        ),
    )


def _mean_ratio(values: Sequence[float | None]) -> str:
    present = [v for v in values if v is not None]
    return f"{sum(present) / len(present):.3f}" if present else "–"


def study_cost(
    study: Path, overrides: Sequence[str] = (), text_tokens: int = TEXT_TOKENS, allow_mixed: bool = False
) -> tuple[str, str]:
    """Returns the study's report in Markdown, and its samples as CSV."""
    table = lines(load(study, light=True, also=MORE), allow_mixed=allow_mixed)
    projected = projections(table, FlopsOfStudy(overrides, text_tokens))
    num_baselines = sum(line.n for line in table if line.is_reference)
    made = [study_sheet(projected, num_baselines, study_name(study)), accelerators_sheet(table)]
    return "\n".join(sheet.markdown(each) for each in made if each), csv_text(projected)


def model_cost(
    name: str, overrides: Sequence[str] = (), kept: Sequence[int] = (), text_tokens: int = TEXT_TOKENS
) -> str:
    """Returns the model's stages, and for the paper's model and setting also the costs that Table 1 implies."""
    condition = model_of(name, overrides)
    video, method = condition.video, condition.method
    spec = {"height": video.height, "width": video.width, "num_frames": video.num_frames}
    flops = flops_of(name, None, spec, overrides, text_tokens)
    k, levels = getattr(method, "k", 5), getattr(method, "spatial_levels", 1)
    n = flops.num_latents
    if wrong := [latents for latents in kept if not 1 <= latents <= n]:
        raise StudyError(f"--kept must be 1 to {n} latent frames for {video.num_frames} frames, got {wrong}")
    if not kept:
        kept = sorted(
            {
                *(
                    len(uniform(video.num_frames, f, frames_per_latent=flops.frames_per_latent).kept_latents)
                    for f in (4, 2)
                ),
                -(-3 * n // 4),
                n,
            }
        )
    made = [stages_sheet(name, flops, video.num_inference_steps, k, levels, kept)]
    paper = (name, *spec.values(), video.num_inference_steps) == ("hunyuan_video", 544, 960, 97, 50)
    made += [paper_sheet(flops, video.num_inference_steps)] if paper else []
    return "\n".join(map(sheet.markdown, made))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, nargs="?", help="a study's folder; without one, a model's stages")
    parser.add_argument("--model", help="a model of conf/model (default: hunyuan_video)")
    parser.add_argument("--kept", type=int, nargs="+", default=[], help="latent frames after compression")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="as for bench.sweep; repeatable"
    )
    parser.add_argument("--text-tokens", type=int, default=TEXT_TOKENS, help="of a prompt (default: %(default)s)")
    parser.add_argument("--allow-mixed", action="store_true", help="samples made on different devices together")
    add_out(parser)
    arguments = parser.parse_args()
    if arguments.study is None and arguments.out is not None:
        parser.error("--out is of a study's report; a model's stages are only printed")
    if arguments.study is not None and (arguments.model or arguments.kept):
        parser.error("--model and --kept are of a model's stages; a study has its own model and lengths")
    if arguments.study is None:
        print(model_cost(arguments.model or "hunyuan_video", arguments.set, arguments.kept, arguments.text_tokens))
        return
    text, samples = study_cost(arguments.study, arguments.set, arguments.text_tokens, arguments.allow_mixed)
    write_and_print({"cost.md": text, "cost.csv": samples}, text, arguments.study, arguments.out)


def command() -> None:
    main()


if __name__ == "__main__":
    run(command)
