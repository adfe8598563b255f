"""The files of scored samples that are kept, and masters that are made again from latents, bit by bit."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from safetensors.torch import load_file

from bench.plan.command_line import CONF
from bench.plan.job import Job
from bench.plan.settings import job_of
from bench.plan.units import units_of
from bench.store import upkeep
from bench.store.claims import claimed
from bench.store.place import LATENTS, MASTER, PREVIEW, RECORD, SCORES, Place
from bench.store.record import Record
from bench.store.study import Store
from bench.store.upkeep import faults, gc, samples, verify
from bench.work import rebuild
from bench.work.models import _codecs, _loaded, backbone_of, codec_of
from bench.work.progress import Sweep
from bench.work.records import sha256_of_frames
from bench.work.scoring import _read, score_study
from bench.work.worker import run
from metrics.video_file import read
from vgdfr import Baseline, BaselineRerun, FewerSteps, Vgdfr, VideoSpec, frames_of, generate
from vgdfr.backbones.base import Backbone
from vgdfr.backbones.hunyuan_vae import HunyuanVideoCodec
from vgdfr.files import sha256

METHODS = (
    Baseline(), BaselineRerun(), FewerSteps(2), Vgdfr(k=1, theta=0.01), Vgdfr(k=1, theta=1.0),
    Vgdfr(k=1, theta=0.01, interpolator="linear"), Vgdfr(k=2, theta=0.01, merge_space="latent"),
)  # fmt: skip


@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
def test_final_latents_give_the_same_frames(backbone: Backbone, spec: VideoSpec, method: object) -> None:
    video = generate(backbone, spec, method)  # type: ignore[arg-type]
    assert video.latents is not None and video.latents.dtype == torch.float32
    again = frames_of(backbone.codec, video.latents, method, video.schedule, spec)  # type: ignore[arg-type]
    assert np.array_equal(again, video.frames)


Jobs = Callable[..., list[Job]]


@pytest.fixture
def jobs(tiny_checkpoint: Path, tmp_path: Path) -> Jobs:
    """Jobs of two conditions over one prompt, with given settings: three samples."""

    def composed(*overrides: str) -> list[Job]:
        small = [
            f"root={tmp_path}", "study=tiny", f"model.backbone.path={tiny_checkpoint}", "model.video.num_frames=17",
            "model.video.height=32", "model.video.width=32", "model.video.num_inference_steps=3", "prompts.limit=1",
            "metrics=pixel", "method.k=1",
        ]  # fmt: skip
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return [job_of(compose("config", [*small, f"method.theta={t}", *overrides])) for t in (0.01, 1.0)]

    return composed


def sweep(jobs: list[Job]) -> Sweep:
    display = Sweep(3, 3)
    run(jobs, display)
    display.close()
    return display


def files(study: Path) -> list[set[str]]:
    """Returns the names of each sample's files."""
    return [{file.name for file in place.folder.iterdir()} for place, _ in samples(study)]


def place_of(study: Path, condition: str) -> Place:
    """Returns the place of the condition's only sample."""
    (place,) = (place for place in Store(study).places() if place.condition == condition)
    return place


def values(study: Path) -> dict[str, dict[str, object]]:
    found = {f.parent.parent.name: json.loads(f.read_text())["scores"] for f in study.glob("*/*/scores.json")}
    return {slug: {name: s["value"] for name, s in scores.items()} for slug, scores in found.items()}


