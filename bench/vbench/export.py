"""Writes the videos of a study into a folder for VBench's own scorer.

DIR/CONDITION/ has the videos of a condition and no other file, DIR/prompts-CONDITION.json the prompts for VBench's
custom mode, and DIR/manifest.json the samples. The files are lossless, so that VBench scores the sample's own frames: a
lossy copy changes scores.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.plan.prompts import VBENCH_NAME, VBenchPrompts, vbench
from bench.store.claims import claimed
from bench.store.place import MASTER, Place
from bench.store.record import Record
from bench.store.study import Store
from bench.vbench.layout import (
    INDICES,
    Mode,
    Video,
    add_to_manifest,
    manifest_in,
    read_manifest,
    videos_of,
    with_videos,
)
from bench.work.rebuild import Gone, stored_video
from bench.work.scoring import finished
from metrics.video_file import read
from vgdfr.video_file import write_lossless_mp4
from vgdfr_commands.atomic import atomic_file

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Exported:
    """The outcome of an export: its videos, how many were written now, and the reasons for samples without frames.

    `without` has how many samples have each reason. The other videos were there before.
    """

    videos: tuple[Video, ...]
    written: int
    without: Mapping[str, int]

    @property
    def conditions(self) -> list[str]:
        return sorted({video.condition for video in self.videos})

    @property
    def there(self) -> int:
        return len(self.videos) - self.written - sum(self.without.values())

    @property
    def beyond(self) -> int:
        """The number of videos with an index that only VBench's static filter reads."""
        return sum(video.index >= INDICES for video in self.videos)


def export(
    study: Path, folder: Path, mode: Mode, conditions: Collection[str] = (), prompts: Path | None = None
) -> Exported:
    """Exports the finished samples of a study, or of some `conditions`. Files that an earlier call wrote stay.

    `prompts` is VBench's list, which standard mode needs; by default the list that a sweep downloads. Samples without
    frames are counted and left out. Raises ValueError before anything is written if a video cannot be named or if the
    folder holds a file that is no export of the sample, and OSError if a file cannot be written.
    """
    every = {sample.place: sample.record for sample in finished(study).values()}
    records = _chosen(every, conditions)
    seeds = sorted({record.seed_index for record in every.values()})
    videos = videos_of(records, seeds, mode, _listed(prompts) if mode == "standard" else ())
    _prepare(study, folder, mode, videos)
    places = {place.name: place for place in records}
    written, without = 0, Counter[str]()
    for video in videos:
        if (folder / video.name).is_file():
            continue
        try:
            _write(folder, video, places[video.sample], records[places[video.sample]])
            written += 1
        except Gone as error:
            without[str(error)] += 1
    return Exported(tuple(videos), written, without)


def _prepare(study: Path, folder: Path, mode: Mode, videos: Sequence[Video]) -> None:
    """Writes which sample each video will be into study and folder, and the prompts. Raises ValueError as `export`."""
    known = read_manifest(folder / MANIFEST)
    with_videos(folder / MANIFEST, videos)
    if foreign := [v.name for v in videos if v.name not in known and (folder / v.name).exists()]:
        raise ValueError(f"{folder / foreign[0]} is there and not of an earlier export; choose another folder")
    Store(study).require_writable()
    with claimed(study, "vbench-export", timeout_s=-1):
        add_to_manifest(manifest_in(study, mode), videos)
    add_to_manifest(folder / MANIFEST, videos)
    if mode == "custom":
        _write_prompts(folder, videos)


def _chosen(records: Mapping[Place, Record], conditions: Collection[str]) -> dict[Place, Record]:
    """Returns the samples of the conditions, or of all. Raises ValueError for an unknown condition."""
    there = {place.condition for place in records}
    if unknown := sorted(set(conditions) - there):
        raise ValueError(f"there is no condition {', '.join(unknown)}; there are {', '.join(sorted(there))}")
    return {place: record for place, record in records.items() if not conditions or place.condition in conditions}


def _listed(file: Path | None) -> set[str]:
    """Returns VBench's prompts. Raises FileNotFoundError or ValueError without the list of version 0.1.5."""
    place = VBenchPrompts(file and str(file)).file
    if not place.is_file():
        raise FileNotFoundError(
            f"standard mode needs VBench's list of prompts, and there is none at {place}; name a {VBENCH_NAME} or the "
            "vbench wheel with --prompts"
        )
    return {prompt.text for prompt in vbench(place)}


def _write_prompts(folder: Path, videos: Iterable[Video]) -> None:
    """Writes VBench's --prompt_file of each condition: the prompts by the videos' names."""
    of: dict[str, dict[str, str]] = {}
    for video in videos:
        of.setdefault(video.condition, {})[video.file] = video.prompt
    for condition, prompts in of.items():
        with atomic_file(folder / f"prompts-{condition}.json") as partial:
            partial.write_text(json.dumps(prompts, indent=1, ensure_ascii=False), encoding="utf-8")


def _write(folder: Path, video: Video, place: Place, record: Record) -> None:
    """Writes the video of a sample, verified by decoding. Raises Gone for a sample without frames."""
    frames = stored_video(place, record.sha256_of(MASTER) or "").frames
    with atomic_file(folder / video.name, within=folder) as partial:
        write_lossless_mp4(partial, frames, record.identity["spec"]["fps"])
        if not np.array_equal(read(partial).frames, frames):
            raise ValueError(f"{folder / video.name} does not decode to the frames that were written; the disk or the "
                             "FFmpeg of this machine is damaged")  # fmt: skip
