"""Tries a method or an accelerator: `python -m vgdfr.conform my_pkg.SkipSteps every=2 --neutral every=1`.

Prints a line per promise, ok or BROKEN with what was seen and what to do. The exit status is 1 where one is broken. It
runs on the embedded model, on the CPU. An accelerator is tried with Baseline and with Vgdfr.
"""

import argparse
import json
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from typing import Any

from vgdfr.conform.promises import Finding, examine
from vgdfr.conform.trial import Ground, Trial
from vgdfr.conform.videos import shape
from vgdfr.naming import class_at
from vgdfr.presets import PRESETS
from vgdfr.video import VideoSpec
from vgdfr_commands.start import called, run
from vgdfr_commands.threads import use_threads

PROMPT = "a red circle stays still over sand"
SMALL = {"height": 64, "width": 64, "num_frames": 33, "num_inference_steps": 6}


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=" ".join(called("vgdfr.conform")),
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("path", help="the class, such as my_pkg.SkipSteps")
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="its settings: numbers, words, [lists], null")
    parser.add_argument(
        "--neutral",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a setting with which nothing is merged or skipped; may be given several times",
    )
    for name, value in SMALL.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=value, help=f"default: {value}")
    parser.add_argument("--threads", type=int, default=1, help="default: 1")
    return parser.parse_args(arguments)


def values(words: Iterable[str]) -> dict[str, Any]:
    """Returns settings from words KEY=VALUE; a value is JSON, a list of it is a tuple, and anything else is a word.

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
    """Returns a finding for people: one line, and its details below."""
    said, *details = finding.said.splitlines()
    return "\n".join([f"{finding.verdict:<11}  {finding.promise}: {said}", *(f"{'':<15}{line}" for line in details)])


def main(arguments: argparse.Namespace) -> int:
    """Looks at all promises and prints; returns the exit status. Raises ValueError for bad arguments."""
    preset = PRESETS["embedded"]
    spec = VideoSpec(PROMPT, 0, **preset.video | {name: getattr(arguments, name) for name in SMALL})
    if spec.num_inference_steps < 4:  # so that the method which an accelerator is tried with can merge
        raise ValueError(f"--num-inference-steps must be at least 4, got {spec.num_inference_steps}")
    settings, neutral = values(arguments.settings), values(arguments.neutral)
    kind = class_at(arguments.path)
    there = {f.name for f in fields(kind)} if is_dataclass(kind) else {*settings, *neutral}
    if unknown := [name for name in (*settings, *neutral) if name not in there]:
        raise ValueError(f"{arguments.path} has no setting {unknown[0]}; it has {', '.join(sorted(there))}")
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


def command() -> int:
    return main(parse())


if __name__ == "__main__":
    run(command)
