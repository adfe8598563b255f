"""The values that conf/ computes: ${embedded_checkpoint:}, ${each_layer:} and ${and_recommended:STUDY}."""

import csv
import json
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from bench.plan.compose.instances import instance
from vgdfr import Model
from vgdfr.embedded import CHECKPOINT

# files that analysis.rope_sensitivity writes into its study: the recommended layers, and the prompts that selected them
RECOMMENDATION, SELECTED_BY = "report/rope_sensitivity.csv", "report/rope_sensitivity_prompts.json"


def _each_layer(_root_: DictConfig) -> str:
    """Resolves ${each_layer:} to a sweep's list that makes each layer the only global one, then the only local one.

    Resolves to "all" where the model is not downloaded yet.
    """
    try:
        count = instance("model.backbone", _root_.model.backbone, tuple, Model).architecture().num_layers
    except FileNotFoundError:  # the check of the condition reports the missing download
        return "all"
    return ",".join(f"{kind}_{n}" for n in range(count) for kind in ("only", "all_but"))


def _and_recommended(study: str, _root_: DictConfig) -> str:
    """Resolves ${and_recommended:STUDY} to a comma and the layers that the study's report recommends.

    Resolves to an empty string where there is no such report, or the model is not downloaded yet. Raises ValueError for
    a report without a recommended layer, or of a model with another number of layers, and if a prompt of the
    configuration is among the prompts that selected the layers.
    """
    file = Path(study) / RECOMMENDATION
    if not file.is_file():
        return ""
    with file.open(newline="", encoding="utf-8") as opened:
        rows = list(csv.DictReader(opened))
    try:
        count = instance("model.backbone", _root_.model.backbone, tuple, Model).architecture().num_layers
    except FileNotFoundError:  # as above
        return ""
    chosen = [row["layer"] for row in rows if row.get("recommended") == "1"]
    if not chosen:
        raise ValueError(f"{file} recommends no layer; write it again: python -m analysis.rope_sensitivity {study}")
    if [row["layer"] for row in rows] != [str(n) for n in range(count)]:
        raise ValueError(
            f"{file} is of a model of {len(rows)} layers, this one has {count}; make its own by "
            "+exp=rope_sensitivity, or name another study (sensitivity_study=DIR)"
        )
    _check_held_out(Path(study), _root_)
    return f",[{','.join(chosen)}]"


def _check_held_out(study: Path, _root_: DictConfig) -> None:
    """Raises ValueError if a prompt of the configuration is among the prompts that selected the layers of `study`."""
    file = study / SELECTED_BY
    try:
        selecting = set(json.loads(file.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        raise ValueError(
            f"{file} must hold the prompts that selected the layers, but it is missing or damaged; write it again: "
            f"python -m analysis.rope_sensitivity {study}"
        ) from None
    try:
        texts = {prompt.text for prompt in instance("prompts", _root_.prompts).load()}
    except FileNotFoundError:  # the check of the prompts reports the missing file
        return
    if shared := sorted(texts & selecting):
        raise ValueError(
            f"{len(shared)} of the {len(texts)} prompts are among the {len(selecting)} prompts that selected the "
            f"layers in {study}, such as {shared[0]!r}; judge the layers on other prompts, such as "
            f"prompts.skip={len(selecting)}, or leave them out with sensitivity_study=none"
        )


def register() -> None:
    """Makes OmegaConf know these values."""
    OmegaConf.register_new_resolver("embedded_checkpoint", lambda: str(CHECKPOINT), replace=True)
    OmegaConf.register_new_resolver("each_layer", _each_layer, replace=True)
    OmegaConf.register_new_resolver("and_recommended", _and_recommended, replace=True)
