"""Lets users keep their own experiments and choices in a folder, which Hydra's flag `--config-dir DIR` names."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from hydra import initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin

from bench.config import CONF

FLAGS = ("--config-dir", "-cd")


def taken_out(arguments: Sequence[str]) -> tuple[Path | None, list[str]]:
    """Returns the folder that `--config-dir` names, or None without the flag, and the other arguments.

    Raises ValueError for a flag without a folder, for a missing folder, and for a file in it that conf/ would hide.
    """
    folder, rest, left = None, [], iter(arguments)
    for argument in left:
        flag, equals, value = argument.partition("=")
        if flag not in FLAGS:
            rest.append(argument)
        elif value := value if equals else next(left, ""):
            folder = Path(os.path.expanduser(value))
            _check(folder)
        else:
            raise ValueError(f"{flag} takes a folder, such as {flag} my_conf")
    return folder, rest


def _check(folder: Path) -> None:
    if not folder.is_dir():
        raise ValueError(
            f"--config-dir must name a folder with files such as method/mine.yaml, exp/mine.yaml, and {folder} is none"
        )
    for ours in sorted(Path(CONF).rglob("*.yaml")):
        name = ours.relative_to(CONF)
        if (folder / name).is_file():
            raise ValueError(f"{folder / name} would not be read, as conf/ has a {name}, too; give it another name")


class _OwnFolder(SearchPathPlugin):
    """Makes Hydra search a folder after conf/ where configurations are composed without `hydra.main`.

    `hydra.main` itself does the same for `--config-dir`.
    """

    folder: ClassVar[Path | None] = None

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        if self.folder is not None:
            search_path.append("command-line", f"file://{self.folder.absolute()}")


Plugins.instance().register(_OwnFolder)


@contextmanager
def composing(folder: Path | None) -> Iterator[ConfigLoader]:
    """Makes Hydra compose from conf/ and `folder` in the block. Yields Hydra's loader."""
    _OwnFolder.folder = folder
    try:
        with initialize_config_dir(CONF, version_base="1.3"):
            yield GlobalHydra.instance().config_loader()
    finally:
        _OwnFolder.folder = None
