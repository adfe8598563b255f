"""Refuses prompts and metrics that do not belong to the model's world, such as toy captions for the 13B model."""

from collections.abc import Sequence

from bench.plan.prompts import EMBEDDED, OPEN, Prompts, VBenchPrompts
from metrics import named
from vgdfr import Model
from vgdfr.embedded import CHECKPOINT, remark


def check(model: str, world: str, prompts: Prompts | VBenchPrompts, metrics: Sequence[str]) -> None:
    """Raises ValueError that names all prompts and metrics outside the `world` of the model called `model`.

    Prompts from a file belong to every world. So do metrics that do not use the small judge. Also raises ValueError for
    a metric that is unknown or cannot be imported.
    """
    if world not in (EMBEDDED, OPEN):
        raise ValueError(f"model.world must be {EMBEDDED} or {OPEN}, got {world!r}")
    judged = [metric.name for metric in named(metrics) if metric.embedded]
    found = []
    if prompts.world == EMBEDDED != world:
        found.append(
            f"the prompts are captions of the embedded world, and model={model} is not of that world (its "
            f"model.world is {world}); expected prompts=paper, prompts=vbench or prompts=file"
        )
    if prompts.world == OPEN != world:
        found.append(
            f"the prompts are VBench's, and model={model} knows only the few words of the embedded world; "
            "expected prompts=embedded or prompts=file"
        )
    if judged and world != EMBEDDED:
        found.append(
            f"the metrics {', '.join(judged)} look through the small judge of the embedded world, and model={model} is "
            f"not of that world (its model.world is {world}); expected metrics=paper or metrics=pixel"
        )
    if found:
        raise ValueError("; ".join([*found, "to run it all the same, add allow_mismatch=true"]))


def remarks(model: Model, prompts: Prompts | VBenchPrompts) -> list[str]:
    """Returns warnings about the sweep's prompts: unknown words and ignored fields.

    Returns no warnings if VBench's list is not downloaded yet.
    """
    if prompts.missing():
        return []
    said = []
    if isinstance(prompts, Prompts) and (unused := prompts.unused_fields()):
        said.append(f"{prompts.source}: these fields are ignored: {', '.join(unused)}")
    if model.place == str(CHECKPOINT) and (unknown := remark([prompt.text for prompt in prompts.load()])):
        said.append(unknown)
    return said
