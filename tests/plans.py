"""Command lines of a sweep, composed and checked in this process in the same way as in the commands."""

from dataclasses import replace

from bench.dry_run import describe_sweep
from bench.plan import command_line
from bench.plan.command_line import CommandLine
from bench.plan.compose import Composed, composed
from bench.plan.job import Job
from bench.plan.jobs import checked
from bench.work.sweep import require_writable


def line(*arguments: str) -> CommandLine:
    """Returns a command line, with --multirun."""
    parsed, _ = command_line.parsed(command_line.parser(["test"], None), arguments)
    return replace(parsed, multirun=True)


def plan(*arguments: str) -> Composed:
    return composed(line(*arguments))


def jobs(*arguments: str) -> tuple[Job, ...]:
    """Returns the checked jobs that a sweep has before it starts."""
    found = checked(plan(*arguments))
    require_writable(found[0].study)
    return found


def dry_run(*arguments: str) -> str:
    return describe_sweep(line(*arguments))
