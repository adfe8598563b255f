"""Calibrates a feature cache for a model: `python -m bench.calibrate accelerator=teacache model=embedded`.

accelerator=teacache fits the polynomial that estimates the change of the DiT's output from the change of its modulated
input. accelerator=magcache measures the ratio of the residuals' norms in each step. The other arguments are
bench.sweep's settings of the model, the video and the prompts. The baseline makes the last prompts of the list with a
seed of their own (prompts.seeds=[1000]), so that no sample of a study has the same noise. The result is FILE.json, a
calibration for accelerator.calibration=FILE.json, and FILE.png, which shows how well it fits.
"""

import datetime
import sys
from dataclasses import replace
from pathlib import Path

from bench.plan import command_line
from bench.plan.command_line import CommandLine
from vgdfr_commands.start import called, run

CALIBRATED = ("teacache", "magcache")
SEED_INDEX = 1000  # studies take 0, 1, ...
# settings that a calibration gives itself
OWN = ("method=baseline", "accelerator=none", "metrics=pixel", "timing=shared", "tracking=none")
PROMPTS = 10  # two of each speed profile of the embedded prompts, in which the five profiles take turns


def command() -> int:
    """Measures, fits and writes the calibration of the command line. Returns the exit status."""
    parser = command_line.parser(called("bench.calibrate"), __doc__)
    parser.add_argument("--prompts", type=int, default=PROMPTS, metavar="N", help=f"the last N prompts ({PROMPTS})")
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="default: ROOT/calibrations/...")
    line, flags = command_line.parsed(parser, sys.argv[1:])
    name, line = _chosen(line)
    if flags.prompts < 1:
        raise ValueError(f"--prompts must be at least 1, got {flags.prompts}")
    if flags.output is not None and flags.output.suffix != ".json":
        raise ValueError(f"--output must be a file FILE.json, got {flags.output}")
    return _calibrate(name, line, flags.prompts, flags.output)


def _chosen(line: CommandLine) -> tuple[str, CommandLine]:
    """Returns the accelerator, and the command line of the baseline's sweep.

    Raises ValueError for another accelerator, and for a setting that a calibration gives itself.
    """
    own = {each.partition("=")[0] for each in OWN}
    given = [each for each in line.overrides if each.partition("=")[0] == "accelerator"]
    names = [each.partition("=")[2] for each in given]
    if len(names) != 1 or names[0] not in CALIBRATED:
        got = " ".join(given) or "none"
        raise ValueError(f"give accelerator={' or accelerator='.join(CALIBRATED)}, got {got}")
    others = [each for each in line.overrides if each not in given]
    for each in others:
        setting = each.partition("=")[0].lstrip("+~")
        if setting.partition(".")[0] in (*own, "exp", "sweeps", "comparisons"):
            raise ValueError(f"{each}: a calibration runs the baseline alone; leave {setting} out")
    return names[0], replace(line, overrides=(*OWN, f"prompts.seeds=[{SEED_INDEX}]", *others))


def _calibrate(name: str, line: CommandLine, count: int, output: Path | None) -> int:
    from bench.plan.compose import composed  # here, as PyTorch takes seconds to import
    from bench.plan.jobs import checked
    from bench.work import threads
    from bench.work.calibrating import draw, fit, measure
    from bench.work.progress import say
    from bench.work.provenance import environment
    from vgdfr.accelerators.calibration import Calibration, write

    whole = composed(line)
    (job,) = checked(whole)
    if count > len(job.prompts):
        raise ValueError(f"--prompts must be at most the {len(job.prompts)} prompts of the list, got {count}")
    condition, prompts = job.condition, job.prompts[-count:]
    video = condition.video
    if video.num_inference_steps < 2:
        raise ValueError(f"a calibration compares steps, so it needs 2 or more, got {video.num_inference_steps}")
    place = f"{name}-{condition.model_name}-{video.num_inference_steps}steps-shift{video.flow_shift:g}.json"
    file = output or Path(str(whole.configs[0].root)) / "calibrations" / place
    threads.use([job])
    measured = measure(condition, name, prompts, say)
    fitted = fit(name, measured)
    facts = environment()
    origin = {
        "model": condition.model_name,
        "video": f"{condition.video.height}x{condition.video.width}, {condition.video.num_frames} frames",
        "dtype": str(getattr(condition.model, "dtype", "")),
        "prompts": [f"{prompt.id}, seed {prompt.seed_index}" for prompt in prompts],
        "date": datetime.date.today().isoformat(),
        "version": facts["packages"]["vgdfr"],
        "code_sha256": facts["code_sha256"],
        **fitted.facts,
    }
    weights = condition.model.dit_weights()
    write(Calibration(name, weights, fitted.values, video.num_inference_steps, video.flow_shift, origin), file)
    draw(name, measured, fitted.values, file.with_suffix(".png"))
    for text in (*fitted.lines, f"wrote {file} and {file.with_suffix('.png')}"):
        say(text)
    return 0


if __name__ == "__main__":
    run(command)
