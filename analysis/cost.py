"""Projects costs: the FLOPs of a model's stages, and the upper bound of a schedule's speed-up.

`python -m analysis.cost` prints the stages of HunyuanVideo 13B in the paper's setting, and the costs that Table 1's
latencies imply. `python -m analysis.cost runs/table1` prints the bound of each condition's speed-up and the measured
speed-up, and writes report/cost.md and report/cost.csv. `--model embedded --set model.video.num_frames=33` prints the
stages of another model of conf.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.accelerators import accelerators_sheet
from analysis.bound import ABOVE
from analysis.latencies import SAME_VIDEO
from analysis.model_cost import flops_of_record, model_report
from analysis.output import Report, add_out, write_and_print
from analysis.render import Sheet, plain
from analysis.study import Study, StudyError, record_in
from analysis.table import Table, table_of
from vgdfr.flops import TEXT_TOKENS, Flops
from vgdfr_commands.start import run

# if a sample has all these settings, they and the schedule imply its passes and the compression module's work
COMPRESSION = ["method.k", "method.preview_steps", "method.spatial_levels", "method.merge_space"]
# these columns decide the steps on a shortened latent; the last is a digest of the schedule
DECIDES_REST = [
    *SAME_VIDEO, "method", *COMPRESSION, "method.denoise_renoise", "method.global_layers", "method.preview_latent",
    "method.residual", "method.keep_unmerged", "method.noise", "method.positions", "method.anchor",
    "method.full_steps", "method.full_from", "schedule",
]  # fmt: skip
SIZE = ["video.height", "video.width", "video.num_frames"]
STAGES = ["seconds.denoise_full", "seconds.denoise_compressed"]


def _compresses(samples: pd.DataFrame) -> pd.Series:
    return samples["schedule"].notna() & samples.reindex(columns=COMPRESSION).notna().all(axis=1)


def _own_steps(samples: pd.DataFrame) -> pd.Series:
    """Returns the number of steps of compressing samples that take another number than the baseline; NaN for others."""
    given = samples.reindex(columns=["method.steps"])["method.steps"].where(_compresses(samples))
    return pd.to_numeric(given, errors="coerce")


def _full_steps(samples: pd.DataFrame) -> pd.Series:
    """Returns the number of last steps on the full length of each sample, 0 for samples without the setting."""
    return pd.to_numeric(samples.reindex(columns=["method.full_steps"])["method.full_steps"]).fillna(0).astype(int)


def is_counted(samples: pd.DataFrame) -> pd.Series:
    """Returns whether the DiT's passes are known, from the record or, for an older record, from the settings.

    Older records do not know accelerators. They count the passes of a sample without a schedule in `passes`.
    """
    older = samples["accelerated"].isna() & samples["passes"].notna()
    plain_loop = samples["schedule"].isna() & (samples["role"].isin(("reference", "diagnostic")) | older)
    return samples["token_ratio"].notna() & (samples["dit_passes"].notna() | _compresses(samples) | plain_loop)


def projections(table: Table, overrides: Sequence[str] = (), text_tokens: int = TEXT_TOKENS) -> pd.DataFrame:
    """Returns the finished samples that have a finished baseline and known passes (`is_counted`), in table order.

    Columns: condition, prompt, seed, all columns of `Study.samples`, and the projected costs:

    flops: the FLOP model of the sample, a `vgdfr.flops.Flops`.
    compressed_steps, kept_latents, num_latents: the steps on the shortened latent, and its length of the full length.
    dit_flops: the passes that the record counts (`dit_passes`), or for an older record those that its settings imply.
    module_flops: the decoder and the encoder of the compression module, and the VAE's for a return to the full length.
    baseline_flops: the DiT passes of the baseline.
    dit_work: dit_flops over baseline_flops. It replaces the samples' column, which counts tokens.
    cost_ratio: the cost of a pass on the shortened latent over the cost of a full pass, by the FLOP model.
    measured_cost_ratio: the same, from the seconds of the sample's compressed steps and of its baseline's steps. Both
        ratios are NaN if nothing was merged. This one is also NaN without a speed-up, or without such stages.
    bound: the speed-up if only the DiT took time. projected: the same with the compression module.

    Raises StudyError if there are none, or if the FLOPs of their model are not known.
    """
    samples = table.samples.rename_axis(["condition", "prompt", "seed"]).reset_index()
    samples = samples.assign(**{name: np.nan for name in (*COMPRESSION, *STAGES) if name not in samples})
    is_baseline, key = samples["role"] == "reference", ["video", "prompt", "seed"]
    of_baseline = {"dit_passes": "full_passes", "seconds.denoise_full": "full_s"}
    baselines = samples.loc[is_baseline, [*key, *of_baseline]].rename(columns=of_baseline)
    known = samples[~is_baseline & is_counted(samples)].merge(baselines, on=key)
    if known.empty:
        raise StudyError(
            "no finished sample has both a finished baseline to compare with and a record of what the DiT did; run the "
            "sweep again"
        )
    checkpoint = [name for name in known if name.startswith("checkpoint.") and name != "checkpoint.device"]
    made = []
    for _, group in known.groupby(["model", "model_identity", *checkpoint, *SIZE], sort=False, dropna=False):
        # not all of a checkpoint is in columns; a record that tells the model's layers comes first
        record = record_in(group.sort_values("layers")["folder"].iloc[0])
        made.append(_projected(group, flops_of_record(record, overrides, text_tokens)))
    return pd.concat(made).sort_index()


def _each(function: Callable[..., float], *columns: pd.Series) -> pd.Series:
    """Returns the function's value for each row of `columns`, computed once for equal rows."""
    rows = list(zip(*columns, strict=True))
    values = {row: function(*row) for row in dict.fromkeys(rows)}
    return pd.Series([values[row] for row in rows], columns[0].index, dtype=float)


