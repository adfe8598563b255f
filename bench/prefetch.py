"""Downloads the files that a sweep needs: `python -m bench.prefetch +exp=table1 model=hunyuan_video`.

The arguments are bench.sweep's. Lists every missing file with its size and source, then downloads the files. Continues
a download that broke off. With --list it only prints the list. A sweep refuses to start while a file is missing.
"""

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.plan import command_line
from vgdfr.assets import Asset, describe
from vgdfr.files import cache_folder
from vgdfr_commands.start import called, run


def download(assets: Sequence[Asset]) -> int:
    """Downloads all `assets` and reports each result. Returns the number of failed downloads."""
    failed = 0
    for i, asset in enumerate(assets):
        print(f"{i + 1} of {len(assets)}: {asset.name}", flush=True)
        try:
            print(f"  at {asset.fetch()}", flush=True)
        except (OSError, ValueError) as error:
            failed += 1
            print(f"  failed: {type(error).__name__}: {error}")
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


def main(assets: Sequence[Asset], only_list: bool) -> int:
    """Downloads `assets`, or only lists them. Returns the exit status, 1 if a download failed.

    Raises ValueError for too little space, and OSError for a cache folder that cannot be written.
    """
    if not assets:
        print("nothing to download")
        return 0
    print(f"to be downloaded:\n{describe(assets)}")
    if only_list:
        return 0
    needed, place = sum(max(0, (a.num_bytes or 0) - a.have_bytes) for a in assets), cache_folder()
    _require_writable(place)
    if (free := shutil.disk_usage(place).free) < needed:
        raise ValueError(f"{needed / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free at {place}")
    failed = download(assets)
    print(f"{len(assets) - failed} downloaded, {failed} failed" + "; the same command tries these again" * bool(failed))
    return int(bool(failed))


def command() -> int:
    parser = command_line.parser(called("bench.prefetch"), __doc__)
    parser.add_argument("--list", action="store_true", help="only list the files")
    line, flags = command_line.parsed(parser, sys.argv[1:])
    from bench.plan.compose import composed  # here, as PyTorch takes seconds to import
    from bench.plan.jobs import missing_assets, wanted_by

    return main(missing_assets(wanted_by(composed(replace(line, multirun=True)))), flags.list)


if __name__ == "__main__":
    run(command)
