"""Names the videos of a study as VBench wants them, and remembers which sample each video is.

VBench takes one folder per condition. Its standard mode knows a video's prompt by the name, PROMPT-INDEX.mp4, and takes
the indices 0 to 4. Its custom mode reads prompts from a file, so there a name holds the prompt's id. VBench takes every
file in a folder for a video, so the folders hold videos only.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from bench.store.place import Place
from bench.store.record import Record
from vgdfr_commands.atomic import atomic_file

Mode = Literal["custom", "standard"]
MODES: tuple[Mode, ...] = ("custom", "standard")
INDICES = 5  # VBench reads the indices 0 to 4; its static filter reads all
SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Video:
    """A video of an export: the condition's folder, the file's name in it, and the sample (place in the study, key)."""

    condition: str
    file: str
    sample: str
    key: str
    prompt: str

    @property
    def name(self) -> str:
        return f"{self.condition}/{self.file}"

    @property
    def index(self) -> int:
        return int(self.file.removesuffix(".mp4").rpartition("-")[2])


def videos_of(
    records: Mapping[Place, Record], seeds: Sequence[int], mode: Mode, listed: Collection[str] = ()
) -> list[Video]:
    """Returns the videos of the samples at `records`, sorted by name. `listed` are VBench's prompts.

    The index of a video is the place of its seed among the study's `seeds`. Raises ValueError for a prompt that is
    not `listed` in standard mode, and for a condition with two samples of one prompt and seed.
    """
    if mode == "standard":
        _require_listed({record.identity["spec"]["prompt"] for record in records.values()}, listed)
    out: dict[str, Video] = {}
    for place, record in records.items():
        text = record.identity["spec"]["prompt"]
        stem = text if mode == "standard" else record.prompt_id
        file = f"{stem}-{seeds.index(record.seed_index)}.mp4"
        video = Video(place.condition, file, place.name, record.key, text)
        if (other := out.setdefault(video.name, video)) is not video:
            raise ValueError(
                f"{other.sample} and {video.sample} have one prompt and seed, and VBench can tell only one of them; "
                "export a study whose videos have the same settings"
            )
    return sorted(out.values(), key=lambda video: video.name)


def _require_listed(prompts: Collection[str], listed: Collection[str]) -> None:
    if unknown := sorted(set(prompts) - set(listed)):
        raise ValueError(
            f"{len(unknown)} of {len(prompts)} prompts are not in VBench's list, such as {unknown[0][:60]!r}, and its "
            "standard mode would not score them; export with --mode custom"
        )


def manifest_in(study: Path, mode: Mode) -> Path:
    """Returns the place in a study of the manifest of its exports."""
    return study / "exports" / f"vbench-{mode}.json"


def read_manifest(file: Path) -> dict[str, Video]:
    """Returns a manifest's videos by name; none if there is no such file. Raises ValueError for a damaged file."""
    if not file.is_file():
        return {}
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        if document["schema"] != SCHEMA:
            raise ValueError(f"expected schema {SCHEMA}, got {document['schema']}")
        videos = [Video(**each) for each in document["videos"]]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{file} is damaged ({error}); remove it and export again into a new folder") from None
    return {video.name: video for video in videos}


def with_videos(file: Path, videos: Iterable[Video]) -> dict[str, Video]:
    """Returns the videos of a manifest and `videos`, by name. Writes nothing.

    Raises ValueError if a name belongs to another sample, because results of the earlier export would become the scores
    of the wrong sample.
    """
    before = read_manifest(file)
    now = before | {video.name: video for video in videos}
    if changed := [name for name, video in before.items() if now[name] != video]:
        raise ValueError(
            f"{changed[0]} was exported as the sample {before[changed[0]].sample} and would now be "
            f"{now[changed[0]].sample}; import the results of the earlier export, then remove {file} and export into a "
            "new folder"
        )
    return now


def add_to_manifest(file: Path, videos: Iterable[Video]) -> None:
    """Adds the videos to a manifest, which is replaced atomically. Raises ValueError as `with_videos`."""
    now = with_videos(file, videos)
    if now != read_manifest(file):
        with atomic_file(file) as partial:
            content = {"schema": SCHEMA, "videos": [asdict(video) for video in now.values()]}
            partial.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