def test_all_latents_scores_and_back(jobs: Jobs) -> None:
    """The sweep runs again with other values of `keep`. Scores are never lost, and masters come back equal."""
    assert sweep(jobs("metrics.names=[psnr,flicker]")).made == 3
    study = jobs()[0].study
    whole = {MASTER, PREVIEW, LATENTS, RECORD, SCORES}
    assert files(study) == [whole] * 3
    masters = {file: file.read_bytes() for file in study.glob(f"*/*/{MASTER}")}
    records = {place: record for place, record in samples(study)}
    for place, record in records.items():
        assert record is not None and record.frames_sha256 == sha256_of_frames(read(place.file(MASTER)).frames)

    assert sweep(jobs("metrics.names=[psnr,flicker]", "keep=latents")).found == 3
    assert files(study) == [whole - {MASTER}] * 3 and verify(study) == (3, [])
    expected = values(study)

    # a new metric takes frames from latents, for the samples and for their baseline
    assert sweep(jobs("metrics.names=[psnr,flicker,ssim]", "keep=latents")).found == 3
    assert files(study) == [whole - {MASTER}] * 3, "the masters were made again in memory only"
    anew = values(study)
    assert anew["vgdfr-k1-theta1.0"]["ssim"] == 1.0 and 0 < float(str(anew["vgdfr-k1-theta0.01"]["ssim"])) < 1
    assert {s: {n: v[n] for n in v if n != "ssim"} for s, v in anew.items()} == expected

    assert sweep(jobs("metrics.names=[psnr,flicker]")).found == 3  # keep=all
    assert {file: file.read_bytes() for file in study.glob(f"*/*/{MASTER}")} == masters
    assert {place: record for place, record in samples(study)} == records

    assert sweep(jobs("metrics.names=[psnr,flicker]", "keep=scores")).found == 3
    assert files(study) == [{PREVIEW, RECORD, SCORES}] * 3 and verify(study) == (3, [])
    assert sweep(jobs("metrics.names=[psnr,flicker]", "keep=scores")).found == 3
    for names in (["cosine"], ["psnr_frame_mean"]):
        (reasons,) = score_study(study, names).values()
        (reason,) = reasons
        assert "neither master nor latents were kept (keep=scores)" in reason and "keep=all" in reason
    assert values(study) == {s: v | ({} if s == "baseline" else {"cosine": None, "psnr_frame_mean": None})
                             for s, v in anew.items()}  # fmt: skip

    assert sweep(jobs("metrics.names=[psnr,cosine]")).made == 3  # keep=all makes masters again; record and scores stay
    assert {file: file.read_bytes() for file in study.glob(f"*/*/{MASTER}")} == masters
    assert {place: record for place, record in samples(study)} == records
    assert values(study)["vgdfr-k1-theta0.01"]["cosine"] is not None


def test_scoring_alone_loads_no_more_than_the_vae_of_the_model_that_made_the_sample(jobs: Jobs) -> None:
    study = jobs()[0].study
    sweep(jobs("metrics.names=[psnr]", "keep=latents"))
    model = next(iter(_loaded))
    assert codec_of(model) is backbone_of(model).codec, "the loaded model's VAE is used"
    _loaded.clear()
    _read.cache_clear()
    assert not any(score_study(study, ["ssim"]).values())
    assert not _loaded and list(_codecs) == [model]
    backbone_of(model)
    assert not _codecs, "two models are loaded at a time"


def test_what_cannot_be_made_again_is_null_with_the_reason(jobs: Jobs, tmp_path: Path) -> None:
    study, store = jobs()[0].study, Store(jobs()[0].study)
    sweep(jobs("metrics.names=[psnr]", "keep=latents"))
    place = place_of(study, "vgdfr-k1-theta0.01")
    record = store.read(place)
    assert record is not None

    def reason_with(changed: Record) -> str:
        store.update(place, changed)
        _read.cache_clear()
        (reason,) = score_study(study, ["ssim"])["ssim"]
        return reason

    elsewhere = record.checkpoint | {"path": str(tmp_path / "gone")}
    assert "no checkpoint folder at" in reason_with(replace(record, checkpoint=elsewhere))
    other = record.identity | {"model": record.identity["model"] | {"weights_sha256": "0" * 64}}
    assert "is not its own (weights_sha256 differ)" in reason_with(replace(record, identity=other))
    assert "is not what was recorded" in reason_with(replace(record, frames_sha256="0" * 64))
    store.update(place, record)
    data = bytearray(place.file(LATENTS).read_bytes())
    data[-1] ^= 1
    place.file(LATENTS).write_bytes(data)
    _read.cache_clear()
    assert "latents.safetensors is not what was written" in next(iter(score_study(study, ["ssim"])["ssim"]))
    assert sweep(jobs("metrics.names=[psnr]", "keep=latents")).made == 1, "the damaged sample is made again"
    assert verify(study) == (3, [])


