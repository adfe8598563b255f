"""Measures the divergence over steps: `python -m bench.divergence 'sweeps=[{method: vgdfr, method.k: 5}]'`.

After each step the clean estimate of each method's trajectory is decoded and compared with the baseline's estimate at
the same noise level, whose frames are merged by the method's schedule first. So merging costs nothing here, and only
divergence shows. The value is the PSNR in dB. The baseline's own curve is the PSNR of its estimates to its final video.
The conditions and prompts are composed as bench.sweep composes them, without the baseline, such as
  python -m bench.divergence prompts.skip=40 prompts.limit=10 --every=2 --output=divergence.json \\
    'sweeps=[{method: "vgdfr,vgdfr_anchored", method.k: 5, method.theta: 0.5}, {method: fewer_steps, method.steps: 25}]'
`python -m analysis.divergence divergence.json` draws the figure. --every=2 suits half as many steps, too, which begin
at the noise levels of the odd steps. Each condition computes all of its own steps, so a method takes as long as in a
sweep without shared parts. The file is written again after each prompt.
"""

import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.plan import command_line
from bench.plan.command_line import CommandLine
from vgdfr_commands.start import called, run

if TYPE_CHECKING:
    from bench.plan.condition import Condition
    from bench.plan.job import Job

OWN = ("metrics=pixel", "timing=shared", "tracking=none")  # settings that have no meaning here


def command() -> int:
    """Measures the conditions of the command line and writes the file. Returns the exit status."""
    parser = command_line.parser(called("bench.divergence"), __doc__)
    parser.add_argument(
        "--every",
        type=int,
        default=1,
        metavar="N",
        help="compare the baseline's steps 1, 1+N, 1+2N, ... and its last (1)",
    )
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="default: ROOT/divergence/STUDY.json")
    line, flags = command_line.parsed(parser, sys.argv[1:])
    if flags.every < 1:
        raise ValueError(f"--every must be at least 1, got {flags.every}")
    if flags.output is not None and flags.output.suffix != ".json":
        raise ValueError(f"--output must be a file FILE.json, got {flags.output}")
    own = {each.partition("=")[0] for each in OWN}
    for each in line.overrides:
        if (setting := each.partition("=")[0].lstrip("+~")).partition(".")[0] in own:
            raise ValueError(f"{each} has no meaning for a measurement of divergence; leave {setting} out")
    return _measure(line, flags)


def _measure(line: CommandLine, flags: Namespace) -> int:
    from bench.plan.compose import composed  # here, as PyTorch takes seconds to import
    from bench.plan.jobs import checked
    from bench.store.divergence import write
    from bench.work import threads
    from bench.work.diverging import measured, with_origin

    plan = composed(replace(line, overrides=(*OWN, *line.overrides)))
    if plan.launcher is not None:
        raise ValueError(f"hydra/launcher={plan.launcher.name} is for sweeps; this measurement runs in this process")
    jobs = checked(plan)
    conditions = compared(jobs)
    steps = conditions[0].video.num_inference_steps
    if flags.every > steps:
        raise ValueError(f"--every must be at most the {steps} steps (num_inference_steps), got {flags.every}")
    config = plan.configs[0]
    file = flags.output or Path(str(config.root)) / "divergence" / f"{config.study}.json"
    threads.use(jobs)
    samples, prompts = [], jobs[0].prompts
    for sample in measured(conditions, prompts, flags.every):
        samples.append(sample)
        write(with_origin(conditions, samples, flags.every, line.arguments()), file)
        print(f"{len(samples)} of {len(prompts)}: {sample.prompt}, seed {sample.seed}",
              file=sys.stderr, flush=True)  # fmt: skip
    print(f"wrote {file}")
    return 0


def compared(jobs: "Sequence[Job]") -> "list[Condition]":
    """Returns the conditions of the jobs, each once.

    Raises ValueError unless they have one model, one video setting and the same prompts, and unless each has a
    trajectory that starts from the baseline's noise.
    """
    conditions = list({job.condition: None for job in jobs})
    for name, values in (
        ("model", {each.model for each in conditions}),
        ("video setting", {each.video for each in conditions}),
        ("list of prompts", {job.prompts for job in jobs}),
    ):
        if len(values) > 1:
            raise ValueError(f"a measurement of divergence has one {name}, got {len(values)}; run one for each")
    for condition in conditions:
        if reason := _reason_against(condition):
            raise ValueError(
                f"{condition.slug} {reason}, so its divergence cannot be measured; leave it out (comparisons=null "
                "leaves out an experiment's comparisons)"
            )
    return conditions


def _reason_against(condition: "Condition") -> str | None:
    method = condition.method
    if not method.makes_video:
        return "makes no video"
    if condition.baseline is None:
        return "is the baseline itself"
    if not method.has_cost:
        return "is made of the baseline's video and has no trajectory of its own"
    if method.own_noise:
        return "starts from noise of its own"
    return None


if __name__ == "__main__":
    run(command)
