"""Reads VBench's result files: a dimension's official score, and its value of each video.

VBench writes `NAME_eval_results.json`: {dimension: [score, [{"video_path": PATH, "video_results": VALUE}, ...]]}.
VBench-Long scores clips of a video. It adds the mean of each video as a third list, or replaces the second list by
values that combine clips and whole video ("inclip_score"). A leaderboard submission is a zip file of such files.
"""

import json
import math
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.vbench.total import DIMENSIONS

PERCENT = ("imaging_quality",)  # VBench prints values of videos in percent here, and the dimension's score in [0, 1]
CLIPS = "split_clip"  # VBench-Long's folder of clips; it occurs in the paths of all of its values but the filtered ones


@dataclass(frozen=True)
class DimensionResult:
    """A dimension's results: its official score, and pairs of a video's path and value on the scale of that score.

    In results of VBench-Long a video may occur several times, once per clip.
    """

    source: str
    dimension: str
    score: float
    values: tuple[tuple[str, float], ...]
    is_long: bool


def read_results(file: Path) -> list[DimensionResult]:
    """Returns the results in a JSON file, or in all JSON files of a zip file.

    Raises ValueError that names the file and the fault, and FileNotFoundError for a missing file.
    """
    return [result for source, document in _documents(file) for result in _results(source, document)]


def _documents(file: Path) -> Iterator[tuple[str, Any]]:
    """Yields each JSON document and its place. Hidden members of a zip file are left out, as officially."""
    if not file.is_file():
        raise FileNotFoundError(f"there is no result file {file}; VBench writes NAME_eval_results.json")
    if not zipfile.is_zipfile(file):
        yield str(file), _parsed(str(file), file.read_bytes())
        return
    with zipfile.ZipFile(file) as archive:
        names = [n for n in archive.namelist() if n.endswith(".json") and not re.search(r"(^|/)(\.|__)", n)]
        if not names:
            raise ValueError(f"{file} holds no JSON file; pack VBench's result files into it")
        for name in names:
            yield f"{file}/{name}", _parsed(f"{file}/{name}", archive.read(name))


def _parsed(source: str, content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError as error:
        raise ValueError(f"{source} is no JSON: {error}") from None


def _results(source: str, document: Any) -> list[DimensionResult]:
    form = "{dimension: [score, [{video_path, video_results}, ...]]}"
    if not isinstance(document, dict) or not document:
        hint = "; NAME_full_info.json is its input, not its result" if isinstance(document, list) else ""
        raise ValueError(f"{source} must hold VBench's results, {form}, got {type(document).__name__}{hint}")
    if unknown := sorted(set(document) - set(DIMENSIONS)):
        raise ValueError(
            f"{source} has {', '.join(unknown)}, which is no dimension of VBench; there are {', '.join(DIMENSIONS)}"
        )
    out = []
    for dimension, entry in document.items():
        try:
            out.append(_result(source, dimension, entry))
        except (TypeError, KeyError, IndexError, AttributeError) as error:
            raise ValueError(f"{source}: {dimension} is not of the form {form} ({error!r})") from None
    return out


def _result(source: str, dimension: str, entry: Any) -> DimensionResult:
    score, *lists = entry
    items = [item for item in lists[-1] if "video_path" in item]  # VBench-Long appends a count without a path
    is_long = len(lists) > 1 or any("inclip_score" in i or CLIPS in parts(i["video_path"]) for i in items)
    scale = 100 if dimension in PERCENT else 1
    where = f"{source}: {dimension}"
    values = [(i["video_path"], _number(i["video_results"], f"{where} of {i['video_path']}") / scale) for i in items]
    return DimensionResult(source, dimension, _number(score, f"the score of {where}"), tuple(values), is_long)


def _number(value: Any, where: str) -> float:
    """Returns a number, or 1 and 0 for true and false. Raises ValueError for a value that is not finite."""
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{where} must be a finite number, got {value!r}; VBench may have found no video to score")
    return float(value)


def parts(path: str) -> list[str]:
    """Returns the parts of a path of any system."""
    return re.split(r"[/\\]+", path)


def static_names(file: Path) -> Mapping[str, str]:
    """Returns the original path of each video that VBench's static filter renamed, by the new name.

    `file` is the filter's filtered_static_video.json. The filter numbers the videos of a prompt anew, so that
    PROMPT-0.mp4 may be a copy of PROMPT-3.mp4. Raises ValueError for another file.
    """
    document = _parsed(str(file), file.read_bytes())
    try:
        pairs: Iterable[tuple[str, str]] = (
            (f"{prompt}-{i}.mp4", path)
            for prompt, found in document.items()
            for i, path in enumerate(found["static_path"])
        )
        return dict(pairs)
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(
            f"{file} must be the static filter's filtered_static_video.json, {{prompt: {{static_path: [...]}}}} "
            f"({error!r})"
        ) from None
