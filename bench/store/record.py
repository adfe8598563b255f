"""The record of a sample. The store writes it as record.json into the sample's folder. Imports no torch."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

SCHEMA = 1


@dataclass(frozen=True)
class Record:
    """Schema version 1. Times are in seconds and hashes are sha256. `peak_bytes` is None if the device does not tell.

    status: "done", "failed", "nan" or "constant". The last two are failures, too: a video with values that are not
        finite, or of one colour. A failed sample has a traceback in `error` and no files, and a sweep tries it again.
    schedule: segments as [start, length, factor], kept frames and kept latents. None for a method without a schedule.
        The kept frames are the frames of the video that were not interpolated. If the last steps ran on the full length
        these are all frames, although the segments merged some before.
    similarity: the preview's SSIM at lags 1-3. None for a method that does not measure similarity.
    environment: command, commit, versions and machine, see `bench.work.provenance`. `commit` is None in an installed
        wheel. `code_sha256` distinguishes builds and modified checkouts. Older records lack it.
    prompt_dimensions: the VBench dimensions of the prompt.
    shared_stages: the stages that were measured, at least in part, while another sample of the same prompt and seed was
        made. Empty if all stages were measured on this sample.
    passes, passes_done: the DiT passes of the sample if made alone, and the passes that were made for this sample. A
        pass on a shortened latent counts as its share of the tokens.
    checkpoint: the place from which the model was loaded: path, revision and device. For a model class from outside
        this project, also the class and its fields. The model's content is in `identity`.
    frames_sha256: the hash of the frames' bytes. It identifies the frames, however the master's file is encoded.
    restored_difference: on a device without bit stability, the largest difference in levels of 255 between the frames
        that were scored first and the frames that the latents give. Before the master is dropped it is over all pixels,
        afterwards over every 16th pixel of each row and column. None if the frames are equal.
    files, dropped: the hashes of the other files in the sample's folder, and of files that were written and not kept.
    timing: "shared" if `seconds` were measured while samples of one prompt shared work. "isolated" if `seconds` are
        those of the run with the median latency among `repeats`, complete runs of this sample alone, after `warmups`.
        Each run holds its seconds, its latency and the state of the machine (`bench.work.machine`).
    timed_on: the environment of the isolated runs. None if `seconds` were measured in `environment`.
    layers: the number of "dual" and "single" layers of the DiT, the layers with Global-RoPE ("global", null for a
        method that tries several choices), and the layers of the paper's list on this model ("paper"). None for a
        method that leaves all layers as they are.
    title, role, family, settings, makes_video: facts of the method for readers. Older records lack them, and
        `bench.store.facts` supplies them.
    own_noise: True if the method draws noise of its own, so that differences to the baseline tell nothing about its
        quality, and `noise_sha256` is None. None for all other methods.
    data: the measurements of a method that makes no video. Older records hold them as `layer_errors`.
    dit_passes: the DiT passes of the sample if made alone, as rows [latent frames, latent height, latent width,
        forwards, share of attention computed, share of feed-forward computed, count]. None in older records.
    outside_latency: the stages in `seconds` that are not part of `latency_s`.
    run: the run that made the sample, see `bench.store.runs`. Older records lack it and the next three fields.
    timed: for each kind of work in the latency, [count, wall seconds, CPU seconds]. CPU seconds are None on a GPU.
    unpooled: the time in the latency that is of no kind, by stage: [wall seconds, CPU seconds].
    machine: the state of the machine while the sample was made, see `bench.work.machine`.
    dit_flops: the FLOPs of the DiT's passes if the sample is made alone; None if the model does not tell them.
    accelerated: the measurements of each accelerator, by its name.
    token_ratio: the share of latent frames that the schedule keeps, in the steps on the shortened latent. For a method
        without a schedule it is the share of tokens that the DiT saw, over all forwards. None for a video that no
        generator makes in this way (a ceiling); `latency_s`, `passes` and `dit_passes` are None, too.
    token_ratio_asked, frame_ratio_asked: the ratio that the settings ask for. The released search asks for a ratio of
        frames, all other schedules for a ratio of tokens. None for settings without a ratio.
    """

    status: Literal["done", "failed", "nan", "constant"]
    key: str
    slug: str
    model_name: str
    method: dict[str, Any]
    prompt_id: str
    seed_index: int
    identity: dict[str, Any]
    reference_key: str | None
    environment: dict[str, Any]
    created: str
    prompt_dimensions: list[str] = field(default_factory=list)
    schedule: dict[str, Any] | None = None
    similarity: dict[str, list[float]] | None = None
    token_ratio_asked: float | None = None
    frame_ratio_asked: float | None = None
    token_ratio: float | None = None
    frame_ratio: float | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    latency_s: float | None = None
    peak_bytes: int | None = None
    notes: list[str] = field(default_factory=list)
    shared_stages: list[str] = field(default_factory=list)
    passes: float | None = None
    passes_done: float | None = None
    noise_sha256: str | None = None
    layers: dict[str, Any] | None = None
    title: str | None = None
    role: str | None = None
    family: str | None = None
    settings: list[str] | None = None
    makes_video: bool | None = None
    own_noise: bool | None = None
    data: dict[str, Any] | None = None
    dit_passes: list[list[int | float]] | None = None
    outside_latency: list[str] = field(default_factory=list)
    run: str | None = None
    timed: dict[str, list[float | None]] = field(default_factory=dict)
    unpooled: dict[str, list[float | None]] = field(default_factory=dict)
    machine: dict[str, Any] | None = None
    dit_flops: float | None = None
    accelerated: dict[str, dict[str, float]] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    frames_sha256: str | None = None
    restored_difference: int | None = None
    checkpoint: dict[str, Any] = field(default_factory=dict)
    timing: Literal["shared", "isolated"] = "shared"
    warmups: list[dict[str, Any]] = field(default_factory=list)
    repeats: list[dict[str, Any]] = field(default_factory=list)
    timed_on: dict[str, Any] | None = None
    error: str | None = None
    schema: int = SCHEMA

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Record":
        """Returns the record, or raises ValueError for a record of another schema version."""
        values = json.loads(text)
        if values.get("schema") != SCHEMA:
            raise ValueError(
                f"expected a record of schema {SCHEMA}, got {values.get('schema')}; use the code it is from"
            )
        if (errors := values.pop("layer_errors", None)) is not None:
            values |= {"data": errors, "makes_video": False}
        return cls(**values)

    def sha256_of(self, name: str) -> str | None:
        """Returns the hash of the file `name`, kept or dropped, or None if the sample never had such a file."""
        return self.files.get(name) or self.dropped.get(name)
