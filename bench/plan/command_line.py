"""Reads the arguments of the commands that compose a sweep: flags of our own, and overrides in Hydra's form.

`bench.sweep`, `bench.launch` and `bench.prefetch` share these flags. Imports no Hydra, so that --help is quick.
"""

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONF = Path(__file__).parents[2] / "conf"
CFG = ("job", "hydra", "all")
# Hydra's other flags, and the advice for each
REFUSED = {
    ("--run", "-r"): "without --multirun a sweep is a run",
    ("--package", "-p"): "--cfg prints the whole configuration",
    ("--config-name", "-cn"): "your own experiment is a file exp/NAME.yaml in a folder: --config-dir FOLDER +exp=NAME",
    ("--config-path", "-cp"): "files of your own lie in a folder that --config-dir FOLDER names",
    ("--info", "-i"): "--cfg all prints the composed configuration",
    ("--hydra-help",): "--help lists the flags and choices",
    ("--version",): "each record names the versions of code and packages",
    ("--shell-completion", "-sc"): "--help lists the choices of each group",
    ("--experimental-rerun",): "the same command continues a study",
}  # fmt: skip


@dataclass(frozen=True)
class CommandLine:
    """A command's arguments.

    overrides: Hydra's, such as +exp=table1 and method.k=5.
    config_dir: a folder of the user's own experiments and choices, or None.
    multirun: whether the overrides may name several values to sweep over.
    cfg: the part of the composed configuration to print ("job", "hydra" or "all"), or None.
    resolve: whether to print values in place of interpolations.
    """

    overrides: tuple[str, ...] = ()
    config_dir: Path | None = None
    multirun: bool = False
    cfg: str | None = None
    resolve: bool = False

    def arguments(self) -> list[str]:
        """Returns the arguments that give this command line again, without --cfg."""
        folder = [] if self.config_dir is None else ["--config-dir", str(self.config_dir)]
        return ["--multirun"] * self.multirun + folder + list(self.overrides)


def parser(command: Sequence[str], description: str | None, cfg: bool = False) -> argparse.ArgumentParser:
    """Returns the parser of a command that composes a sweep. The command may add flags of its own.

    `command` are the words that call the command, `description` is its documentation. With `cfg` the command can print
    the configuration. Its --help lists the choices.
    """
    made = _Parser(
        prog=" ".join(command), description=description, usage="%(prog)s [FLAG ...] [OVERRIDE ...]", allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter, add_help=False,
    )  # fmt: skip
    made.add_argument("-h", "--help", action="store_true", help="print this text and all choices")
    made.add_argument("-m", "--multirun", action="store_true", help="sweep over values such as method.k=5,10")
    made.add_argument(
        "-cd", "--config-dir", nargs="?", const="", metavar="FOLDER",
        help="a folder with files of your own, such as exp/mine.yaml and method/mine.yaml (docs/extending.md)",
    )  # fmt: skip
    if cfg:
        made.add_argument("-c", "--cfg", choices=CFG, help="print the composed configuration and end")
        made.add_argument("--resolve", action="store_true", help="with --cfg: print values for interpolations")
    return made


def add_dry_run(made: argparse.ArgumentParser) -> None:
    """Adds the flags of a dry run, see `bench.dry_run`."""
    made.add_argument("--dry-run", action="store_true", help="only print the plan and its costs")
    made.add_argument("--assumed-tflops", type=float, metavar="N", help="the device's TFLOP/s, for --dry-run")
    made.add_argument("--assumed-tokens", type=float, metavar="S", help="the share of tokens that schedules keep, for "
                      "--dry-run")  # fmt: skip


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise ValueError(f"{message}; see {self.prog} --help")


def parsed(made: argparse.ArgumentParser, arguments: Sequence[str]) -> tuple[CommandLine, argparse.Namespace]:
    """Returns the command line and all flags. If --help is given, prints the help and ends the program.

    Raises ValueError for a flag that is unknown or that only Hydra has, and for a folder that is missing or hidden.
    """
    ours = _flags_of(made)
    _refuse(arguments, ours)
    flags, rest = made.parse_known_args(_flag_values(arguments))
    if unknown := [each for each in rest if each.startswith("-")]:
        raise ValueError(f"there is no flag {unknown[0]}; there are {ours}, and overrides such as method.k=5")
    if getattr(flags, "cfg", None) and flags.dry_run:
        raise ValueError("--dry-run and --cfg print different things; give one of them")
    if getattr(flags, "resolve", False) and not flags.cfg:
        raise ValueError("--resolve goes with --cfg, such as --cfg job --resolve; without --cfg a sweep would start")
    if getattr(flags, "assumed_tflops", None) or getattr(flags, "assumed_tokens", None):
        if not flags.dry_run:
            raise ValueError("--assumed-tflops and --assumed-tokens go with --dry-run; without it a sweep would start")
    folder = None if flags.config_dir is None else _folder(flags.config_dir)
    if flags.help:
        print(_help(made, folder))
        sys.exit(0)
    cfg, resolve = getattr(flags, "cfg", None), getattr(flags, "resolve", False)
    return CommandLine(tuple(rest), folder, flags.multirun, cfg, resolve), flags


def _flag_values(arguments: Sequence[str]) -> list[str]:
    """Returns the arguments with --config-dir=FOLDER for -cd=FOLDER, which argparse cannot read."""
    return [f"--config-dir={each[4:]}" if each.startswith("-cd=") else each for each in arguments]


def _flags_of(made: argparse.ArgumentParser) -> str:
    """Returns the long names of the command's flags, as text."""
    return ", ".join(action.option_strings[-1] for action in made._actions)


def _refuse(arguments: Iterable[str], ours: str) -> None:
    for argument in arguments:
        flag = argument.partition("=")[0]
        for names, instead in REFUSED.items():
            if flag in names:
                raise ValueError(f"Hydra's flag {flag} is not taken here: {instead}; there are {ours}")


def _folder(name: str) -> Path:
    """Returns the folder of --config-dir.

    Raises ValueError if the folder is missing, or has a file that a file of conf/ hides.
    """
    if not name:
        raise ValueError("--config-dir takes a folder, such as --config-dir my_conf")
    folder = Path(os.path.expanduser(name))
    if not folder.is_dir():
        raise ValueError(
            "--config-dir must name a folder with files such as method/mine.yaml and exp/mine.yaml; "
            f"{folder} is no folder"
        )
    for ours in sorted(CONF.rglob("*.yaml")):
        file = ours.relative_to(CONF)
        if (folder / file).is_file():
            raise ValueError(f"{folder / file} would not be read, as conf/ has a {file}, too; give it another name")
    return folder


def groups(folder: Path | None) -> dict[str, list[str]]:
    """Returns the choices of each group, such as "method", in conf/ and in a folder of the user's own."""
    found: dict[str, set[str]] = {}
    for root in [CONF] if folder is None else [CONF, folder]:
        for file in root.glob("**/*.yaml"):
            if file.parent != root:
                found.setdefault(file.parent.relative_to(root).as_posix(), set()).add(file.stem)
    return {group: sorted(found[group]) for group in sorted(found)}


def _help(made: argparse.ArgumentParser, folder: Path | None) -> str:
    there = groups(folder)
    lines = ["choices (GROUP=CHOICE; +exp=CHOICE):"]
    lines += [f"  {group}: {', '.join(choices)}" for group, choices in there.items()]
    lines.append("\nsettings: every value of conf/*.yaml by its dotted name, such as method.k=5 and prompts.limit=2")
    return made.format_help() + "\n" + "\n".join(lines)
