"""Tries a class with the settings of the command line, and prints a line per promise."""

import argparse
import json
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from typing import Any

from vgdfr.conform import SMALL
from vgdfr.conform.promises import Finding, examine
from vgdfr.conform.trial import Ground, Trial
from vgdfr.conform.videos import shape
from vgdfr.naming import class_at
from vgdfr.presets import PRESETS
from vgdfr.video import VideoSpec
from vgdfr_commands.threads import use_threads

PROMPT = "a red circle stays still over sand"


def values(words: Iterable[str]) -> dict[str, Any]:
    """Returns the settings in words KEY=VALUE. A value is read as JSON, with lists as tuples, or else is a string.

    Raises ValueError for a word without "=".
    """
    found = {}
    for word in words:
        key, separator, text = word.partition("=")
        if not separator or not key.isidentifier():
            raise ValueError(f"settings must be KEY=VALUE, got {word}")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        found[key] = tuple(value) if isinstance(value, list) else value
    return found


def text(finding: Finding) -> str:
    """Returns a finding as text for people: one line, with indented details below."""
    said, *details = finding.said.splitlines()
    return "\n".join([f"{finding.verdict:<11}  {finding.promise}: {said}", *(f"{'':<15}{line}" for line in details)])


def main(arguments: argparse.Namespace) -> int:
    """Examines all promises and prints the findings. Returns the exit status. Raises ValueError for bad arguments."""
    preset = PRESETS["embedded"]
    spec = VideoSpec(PROMPT, 0, **preset.video | {name: getattr(arguments, name) for name in SMALL})
    if spec.num_inference_steps < 4:  # with fewer steps the method that carries an accelerator could not merge
        raise ValueError(f"--num-inference-steps must be at least 4, got {spec.num_inference_steps}")
    settings, neutral = values(arguments.settings), values(arguments.neutral)
    kind = class_at(arguments.path)
    known = {f.name for f in fields(kind)} if is_dataclass(kind) else {*settings, *neutral}
    if unknown := [name for name in (*settings, *neutral) if name not in known]:
        raise ValueError(f"{arguments.path} has no setting {unknown[0]}; it has {', '.join(sorted(known))}")
    use_threads(arguments.threads)
    trial = Trial(arguments.path, settings, neutral, Ground(preset.model, spec))
    preset.model.architecture().check(spec)
    words = " ".join([arguments.path, *arguments.settings])
    print(f"{words} on the embedded model, {shape(spec)}", flush=True)
    verdicts = []
    for finding in examine(trial):
        print(text(finding), flush=True)
        verdicts.append(finding.verdict)
    counts = [f"{verdicts.count(kind)} {kind}" for kind in ("ok", "BROKEN", "not checked") if kind in verdicts]
    print(", ".join(counts))
    return int("BROKEN" in verdicts)