def test_what_is_not_scored_yet_stays(jobs: Jobs) -> None:
    """A failed sample keeps the master of its baseline. All other samples lose their masters."""
    study, store = jobs()[0].study, Store(jobs()[0].study)
    sweep(jobs("metrics.names=[psnr]"))
    place = place_of(study, "vgdfr-k1-theta0.01")
    record = store.read(place)
    assert record is not None
    place.file(MASTER).write_bytes(b"broken")
    store.put(place, replace(record, status="failed", error="it broke"))

    def fault(*_: object) -> None:
        raise RuntimeError("again")

    hook = torch.nn.modules.module.register_module_forward_pre_hook(fault)
    try:
        assert len(sweep(jobs("metrics.names=[psnr]", "keep=scores")).failed) == 1
    finally:
        hook.remove()
    assert [MASTER in names for names in files(study)] == [True, False, False]
    assert sweep(jobs("metrics.names=[psnr]", "keep=scores")).made == 1
    assert [MASTER in names for names in files(study)] == [False] * 3


def test_records_of_before_load_and_keep_their_masters(jobs: Jobs) -> None:
    """An old record lacks later fields, and its sample has no latents, so the master is the only source of frames."""
    study, store = jobs()[0].study, Store(jobs()[0].study)
    sweep(jobs("metrics.names=[psnr,flicker]"))
    later = {"dropped", "frames_sha256", "checkpoint", "timing", "warmups", "repeats"}
    for place in Store(study).places():
        values = {k: v for k, v in json.loads(place.file(RECORD).read_text()).items() if k not in later}
        del values["files"][LATENTS]
        place.file(RECORD).write_text(json.dumps(values))
        place.file(LATENTS).unlink()
    assert sweep(jobs("metrics.names=[psnr,flicker]", "keep=latents")).found == 3
    assert files(study) == [{MASTER, PREVIEW, RECORD, SCORES}] * 3
    old = store.read(place_of(study, "baseline"))
    assert old is not None and (old.timing, old.frames_sha256) == ("shared", None)
    assert sweep(jobs("metrics.names=[psnr,flicker]", "timing=isolated", "timing.repeats=1")).found == 3
    assert {record.timing for _, record in samples(study) if record} == {"isolated"}


def test_an_interrupted_drop_is_finished_by_gc(jobs: Jobs) -> None:
    study = jobs()[0].study
    sweep(jobs("metrics.names=[psnr]", "keep=latents"))
    place = place_of(study, "baseline")
    place.file(MASTER).write_bytes(b"the drop was interrupted before it removed this file")
    assert faults(place, Store.read(place)) == []
    assert gc(study, False, really=True) == [f"{place}/{MASTER}"]
    assert not place.file(MASTER).exists()


def test_masters_that_cannot_come_back_fail_and_nothing_is_touched(jobs: Jobs) -> None:
    """Another machine gives other frames. Latents and scores are not lost, and no sample is replaced."""
    (job, _) = jobs()
    study, store = job.study, Store(job.study)
    sweep(jobs("metrics.names=[psnr]", "keep=latents"))
    place = place_of(study, "vgdfr-k1-theta0.01")
    record = store.recorded(place)
    assert record is not None
    changed = store.update(place, replace(record, frames_sha256="0" * 64))

    def refused(keep: str) -> None:
        kept = {name: place.file(name).read_bytes() for name in (*changed.files, RECORD, SCORES)}
        display = sweep(jobs("metrics.names=[psnr]", f"keep={keep}"))
        assert display.failed == ["vgdfr-k1-theta0.01 " + job.prompts[0].id] and display.found == 2
        assert {name: place.file(name).read_bytes() for name in kept} == kept
        assert not (study / ".quarantine").exists()

    refused("all")
    changed = store.drop(place, changed, (LATENTS,))
    refused("all")  # made again from the prompt, the master differs from the dropped master
    place.file(RECORD).unlink()
    assert sweep(jobs("metrics.names=[psnr]")).made == 1


