"""A study as one pandas DataFrame: `Study("runs/table1").samples`."""

import hashlib
import json
import os
import re
from copy import copy
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd

from analysis.flatten import as_text
from analysis.index import refreshed
from analysis.latencies import SAME_VIDEO, of_references, with_latencies
from analysis.prices import Run, runs_in
from analysis.skips import faults, skipped_share

SPEEDS = ("still", "slow", "fast", "accelerating", "stopping")  # speed profiles of the embedded world
_SPEED_OF_ID = re.compile(rf"\d+-({'|'.join(SPEEDS)})")  # ids of the embedded prompts, such as 03-accelerating
INDEX = ["condition", "prompt", "seed"]
# columns of the index that only serve to refresh it
_BOOKKEEPING = ["stamp", "changed_ns", "read_ns", "unreadable"]


class StudyError(ValueError):
    """A study that cannot be reported on. The message gives the reason and the remedy."""


class Study:
    """The samples of one study, or of several together. Reading refreshes the index in each study's folder.

    `unreadable` has a message for each sample whose files are damaged. `samples` raises StudyError for the first
    message, unless `skip_unreadable`. `experiment` is the one that makes such a study, for error messages.
    """

    def __init__(
        self, *folders: str | os.PathLike[str], skip_unreadable: bool = False, experiment: str = "table1"
    ) -> None:
        """Raises StudyError for no folder, for a folder that is given twice, and for a folder without samples."""
        self.folders = tuple(Path(folder) for folder in folders)
        if not folders or len({folder.resolve() for folder in self.folders}) < len(folders):
            raise StudyError(f"expected the folders of one or more studies, each once; got {list(map(str, folders))}")
        self._skip_unreadable = skip_unreadable
        names = [study_name(folder) for folder in self.folders]
        if len(set(names)) < len(names):  # studies of one name are told apart by their paths
            names = [as_text(str(folder.resolve())) for folder in self.folders]
        read = [_read(folder, name, experiment) for folder, name in zip(self.folders, names, strict=True)]
        self._runs = {name: _runs(folder) for folder, name in zip(self.folders, names, strict=True)}
        index = _together(read)
        damaged = index["unreadable"].notna()
        self.unreadable: dict[str, str] = dict(zip(index["folder"][damaged], index["unreadable"][damaged], strict=True))
        # a damaged sample has no seed, so its row turns whole numbers into fractions
        index = index[~damaged].astype({"seed": "int64", "makes_video": "bool"}) if damaged.any() else index
        self._index = index.assign(fault=faults(index))

    def only(self, samples: pd.DataFrame) -> "Study":
        """Returns the study of these `samples`, which are some of its own."""
        part = copy(self)
        part.__dict__ = {name: v for name, v in vars(self).items() if name not in ("samples", "missing")}
        part._index = self._index[self._index["folder"].isin(samples["folder"])]
        return part

    @property
    def name(self) -> str:
        """The study's name for people: the names of its folders."""
        return " + ".join(map(study_name, self.folders))

    @cached_property
    def samples(self) -> pd.DataFrame:
        """One row per sample, sorted by condition, prompt and seed.

        Failed samples and samples without a video are included. The index is (condition, prompt, seed). It is
        unique within a study. A condition has the name of its folder. If the study has videos of different
        settings, the name also holds the settings: "baseline num_frames=33". Infinite scores stay infinite. A
        missing score is NaN, and `missing` has the reason. Columns:

        status: "done", or why the sample failed; `error` has the last line of the traceback.
        title, role, family, settings: how tables show the method, see `bench.store.facts.Facts`.
        method, method.NAME: its name and settings. video.NAME: height, num_frames, fps and so on. model: its name.
        prompt_text, content: the prompt, and its subjects, one dimension or speed profile per line.
        latency_s, reference_latency_s: seconds of the sample and of its reference, at the prices of one run (see
            `analysis.prices`). elapsed_s, seconds.STAGE: the raw seconds of the latency and of each stage.
            isolated_s: the median of runs of the sample alone. check_s: its latency at the prices of that run.
        speedup: reference_latency_s over latency_s. The speed-up of tables is a ratio of means, which
            `analysis.statistics.speedup(rows)` computes, and not a mean of this column.
        bound: the reference's DiT FLOPs over the sample's: the speed-up if only the DiT took time.
        no_latency, no_speedup: why there is no such number.
        fault: why the sample's whole condition fails, such as an accelerator that skipped nothing; else None.
        run, clock, device: the run that gave the prices, the clock of its times ("wall" or "cpu"), the device.
        timing: "pooled" for priced latencies. Older records have "shared" or "isolated". Tables do not mix them.
        other_busy_cores: the cores that other processes kept busy while the sample was made.
        made_otherwise: in what the sample's and its reference's device, threads and packages differ.
        peak_bytes, peak_gib: a GPU's peak memory: the model's, and the largest rise of any part of the sample.
        token_ratio: the share of tokens that the DiT sees. dit_work: its tokens times layers over the reference's.
        skipped: the share of the DiT's layers that the passes of a sample with accelerators skipped; else NaN.
        passes: the DiT passes of the sample if made alone, a pass on a shortened latent counting as its share.
        psnr, psnr.kept, psnr.interpolated, psnr.id: a metric over all, kept and interpolated frames, and its id.
        schedule: a digest; samples of equal schedules have equal digests. `curves` has the schedule.
        study, sample, folder: the name of the study, the sample's place in it, and the folder of its files.
        video: the settings in which the study's videos differ, as text. spec, model_identity, dit_passes: JSON texts.
        Further fields of the records are columns with their own names.
        """
        if self.unreadable and not self._skip_unreadable:
            raise StudyError(next(iter(self.unreadable.values())))
        index = self._index.drop(columns=_BOOKKEEPING)
        video = _video_settings(index)
        made = index.assign(
            condition=index["slug"] + video.where(video == "", " " + video),
            video=video,
            content=_content(index),
            dit_work=_work(index),
            skipped=skipped_share(index["accelerated"], index["dit_passes"]),
            bound=of_references(index, SAME_VIDEO, index["dit_flops"]).where(_compared(index)) / index["dit_flops"],
            peak_gib=index["peak_bytes"] / 2**30,
            made_otherwise=_made_otherwise(index),
            **with_latencies(index, self._runs),
        )
        front = ["status", "title", "role", "family", "settings", "model", "device", "latency_s", "speedup"]
        rest = [name for name in made.columns if name not in (*INDEX, *front, "counts", "timed_s", "made_with")]
        return made.set_index(INDEX)[[*front, *rest]].sort_index(kind="stable")

    @cached_property
    def missing(self) -> pd.DataFrame:
        """The reason for each missing score: columns condition, prompt, seed, metric and reason."""
        names = [name for name in self.samples.columns if name.endswith(".reason")]
        parts = [self.samples[name].dropna().rename("reason").reset_index().assign(metric=name[: -len(".reason")])
                 for name in names]  # fmt: skip
        columns = [*INDEX, "metric", "reason"]
        return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)

    @cached_property
    def runs(self) -> dict[str, Run]:
        """The runs of the studies by name, see `analysis.prices`."""
        return {name: run for own in self._runs.values() for name, run in own.items()}

    @cached_property
    def planned(self) -> frozenset[str]:
        """The places of the samples that the studies' sweeps planned; empty without a plan."""
        return frozenset[str]().union(*map(_planned, self.folders))

    @property
    def digest(self) -> str:
        """A hash of the sources of `samples`: the studies' places, their indexed files, and the columns."""
        places = [as_text(str(folder.resolve())) for folder in self.folders]
        runs = {name: [run.prices for run in own.values()] for name, own in self._runs.items()}
        content = json.dumps([places, runs, list(self.samples.columns)]).encode()
        content += self._index["stamp"].to_numpy().tobytes()
        return hashlib.sha256(content).hexdigest()

    def record(self, condition: str, prompt: str, seed: int) -> dict[str, Any]:
        """Returns the whole record of a sample. Raises StudyError if there is no such sample."""
        return record_in(self._folder(condition, prompt, seed))

    def curves(self, condition: str, prompt: str, seed: int) -> pd.DataFrame:
        """Returns a sample's values per frame: metrics, the preview's similarities, and how frames were merged.

        A value between two frames, such as a similarity at lag 1, is in the row of the first. Columns: a metric's name;
        lag1, lag2, lag3; `factor`, how many frames were merged into one; `kept`, whether the frame is not interpolated.
        Raises StudyError if there is no such sample.
        """
        folder = self._folder(condition, prompt, seed)
        record = record_in(folder)
        curves: dict[str, Any] = dict(record.get("similarity") or {})
        if schedule := record.get("schedule"):
            curves["factor"] = np.repeat(
                [f for _, _, f in schedule["segments"]], [n for _, n, _ in schedule["segments"]]
            )
            curves["kept"] = np.isin(np.arange(len(curves["factor"])), schedule["kept_frames"])
        scores = folder / "scores.json"
        for name, score in (orjson.loads(scores.read_bytes())["scores"] if scores.is_file() else {}).items():
            if score.get("per_frame") is not None:
                curves[name] = [float(v) for v in score["per_frame"]]
        frames = max((len(values) for values in curves.values()), default=0)
        return pd.DataFrame({n: pd.Series(v) for n, v in curves.items()}, index=pd.RangeIndex(frames, name="frame"))

    def _folder(self, condition: str, prompt: str, seed: int) -> Path:
        found = self.samples.query("condition == @condition and prompt == @prompt and seed == @seed")["folder"]
        if found.empty:
            conditions = ", ".join(self.samples.index.unique("condition"))
            raise StudyError(
                f"there is no sample of condition {condition}, prompt {prompt}, seed {seed}; conditions: {conditions}"
            )
        if len(found) > 1:
            places = ", ".join(map(as_text, found))
            raise StudyError(f"{condition}, prompt {prompt}, seed {seed} is there {len(found)} times: {places}")
        return Path(found.iloc[0])