def _projected(samples: pd.DataFrame, flops: Flops) -> pd.DataFrame:
    """Returns the samples of one FLOP model with the columns of `projections`."""
    n, full_pass, steps = flops.num_latents, flops.dit(flops.num_latents), samples["video.num_inference_steps"]
    k, preview_steps, levels, space = (samples[name] for name in COMPRESSION)
    kept, compresses = (samples["token_ratio"] * n).round().astype(int), _compresses(samples)
    own_steps = _own_steps(samples).fillna(steps)
    full_steps = _full_steps(samples)
    merged, compressed_steps = kept < n, (own_steps - k - full_steps).where(compresses, 0).astype(int)

    def module_of(latents: int, levels: float, trips: float, through_vae: bool) -> float:
        merges = flops.encode(latents, int(levels)) + trips * flops.encode(n, int(levels)) if latents < n else 0
        lengthens = flops.decode(latents) + flops.encode(n, 0) if latents < n and through_vae else 0
        return flops.decode(levels=int(levels)) + merges + lengthens

    def of_passes(text: str) -> float:
        return flops.of_passes(json.loads(text))

    full_from = samples.reindex(columns=["method.full_from"])["method.full_from"]
    through_vae = (full_steps > 0) & (full_from != "preview")
    in_pixels = compresses & (space == "pixel")
    given = samples.reindex(columns=["method.residual"])["method.residual"]
    trips = (given.notna() & (given != "none")).astype(float)  # the residual encodes the whole preview, too
    module = _each(module_of, kept[in_pixels], levels[in_pixels], trips[in_pixels], through_vae[in_pixels])
    module = module.reindex(samples.index, fill_value=0.0)
    compressed = (k + preview_steps - 1 + full_steps) * full_pass + compressed_steps * _each(flops.dit, kept)
    dit = compressed.where(compresses, samples["passes"].fillna(steps) * full_pass)
    own, full = samples["dit_passes"].dropna(), samples["full_passes"][samples["dit_passes"].notna()].dropna()
    dit = _each(of_passes, own).reindex(samples.index).fillna(dit)
    full = _each(of_passes, full).reindex(samples.index).fillna(steps * full_pass)
    measured = samples["seconds.denoise_compressed"] / compressed_steps / (samples["full_s"] / steps)
    return samples.assign(
        flops=pd.Series([flops] * len(samples), samples.index),
        compressed_steps=compressed_steps,
        kept_latents=kept,
        num_latents=n,
        dit_flops=dit,
        module_flops=module,
        baseline_flops=full,
        dit_work=dit / full,
        cost_ratio=_each(flops.cost_ratio, kept).where(merged),
        measured_cost_ratio=measured.where(merged & (compressed_steps > 0) & samples["speedup"].notna()),
        bound=full / dit,
        projected=full / (dit + module),
    )


