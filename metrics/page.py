"""The documentation of the metrics, from the metrics themselves: `python -m metrics.page > docs/metrics.md`."""

import inspect
from pathlib import Path

from metrics import METRICS, PROFILES, Metric
from metrics.embedded import CLIP
from metrics.groups import groups
from vgdfr_commands.start import run

HEAD = """# Metrics

Written by `python -m metrics.page` from the metrics themselves; a test keeps it so.

A metric is a fact about one video, or about a video and its reference: a value, and where it makes sense one for each
frame or each step between frames. Means over videos, intervals and pairing are the analysis's. It is computed from
uint8 RGB frames `[t, h, w, 3]`, read from a lossless file; a lossy one is said to be lossy wherever its scores are
printed. Videos of unequal length, size or frame rate are an error, never cut or resized to fit. A metric that cannot be
computed is null with the reason, never 0.

Every value is stored with the metric's id: its name, version, preprocessing and the sha256 of its weights. When any of
these changes, `python -m bench.score` computes it again; nothing is generated again. Each sample's score also has its
value over the frames that the schedule kept and over the interpolated ones; a step between frames counts as kept where
both its ends were. `python -m analysis.table1 STUDY --frames kept` makes a table of them.

`python -m metrics REFERENCE GENERATED` scores two files, two folders (paired by the files' paths within them) or two
conditions of a study (paired by prompt and seed). A pair that does not fit, or a damaged file, costs the scores of that
pair alone: its row says why, and the exit status is 1, as it is where a metric has no value for any pair. --metrics
takes names and the groups of conf/metrics ({groups}), comma between.

In a folder that holds a `metrics.py` or `metrics/` of your own, `python -m metrics` runs that file, because Python
looks into the current folder first. `vgdfr-metrics REFERENCE GENERATED` is the same command and does not look there.
"""

BY_NAME = """## clipsim:SOURCE and clip_temp:SOURCE

The same through a CLIP model of your own, loaded by open_clip: SOURCE is a folder in its local-dir format, or
MODEL@FILE of weights, such as `clipsim:ViT-L-14-quickgelu@ViT-L-14.pt` (weights trained with quick GELU, OpenAI's among
them, need a model whose name says so). The id holds the hash of the weights.

## pyiqa:NAME

Any no-reference metric of [pyiqa](https://pypi.org/project/pyiqa/) by its name there, such as `pyiqa:niqe`: its mean
over frames. An optional extra, `pip install 'vgdfr[pyiqa]'`, for noncommercial use only (PolyForm Noncommercial 1.0.0).
pyiqa downloads its weights itself when first used; the id holds its version, not their hash. Its metrics of sets of
images (`fid`, `inception_score`), those with a reference and `clipscore` are refused.

## As other projects compute them

`python -m metrics REF GEN --profile NAME` prints these beside the metrics above, to compare with numbers printed
elsewhere. They are not comparable with one another.
"""


def page() -> str:
    """The page as Markdown."""
    of_profiles = {metric.name for profile in PROFILES.values() for metric in profile}
    own = [metric for name, metric in METRICS.items() if name not in of_profiles]
    parts = [
        HEAD.format(groups=", ".join(groups())),
        "## In short\n",
        _overview(own),
        *(_section(metric, "##") for metric in own),
    ]
    parts.append(BY_NAME)
    for name, profile in PROFILES.items():
        parts += [f"### {name}\n", *(_section(metric, "####") for metric in profile)]
    return "\n".join(parts)


def _overview(metrics: list[Metric]) -> str:
    rows = [f"| [{m.name}](#{m.name}) | {m.unit or '–'} | {m.range} | {_direction(m)} | {_needs(m)} |" for m in metrics]
    return "\n".join(["| metric | unit | range | better | needs |", "|---|---|---|---|---|", *rows, ""])


def _section(metric: Metric, level: str) -> str:
    definition = metric.definition or inspect.getdoc(metric.compute) or ""
    lines = [
        f"{level} {metric.name}\n",
        f"{' '.join(definition.split())}\n",
        f"- Range: {metric.range}{f' {metric.unit}' if metric.unit in ('dB', 'px/frame') else ''}; better: "
        f"{_direction(metric)}; needs: {_needs(metric)}; version {metric.version}.",
        f"- Source: {metric.source}.",
        f"- It cannot tell {metric.cannot_tell}.",
        *[f"- `python -m metrics` shows {metric.shown_with} beside it."] * bool(metric.shown_with),
    ]
    return "\n".join(lines) + "\n"


def _direction(metric: Metric) -> str:
    return {True: "higher", False: "lower", None: "neither"}[metric.higher_is_better]


def _needs(metric: Metric) -> str:
    weights = metric.weights
    if isinstance(weights, Path):
        name = "the embedded CLIP" if weights == CLIP else "the embedded AlexNet trunk"
    else:
        name = weights.name if weights else ""
    needs = ["a reference"] * metric.needs_reference + ["the prompt"] * metric.needs_prompt + [name] * bool(name)
    return ", ".join(needs) or "nothing"


def command() -> None:
    print(page(), end="")


if __name__ == "__main__":
    run(command)