def record_in(folder: Path | str) -> dict[str, Any]:
    """Returns the whole record in a sample's folder. Raises StudyError if the sample has gone."""
    try:
        return json.loads((Path(folder) / "record.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StudyError(f"{folder} has gone while the study was read; run the command again") from None


def study_name(study: Path) -> str:
    """Returns the study's name for people: valid Unicode in any locale, bytes that are not UTF-8 written as \\xNN."""
    return as_text(study.resolve().name)


def _read(folder: Path, name: str, experiment: str) -> pd.DataFrame:
    made = f"a study is made by: python -m bench.sweep +exp={experiment}"
    if not folder.is_dir():
        raise StudyError(f"{folder} is no folder; {made}")
    index = refreshed(folder)
    if index.empty:
        raise StudyError(f"{folder} holds no samples; {made}")
    # paths as Python has them in this locale, which need not be valid Unicode
    places = [f"{folder}{os.sep}{s if s.isascii() else os.fsdecode(s.encode())}" for s in index["sample"]]
    return index.assign(study=name, folder=pd.Series(places, index.index, dtype=object))


def _runs(folder: Path) -> dict[str, Run]:
    try:
        return runs_in(folder)
    except ValueError as error:
        raise StudyError(str(error)) from None


def _together(read: list[pd.DataFrame]) -> pd.DataFrame:
    """Returns the samples of all studies. A column of numbers in one study and of texts in another becomes text."""
    for name in dict.fromkeys(name for index in read for name in index.columns if len(read) > 1):
        filled = [index[name] for index in read if name in index and index[name].notna().any()]
        texts = [pd.api.types.is_string_dtype(column) for column in filled]
        if name != "folder" and any(texts) and not all(texts):
            read = [index.assign(**{name: index[name].astype("str")}) if name in index else index for index in read]
    return pd.concat(read, ignore_index=True) if len(read) > 1 else read[0]


def _planned(study: Path) -> frozenset[str]:
    file = study / "plan.json"
    try:
        return frozenset(json.loads(file.read_text(encoding="utf-8"))["samples"]) if file.is_file() else frozenset()
    except (ValueError, KeyError, TypeError) as error:
        raise StudyError(f"{file} is damaged ({error!r}); the study's sweep writes it again") from None


def _video_settings(index: pd.DataFrame) -> pd.Series:
    """Returns for each sample the video settings that differ between the study's videos, such as "num_frames=33"."""
    specs = {text: json.loads(text) for text in index["spec"].unique()}
    of_videos = [specs[text] for text in index["spec"][index["makes_video"]].unique()]
    names = dict.fromkeys(name for spec in of_videos for name in spec)
    differing = [n for n in names if len({json.dumps(spec.get(n)) for spec in of_videos}) > 1]
    texts = {text: ", ".join(f"{n}={spec[n]}" for n in differing if n in spec) for text, spec in specs.items()}
    return index["spec"].map(texts)


def _content(index: pd.DataFrame) -> pd.Series:
    """Returns the subjects of each prompt, one per line: its dimensions, and its speed profile unless they name one."""

    def of(pair: str) -> str:
        prompt, _, dimensions = pair.partition("\n")
        named = dimensions.split("\n") if dimensions else []
        found = _SPEED_OF_ID.fullmatch(prompt)
        return "\n".join(named if not found or set(named) & set(SPEEDS) else [*named, found[1]])

    pairs = index["prompt"] + "\n" + index["prompt_dimensions"].fillna("")
    return pairs.map({pair: of(pair) for pair in pairs.unique()})


def _compared(index: pd.DataFrame) -> pd.Series:
    """Returns whether a sample is finished and may be compared with a reference: a reference is not."""
    return (index["role"] != "reference") & (index["status"] == "done")


def _made_otherwise(index: pd.DataFrame) -> pd.Series:
    """Returns in what a sample's and its reference's device, threads and packages differ, as text; else None."""
    theirs = of_references(index, SAME_VIDEO, index["made_with"])
    pairs = pd.Series(list(zip(index["made_with"], theirs, strict=True)), index.index)

    def told(pair: tuple[str, str]) -> str | None:
        ours, reference = map(json.loads, pair)
        names = [n for n in ours | reference if ours.get(n) != reference.get(n)]
        return ", ".join(f"{n} {ours.get(n)} and {reference.get(n)}" for n in names) or None

    there = theirs.notna() & _compared(index) & (index["made_with"] != theirs)
    texts = {pair: told(pair) for pair in pairs[there].unique()}
    return pairs.map(texts).where(there, None)


def _work(index: pd.DataFrame) -> pd.Series:
    """Returns the DiT's tokens times computed layers, over the reference's. Older records lack the layers."""
    passes = {text: _tokens(json.loads(text)) for text in index["dit_passes"].dropna().unique()}
    tokens = index["dit_passes"].map(passes).astype(float)
    work = tokens / of_references(index, SAME_VIDEO, tokens)
    return work.fillna(index["passes"] / of_references(index, SAME_VIDEO, index["passes"]))


def _tokens(passes: list[list[float]]) -> float:
    """Returns the latent tokens of a record's DiT passes times the share of layers that was computed."""
    return sum(t * h * w * forwards * (attention + mlp) / 2 * n for t, h, w, forwards, attention, mlp, n in passes)