def study_savings(projected: pd.DataFrame, num_baselines: int) -> tuple[float, float, float]:
    """Returns the sweep's DiT FLOPs over all of its samples, in baselines.

    The first number is of samples that are each computed alone. The second is of samples that reuse their baseline's
    steps up to their compression. For the third, samples with equal schedules share the other steps, too.
    """
    # only a compression after k of the baseline's steps branches off it; an accelerated sample shares no steps
    branches = (projected["compressed_steps"] > 0) & (projected["accelerated"].fillna("{}") == "{}")
    branches &= _own_steps(projected).isna()
    first_steps = (projected["method.k"] / projected["video.num_inference_steps"]).where(branches, 0.0)
    rests = projected["dit_work"] - first_steps
    # a sample in which nothing was merged is its baseline
    rests = rests[~branches | (projected["kept_latents"] < projected["num_latents"])]
    filled_by = projected.reindex(columns=["method.interpolator"])["method.interpolator"].where(
        _full_steps(projected) > 0
    )
    deciding = projected.reindex(columns=DECIDES_REST)
    deciding = deciding.assign(interpolator=filled_by, shared=projected["folder"].mask(branches))
    once = rests[~deciding.loc[rests.index].duplicated()]
    alone, prefix_shared, equal_shared = (parts.sum() for parts in (projected["dit_work"], rests, once))
    return num_baselines + alone, num_baselines + prefix_shared, num_baselines + equal_shared


def csv_text(projected: pd.DataFrame) -> str:
    """Returns a CSV line per projected sample. A study of older records has no column for the DiT's work."""
    flops = ["dit_flops", "module_flops", "baseline_flops"]
    named = projected.assign(
        condition=projected["slug"],
        seed_index=projected["seed"],
        above_bound=(projected["speedup"] > projected["bound"]).astype(int),
        **{name: projected[name].map("{:.0f}".format) for name in flops},
    )
    columns = ["condition", "prompt", "seed_index", "kept_latents", "num_latents", *flops, "cost_ratio"]
    columns += ["measured_cost_ratio", "bound", "projected", "speedup", "above_bound"]
    columns += ["dit_work"] * bool(projected["dit_passes"].notna().any())
    return named[columns].to_csv(index=False, float_format="%.6g", lineterminator="\n")


def study_sheet(table: Table, projected: pd.DataFrame) -> Sheet:
    """Returns each condition's cost, bound and measured speed-up, over the samples that have a speed-up."""
    counted, timed = bool(projected["dit_passes"].notna().any()), projected[projected["speedup"].notna()]
    body, groups = [], dict(list(timed.groupby("condition")))
    for row in (row for row in table.rows if row.condition in groups):
        own, measured = groups[row.condition], row.mean("speedup").value or 0.0
        base, dit, module = own[["baseline_flops", "dit_flops", "module_flops"]].sum()
        ratios = own[["cost_ratio", "measured_cost_ratio"]].mean()
        body.append(plain(
            row.title, str(len(own)), f"{(own['kept_latents'] / own['num_latents']).mean():.2f}",
            *[f"{dit / base:.3f}"] * counted, *ratios.map("{:.3f}".format).where(ratios.notna(), "–"),
            f"{base / dit:.2f}", f"{base / (dit + module):.2f}",
            f"{measured:.2f}{' ' + ABOVE if round(measured * dit / base, 2) > 1 else ''}",
            str((own["speedup"] > own["bound"]).sum()),
        ))  # fmt: skip
    header = ["Method", "n", "Tokens", *["DiT work, FLOPs"] * counted, "cost of a pass, FLOPs"]
    header += ["cost of a pass, measured", "bound", "projected", "Speedup", "samples above bound"]
    notes = _notes(table, projected, counted, len(projected) - len(timed))
    title = f"Study `{table.study.name}`: what its schedules can gain"
    return Sheet(title=title, header=tuple(header), rows=tuple(body), notes=tuple(notes))