def test_the_frames_decide_whether_a_master_is_the_same(jobs: Jobs) -> None:
    """Another version of the library writes the same frames with other bytes."""
    study, store = jobs()[0].study, Store(jobs()[0].study)
    sweep(jobs("metrics.names=[psnr]", "keep=latents"))
    for place, record in list(samples(study)):
        assert record is not None
        store.update(place, replace(record, dropped={MASTER: "0" * 64}))
    assert sweep(jobs("metrics.names=[psnr]")).found == 3
    assert [record and record.dropped for _, record in samples(study)] == [{}] * 3 and verify(study) == (3, [])


def test_no_memory_or_no_interpolator_costs_the_sample_its_master_only(jobs: Jobs, tmp_path: Path) -> None:
    study, store = jobs()[0].study, Store(jobs()[0].study)
    sweep(jobs("metrics.names=[psnr]", "keep=latents"))
    place = place_of(study, "vgdfr-k1-theta0.01")
    record = store.recorded(place)
    assert record is not None
    moved = record.method | {"interpolator": "rife", "interpolator_weights": str(tmp_path / "gone.pkl")}
    store.update(place, replace(record, method=moved))
    assert sweep(jobs("metrics.names=[psnr,ssim]", "keep=latents")).found == 3, "the sweep knows its place"
    (reason,) = score_study(study, ["cosine"])["cosine"]
    assert "its latents cannot be decoded here: FileNotFoundError" in reason

    def fault(*_: object) -> None:
        raise torch.OutOfMemoryError("out of memory, say")

    hook = torch.nn.modules.module.register_module_forward_pre_hook(fault)
    try:
        assert len(sweep(jobs("metrics.names=[psnr]")).failed) == 3
        assert all("OutOfMemoryError" in reason for reason in score_study(study, ["flicker"])["flicker"])
    finally:
        hook.remove()
    assert sweep(jobs("metrics.names=[psnr]")).found == 3


def test_a_study_without_frames_takes_another_condition(jobs: Jobs) -> None:
    """The baseline is made again for the comparison, bit for bit, and dropped again."""
    job, other = jobs("metrics.names=[psnr,flicker]", "keep=scores")
    sweep([job])
    place = place_of(job.study, "baseline")
    before = place.file(RECORD).read_bytes()
    assert sweep([job, other]).made == 2, "the baseline and the new sample"
    assert values(job.study)["vgdfr-k1-theta1.0"]["psnr"] == "inf"
    assert files(job.study) == [{PREVIEW, RECORD, SCORES}] * 3
    assert json.loads(place.file(RECORD).read_text()) == json.loads(before)
    assert sweep([job, other]).found == 3
    job, other = jobs("metrics.names=[psnr,flicker,ssim]", "keep=scores")
    assert sweep([job, other]).found == 3, "no sample can be scored, so none is made"


