"""Downloads the files that a sweep needs: `python -m bench.prefetch +exp=table1 model=hunyuan_video`.

The arguments are bench.sweep's. Lists every missing file with its size and source, then downloads the files. Continues
a download that broke off. With --list it only prints the list. A sweep refuses to start while a file is missing.
"""

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from hydra.errors import HydraException
from omegaconf import DictConfig

from bench import overrides
from bench.config_dir import composing, taken_out
from bench.plan import composed, missing_assets
from bench.progress import say
from vgdfr.assets import Asset, describe
from vgdfr.files import cache_folder
from vgdfr_commands.start import run


def configs_of(arguments: Sequence[str]) -> list[DictConfig]:
    """Returns the configuration of each job that `bench.sweep` would run with these arguments.

    Raises ValueError that explains a mistake in the arguments.
    """
    folder, given = taken_out(arguments)
    with composing(folder) as loader:
        return composed(overrides.load(loader, overrides.quoted(given)))


def download(assets: Sequence[Asset]) -> int:
    """Downloads all `assets` and reports each result. Returns the number of failed downloads."""
    failed = 0
    for i, asset in enumerate(assets):
        say(f"{i + 1} of {len(assets)}: {asset.name}")
        try:
            say(f"  at {asset.fetch()}")
        except (OSError, ValueError) as error:
            failed += 1
            say(f"  failed: {type(error).__name__}: {error}")
    return failed


def _require_writable(place: Path) -> None:
    """Raises OSError if `place` is no folder to which downloads can be written."""
    reason = ""
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = f": {error.strerror}"
    if reason or not os.access(place, os.W_OK):
        raise OSError(
            f"downloads go to {place}, which cannot be written{reason}; VGDFR_CACHE=FOLDER names another place"
        )


def main(arguments: list[str]) -> int:
    """Returns the exit status, 1 if a download failed.

    Raises ValueError for wrong arguments or too little space, and OSError for a cache folder that cannot be written.
    """
    wanted = [argument for argument in arguments if argument not in ("--list", "--multirun", "-m")]
    assets = missing_assets(configs_of(wanted))
    if not assets:
        say("nothing to download")
        return 0
    say(f"to be downloaded:\n{describe(assets)}")
    if "--list" in arguments:
        return 0
    needed, place = sum(max(0, (a.num_bytes or 0) - a.have_bytes) for a in assets), cache_folder()
    _require_writable(place)
    if (free := shutil.disk_usage(place).free) < needed:
        raise ValueError(f"{needed / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free at {place}")
    failed = download(assets)
    say(f"{len(assets) - failed} downloaded, {failed} failed" + "; the same command tries these again" * bool(failed))
    return int(bool(failed))


def command() -> int:
    try:
        return main(sys.argv[1:])
    except HydraException as error:
        raise ValueError(error) from error


if __name__ == "__main__":
    run(command)