def _notes(table: Table, projected: pd.DataFrame, counted: bool, untimed: int) -> list[str]:
    alone, prefix, equal = study_savings(projected, sum(row.n for row in table.rows if row.is_reference))
    others = [row for row in table.rows if not row.is_reference]
    free = [row.title for row in others if row.n and not row.present("token_ratio")]
    unknown = [row.title for row in others if row.title not in free and not is_counted(row.samples).all()]
    first = (
        "Cost of a pass: the cost on the shortened latent as a share of a full pass, over the samples that were "
        "merged. Bound: the baseline's FLOPs over the sample's, which is the speed-up if only the DiT took time. "
        "Projected: the same with the compression module, at equal FLOP/s. "
        f"{ABOVE}: the measured speed-up is above its bound, so times were not taken alike, or a short pass runs at "
        "more FLOP/s than a long one."
    )
    sweep = (
        f"DiT FLOPs of the sweep, in baselines: {alone:.1f} with each sample made alone, {prefix:.1f} with the first "
        f"steps shared ({alone / prefix:.2f} times fewer), {equal:.1f} with equal schedules shared, too "
        f"({alone / equal:.2f} times fewer)."
    )
    work = (
        "DiT work: the FLOPs of the passes that the DiT made, over the FLOPs of the baseline's passes. The column "
        "`dit_work` of the study's samples counts tokens instead."
    )
    timed = f" {untimed} samples were not timed as the others. They count in the sweep's FLOPs alone."
    left_out = f"Left out, because their records do not say what the DiT did: {', '.join(unknown)}."
    no_cost = f"Left out, because no generator makes their videos in this way: {', '.join(free)}."
    mixture = [table.mixture] if table.mixture else []
    return [
        first + timed * bool(untimed),
        sweep,
        *[work] * counted,
        *[left_out] * bool(unknown),
        *[no_cost] * bool(free),
        *mixture,
    ]


def report(
    study: Study, overrides: Sequence[str] = (), text_tokens: int = TEXT_TOKENS, allow_mixed: bool = False
) -> Report:
    """Returns the study's costs and the counts of its accelerators. cost.csv has a line per sample."""
    table = table_of(study, allow_mixed=allow_mixed)
    projected = projections(table, overrides, text_tokens)
    sheets = (study_sheet(table, projected), accelerators_sheet(table))
    return Report("cost", tuple(filter(None, sheets)), {"cost.csv": csv_text(projected)})


def command() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, nargs="?", help="a study's folder; without it a model's stages are printed")
    parser.add_argument("--model", help="a model of conf/model (default: hunyuan_video)")
    parser.add_argument("--kept", type=int, nargs="+", default=[], help="numbers of latent frames after compression")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                        help="a setting, as for bench.sweep; may be given several times")  # fmt: skip
    parser.add_argument(
        "--text-tokens", type=int, default=TEXT_TOKENS, help="text tokens of a prompt (default: %(default)s)"
    )
    parser.add_argument("--allow-mixed", action="store_true", help="allow samples of different devices together")
    add_out(parser)
    given = parser.parse_args()
    if given.study is None and given.out is not None:
        parser.error("--out belongs to a study's report; a model's stages are only printed")
    if given.study is not None and (given.model or given.kept):
        parser.error("--model and --kept belong to a model's stages; a study has its own model and lengths")
    if given.study is None:
        print(model_report(given.model or "hunyuan_video", given.set, given.kept, given.text_tokens).text)
        return
    made = report(Study(given.study), given.set, given.text_tokens, given.allow_mixed)
    write_and_print(made, given.study, given.out)


if __name__ == "__main__":
    run(command)
