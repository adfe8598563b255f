"""Writes the documentation of the metrics: `python -m metrics.page > docs/metrics.md`."""

from pathlib import Path

from metrics import METRICS, PROFILES, Metric
from metrics.embedded import CLIP
from metrics.groups import GROUPS, groups
from vgdfr_commands.start import run

HEAD = """# Metrics

`python -m metrics.page` writes this page from the metrics themselves, and a test compares both.

A metric is a fact about one video, or about a video and its reference. It has a value, and many metrics also have a
value for each frame or for each step between frames. The analysis computes means over videos, intervals and pairing. A
metric is computed from uint8 RGB frames `[t, h, w, 3]` of a lossless file. Wherever scores of a lossy file are printed,
a note says so. Videos of unequal length, size or frame rate are an error; they are never cut or resized to fit. A
metric that cannot be computed is null with the reason, never 0.

Every value is stored with the metric's id: its name, version, preprocessing and the sha256 of its weights. When one of
these changes, `python -m bench.score` computes the value again; no video is generated again. The score of a sample also
has a value over the frames that the schedule kept, and one over the interpolated frames. A step between frames counts
as kept if both its ends were kept. `python -m analysis.table1 STUDY --frames kept` makes a table of these values.

`python -m metrics REFERENCE GENERATED` scores two files, two folders (paired by the files' paths within them) or two
conditions of a study (paired by prompt and seed). A pair that does not fit, or a damaged file, costs the scores of that
pair alone: its row gives the reason, and the exit status is 1. The exit status is also 1 if a metric has no value for
any pair. --metrics takes names, [groups](#groups) and dotted paths of [metrics of your own](extending.md#a-metric),
separated by commas.

In a folder that holds a `metrics.py` or `metrics/` of your own, `python -m metrics` runs that file, because Python
looks into the current folder first. `vgdfr-metrics REFERENCE GENERATED` is the same command and does not look there.
"""

GROUPS_ARE = """A group is a name for several metrics. `--metrics` of `python -m metrics` and of `python -m bench.score`
takes groups, and so does a sweep: `metrics=paper`, or a list such as `metrics=[pixel,lpips]`.
"""

BY_NAME = """## clipsim:SOURCE and clip_temp:SOURCE

These are the same metrics with a CLIP model of your own, which open_clip loads. SOURCE is a folder in open_clip's
local-dir format, or MODEL@FILE of weights, such as `clipsim:ViT-L-14-quickgelu@ViT-L-14.pt`. Weights that were trained
with quick GELU, such as OpenAI's, need a MODEL with quickgelu in its name. The id holds the hash of the weights.

## pyiqa:NAME

NAME is any no-reference metric of [pyiqa](https://pypi.org/project/pyiqa/), such as `pyiqa:niqe`. The value is its mean
over frames. It needs the optional extra `pip install 'vgdfr[pyiqa]'`, which is for noncommercial use only (PolyForm
Noncommercial 1.0.0). pyiqa downloads the weights itself when they are first used; the id holds pyiqa's version, not the
weights' hash. Metrics of sets of images (`fid`, `inception_score`), metrics with a reference, and `clipscore` are
refused.

## Your own

The dotted path of a metric in a file of yours is a name, too, such as `my_pkg.sharpness`:
[docs/extending.md](extending.md#a-metric) has a recipe.

## As other projects compute them

`python -m metrics REF GEN --profile NAME` also prints these metrics, to compare with the numbers that other projects
print. Do not compare them with one another.
"""


def page() -> str:
    """Returns the page as Markdown."""
    of_profiles = {metric.name for profile in PROFILES.values() for metric in profile}
    own = [metric for name, metric in METRICS.items() if name not in of_profiles]
    parts = [
        HEAD,
        "## In short\n",
        _overview(own),
        _groups(),
        *(_section(metric, "##") for metric in own),
    ]
    parts.append(BY_NAME)
    for name, profile in PROFILES.items():
        parts += [f"### {name}\n", *(_section(metric, "####") for metric in profile)]
    return "\n".join(parts)


def _overview(metrics: list[Metric]) -> str:
    rows = [
        f"| [{m.name}](#{m.name}) | {m.title} | {m.unit or '–'} | {m.range} | {_direction(m)} | {_needs(m)} |"
        for m in metrics
    ]
    head = ["| metric | title in tables | unit | range | better | needs |", "|---|---|---|---|---|---|"]
    return "\n".join([*head, *rows, ""])


def _groups() -> str:
    lines = [f"- **{name}**: {', '.join(GROUPS[name].names)}. {GROUPS[name].description}" for name in groups()]
    return "\n".join(["## Groups\n", GROUPS_ARE, *lines, ""])


def _section(metric: Metric, level: str) -> str:
    unit = f" {metric.unit}" if metric.unit in ("dB", "px/frame") else ""
    lines = [
        f"{level} {metric.name}\n",
        f"{' '.join(metric.description.split())}\n",
        f"- Title: {metric.title}. Range: {metric.range}{unit}; better: {_direction(metric)}; needs: {_needs(metric)}; "
        f"version {metric.version}.",
        f"- Source: {metric.source}.",
        f"- It cannot tell {metric.cannot_tell}.",
        *[f"- `python -m metrics` shows {metric.shown_with} next to it."] * bool(metric.shown_with),
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
    """Prints the page."""
    print(page(), end="")


if __name__ == "__main__":
    run(command)