def test_verify_and_gc_leave_alone_what_a_sweep_changes_meanwhile(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process drops masters after the records were read, or holds the claim on the prompt."""
    study, store = jobs()[0].study, Store(jobs()[0].study)
    sweep(jobs("metrics.names=[psnr]"))
    place, judge = place_of(study, "vgdfr-k1-theta0.01"), upkeep.faults

    def dropped_meanwhile(judged: Place, record: Record | None) -> list[str]:
        if judged == place and record is not None:
            store.drop(place, record, (MASTER,))
        return judge(judged, record)

    monkeypatch.setattr(upkeep, "faults", dropped_meanwhile)
    assert verify(study) == (3, []) and not place.file(MASTER).exists()
    monkeypatch.undo()

    (unit,) = units_of(jobs())
    place.file(MASTER).write_bytes(b"being put back")
    place.file(LATENTS).write_bytes(b"damaged")
    with claimed(study, unit.name) as mine:
        assert mine
        count, (said,) = verify(study)
        assert count == 3 and "a sweep is at work on its prompt" in said and place.folder.exists()
        assert gc(study, False, really=True) == [] and place.file(MASTER).exists()
    assert gc(study, False, really=True) == [f"{place}/{MASTER}"]
    count, (said,) = verify(study)
    assert "latents.safetensors is not what was written; moved to" in said and not place.folder.exists()


def test_latents_are_stored_as_they_were_decoded(jobs: Jobs, tiny_checkpoint: Path) -> None:
    (job, _) = jobs("metrics.names=[psnr]")
    sweep([job])
    place = place_of(job.study, "baseline")
    stored, size = load_file(place.file(LATENTS))["latents"], place.file(LATENTS).stat().st_size
    assert stored.dtype == torch.float32 and stored.shape == (1, 4, 5, 4, 4)
    spec = job.condition.video.spec("a prompt", 0)
    assert 0 < size - job.condition.model.latents_bytes(spec) < 1000, "the file is larger than its header explains"
    assert Store.read(place).files[LATENTS] == sha256(place.file(LATENTS))  # type: ignore[union-attr]


@contextmanager
def decoding_otherwise(job: Job, by: float) -> Iterator[None]:
    """Makes the VAE decode frames that are brighter by `by` in the block. The range of values is 2 (255 levels)."""
    codec = backbone_of(job.condition.model).codec
    assert isinstance(codec, HunyuanVideoCodec)
    decoder: Any = codec.vae.decoder
    hook = decoder.register_forward_hook(lambda module, args, out: out + by)
    try:
        yield
    finally:
        hook.remove()


def test_a_master_goes_only_after_its_latents_have_given_it_back(
    jobs: Jobs, capsys: pytest.CaptureFixture[str]
) -> None:
    study = jobs()[0].study
    sweep(jobs("metrics.names=[psnr]"))
    with decoding_otherwise(jobs()[0], by=0.02):
        assert sweep(jobs("metrics.names=[psnr]", "keep=latents")).found == 3
    assert all(MASTER in names for names in files(study)) and verify(study) == (3, [])
    assert "the master stays, because what its latents decode to here is not what was" in capsys.readouterr().out
    assert sweep(jobs("metrics.names=[psnr]", "keep=latents")).found == 3
    assert not any(MASTER in names for names in files(study))


def test_where_bits_do_not_come_back_a_small_difference_is_recorded_and_a_large_one_refused(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, the file of latents also holds some pixels to compare with."""
    monkeypatch.setattr(rebuild, "is_bit_stable", lambda record: False)
    study = jobs()[0].study
    sweep(jobs("metrics.names=[psnr]"))
    pixels = [load_file(file)["pixels"] for file in study.glob(f"*/*/{LATENTS}")]
    assert [tuple(p.shape) for p in pixels] == [(17, 2, 2, 3)] * 3
    before = {place: record for place, record in samples(study) if record}
    with decoding_otherwise(jobs()[0], by=0.2):
        sweep(jobs("metrics.names=[psnr]", "keep=latents"))
        assert all(MASTER in names for names in files(study)), "25 levels are too many"
    with decoding_otherwise(jobs()[0], by=0.02):
        sweep(jobs("metrics.names=[psnr]", "keep=latents"))
        assert not any(MASTER in names for names in files(study))
        assert sweep(jobs("metrics.names=[psnr,ssim]", "keep=latents")).found == 3
        found = json.loads(next(study.glob(f"vgdfr-k1-theta0.01/*/{SCORES}")).read_text())["scores"]
        assert (
            1 <= found["ssim"]["extra"]["frames_difference"] <= 4 and "frames_difference" not in found["psnr"]["extra"]
        )
        assert sweep(jobs("metrics.names=[psnr]")).found == 3
    assert verify(study) == (3, []) and not (study / ".quarantine").exists()
    for place, record in samples(study):
        assert record is not None and record.restored_difference is not None
        assert 1 <= record.restored_difference <= 4
        assert before[place].restored_difference is None and record.frames_sha256 != before[place].frames_sha256
        assert record.frames_sha256 == sha256_of_frames(read(place.file(MASTER)).frames)


def test_another_word_for_keep_is_refused(jobs: Jobs) -> None:
    with pytest.raises(ValueError, match="keep must be one of all, latents, scores, got 'some'"):
        jobs("keep=some")
