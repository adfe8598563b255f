"""What stays of scored samples, and what comes back of it: masters made again of latents, bit for bit."""

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

from bench import keep, upkeep
from bench.claims import claimed
from bench.config import CONF, Job, job_of
from bench.models import _codecs, _loaded, backbone_of, codec_of
from bench.progress import Sweep
from bench.record import Record, sha256_of_frames
from bench.run import run
from bench.score import _read, score_study
from bench.store import LATENTS, MASTER, PREVIEW, RECORD, SCORES, Store
from bench.units import units_of
from bench.upkeep import faults, gc, samples, verify
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
        with initialize_config_dir(CONF, version_base="1.3"):
            return [job_of(compose("config", [*small, f"method.theta={t}", *overrides])) for t in (0.01, 1.0)]

    return composed


def sweep(jobs: list[Job]) -> Sweep:
    display = Sweep(3, 3)
    run(jobs, display)
    display.close()
    return display


def files(study: Path) -> list[set[str]]:
    return [{file.name for file in folder.iterdir()} for folder, _ in samples(study)]


def values(study: Path) -> dict[str, dict[str, object]]:
    found = {f.parent.parent.name: json.loads(f.read_text())["scores"] for f in study.glob("*/*/scores.json")}
    return {slug: {name: s["value"] for name, s in scores.items()} for slug, scores in found.items()}


def test_all_latents_scores_and_back(jobs: Jobs) -> None:
    """One study, its `keep` changed by running the sweep again; scores are never lost, masters come back equal."""
    assert sweep(jobs("metrics.names=[psnr,flicker]")).made == 3
    study = jobs()[0].study
    whole = {MASTER, PREVIEW, LATENTS, RECORD, SCORES}
    assert files(study) == [whole] * 3
    masters = {file: file.read_bytes() for file in study.glob(f"*/*/{MASTER}")}
    records = {folder: record for folder, record in samples(study)}
    for folder, record in records.items():
        assert record is not None and record.frames_sha256 == sha256_of_frames(read(folder / MASTER).frames)

    assert sweep(jobs("metrics.names=[psnr,flicker]", "keep=latents")).found == 3
    assert files(study) == [whole - {MASTER}] * 3 and verify(study) == (3, [])
    expected = values(study)

    # a new metric: frames come of latents, for the samples and for the baseline that they are compared with
    assert sweep(jobs("metrics.names=[psnr,flicker,ssim]", "keep=latents")).found == 3
    assert files(study) == [whole - {MASTER}] * 3, "made again in memory only"
    anew = values(study)
    assert anew["vgdfr-k1-theta1.0"]["ssim"] == 1.0 and 0 < float(str(anew["vgdfr-k1-theta0.01"]["ssim"])) < 1
    assert {s: {n: v[n] for n in v if n != "ssim"} for s, v in anew.items()} == expected

    assert sweep(jobs("metrics.names=[psnr,flicker]")).found == 3  # keep=all
    assert {file: file.read_bytes() for file in study.glob(f"*/*/{MASTER}")} == masters
    assert {folder: record for folder, record in samples(study)} == records

    assert sweep(jobs("metrics.names=[psnr,flicker]", "keep=scores")).found == 3
    assert files(study) == [{PREVIEW, RECORD, SCORES}] * 3 and verify(study) == (3, [])
    assert sweep(jobs("metrics.names=[psnr,flicker]", "keep=scores")).found == 3
    for names in (["cosine"], ["psnr_frame_mean"]):
        (reasons,) = score_study(study, names).values()
        (reason,) = reasons
        assert "neither master nor latents were kept (keep=scores)" in reason and "keep=all" in reason
    assert values(study) == {s: v | ({} if s == "baseline" else {"cosine": None, "psnr_frame_mean": None})
                             for s, v in anew.items()}  # fmt: skip

    assert sweep(jobs("metrics.names=[psnr,cosine]")).made == 3  # keep=all: made again, record and scores stay
    assert {file: file.read_bytes() for file in study.glob(f"*/*/{MASTER}")} == masters
    assert {folder: record for folder, record in samples(study)} == records
    assert values(study)["vgdfr-k1-theta0.01"]["cosine"] is not None


def test_scoring_alone_loads_no_more_than_the_vae_of_the_model_that_made_the_sample(jobs: Jobs) -> None:
    study = jobs()[0].study
    sweep(jobs("metrics.names=[psnr]", "keep=latents"))
    model = next(iter(_loaded))
    assert codec_of(model) is backbone_of(model).codec, "a loaded model's own"
    _loaded.clear()
    _read.cache_clear()
    assert not any(score_study(study, ["ssim"]).values())
    assert not _loaded and list(_codecs) == [model]
    backbone_of(model)
    assert not _codecs, "one at a time"


def test_what_cannot_be_made_again_is_null_with_the_reason(jobs: Jobs, tmp_path: Path) -> None:
    study, store = jobs()[0].study, Store(jobs()[0].study)
    sweep(jobs("metrics.names=[psnr]", "keep=latents"))
    (folder,) = study.glob("vgdfr-k1-theta0.01/*")
    place, record = str(folder.relative_to(study)), store.read(folder)
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
    data = bytearray((folder / LATENTS).read_bytes())
    data[-1] ^= 1
    (folder / LATENTS).write_bytes(data)
    _read.cache_clear()
    assert "latents.safetensors is not what was written" in next(iter(score_study(study, ["ssim"])["ssim"]))
    assert sweep(jobs("metrics.names=[psnr]", "keep=latents")).made == 1, "damaged, so made anew"
    assert verify(study) == (3, [])


def test_what_is_not_scored_yet_stays(jobs: Jobs) -> None:
    """A sample failed: it and the baseline that it will be compared with keep their masters, the others do not."""
    study, store = jobs()[0].study, Store(jobs()[0].study)
    sweep(jobs("metrics.names=[psnr]"))
    (folder,) = study.glob("vgdfr-k1-theta0.01/*")
    place, record = str(folder.relative_to(study)), store.read(folder)
    assert record is not None
    (folder / MASTER).write_bytes(b"broken")
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
    """A record without the fields that came later, its sample without latents: the master is all there is of it."""
    study, store = jobs()[0].study, Store(jobs()[0].study)
    sweep(jobs("metrics.names=[psnr,flicker]"))
    later = {"dropped", "frames_sha256", "checkpoint", "timing", "warmups", "repeats"}
    for folder, _ in list(samples(study)):
        values = {k: v for k, v in json.loads((folder / RECORD).read_text()).items() if k not in later}
        del values["files"][LATENTS]
        (folder / RECORD).write_text(json.dumps(values))
        (folder / LATENTS).unlink()
    assert sweep(jobs("metrics.names=[psnr,flicker]", "keep=latents")).found == 3
    assert files(study) == [{MASTER, PREVIEW, RECORD, SCORES}] * 3
    old = store.read(next(study.glob("baseline/*")))
    assert old is not None and (old.timing, old.frames_sha256) == ("shared", None)
    assert sweep(jobs("metrics.names=[psnr,flicker]", "timing=isolated", "timing.repeats=1")).found == 3
    assert {record.timing for _, record in samples(study) if record} == {"isolated"}


def test_an_interrupted_drop_is_finished_by_gc(jobs: Jobs) -> None:
    study = jobs()[0].study
    sweep(jobs("metrics.names=[psnr]", "keep=latents"))
    (folder,) = study.glob("baseline/*")
    (folder / MASTER).write_bytes(b"what was not removed any more")
    assert faults(folder, Store.read(folder)) == []
    assert gc(study, False, really=True) == [str((folder / MASTER).relative_to(study))]
    assert not (folder / MASTER).exists()


def test_masters_that_cannot_come_back_fail_and_nothing_is_touched(jobs: Jobs) -> None:
    """On another machine frames are others; neither latents nor scores are lost of that, and no sample is replaced."""
    (job, _) = jobs()
    study, store = job.study, Store(job.study)
    sweep(jobs("metrics.names=[psnr]", "keep=latents"))
    (place,) = (str(folder.relative_to(study)) for folder in study.glob("vgdfr-k1-theta0.01/*"))
    record = store.recorded(place)
    assert record is not None
    changed = store.update(place, replace(record, frames_sha256="0" * 64))

    def refused(keep: str) -> None:
        kept = {name: (study / place / name).read_bytes() for name in (*changed.files, RECORD, SCORES)}
        display = sweep(jobs("metrics.names=[psnr]", f"keep={keep}"))
        assert display.failed == ["vgdfr-k1-theta0.01 " + job.prompts[0].id] and display.found == 2
        assert {name: (study / place / name).read_bytes() for name in kept} == kept
        assert not (study / ".quarantine").exists()

    refused("all")
    changed = store.drop(place, changed, (LATENTS,))
    refused("all")  # made again from the prompt, and not the one that was dropped
    (study / place / RECORD).unlink()
    assert sweep(jobs("metrics.names=[psnr]")).made == 1


def test_the_frames_decide_whether_a_master_is_the_same(jobs: Jobs) -> None:
    """Written by another version of the library it has other bytes."""
    study, store = jobs()[0].study, Store(jobs()[0].study)
    sweep(jobs("metrics.names=[psnr]", "keep=latents"))
    for folder, record in list(samples(study)):
        assert record is not None
        store.update(str(folder.relative_to(study)), replace(record, dropped={MASTER: "0" * 64}))
    assert sweep(jobs("metrics.names=[psnr]")).found == 3
    assert [record and record.dropped for _, record in samples(study)] == [{}] * 3 and verify(study) == (3, [])


def test_no_memory_or_no_interpolator_costs_the_sample_its_master_only(jobs: Jobs, tmp_path: Path) -> None:
    study, store = jobs()[0].study, Store(jobs()[0].study)
    sweep(jobs("metrics.names=[psnr]", "keep=latents"))
    (folder,) = study.glob("vgdfr-k1-theta0.01/*")
    record = store.recorded(str(folder.relative_to(study)))
    assert record is not None
    moved = record.method | {"interpolator": "rife", "interpolator_weights": str(tmp_path / "gone.pkl")}
    store.update(str(folder.relative_to(study)), replace(record, method=moved))
    assert sweep(jobs("metrics.names=[psnr,ssim]", "keep=latents")).found == 3, "the sweep knows where it lies now"
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
    """The baseline that it is compared with comes back for that, to the bit, and goes again."""
    job, other = jobs("metrics.names=[psnr,flicker]", "keep=scores")
    sweep([job])
    (folder,) = job.study.glob("baseline/*")
    before = (folder / RECORD).read_bytes()
    assert sweep([job, other]).made == 2, "the baseline and the new one"
    assert values(job.study)["vgdfr-k1-theta1.0"]["psnr"] == "inf"
    assert files(job.study) == [{PREVIEW, RECORD, SCORES}] * 3
    assert json.loads((folder / RECORD).read_text()) == json.loads(before)
    assert sweep([job, other]).found == 3
    job, other = jobs("metrics.names=[psnr,flicker,ssim]", "keep=scores")
    assert sweep([job, other]).found == 3, "nothing of it can be scored, so nothing is made"


def test_verify_and_gc_leave_alone_what_a_sweep_changes_meanwhile(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process drops masters after the records were read, or has its claim on the prompt."""
    study, store = jobs()[0].study, Store(jobs()[0].study)
    sweep(jobs("metrics.names=[psnr]"))
    (folder,) = study.glob("vgdfr-k1-theta0.01/*")
    place, judge = str(folder.relative_to(study)), upkeep.faults

    def dropped_meanwhile(judged: Path, record: Record | None) -> list[str]:
        if judged == folder and record is not None:
            store.drop(place, record, (MASTER,))
        return judge(judged, record)

    monkeypatch.setattr(upkeep, "faults", dropped_meanwhile)
    assert verify(study) == (3, []) and not (folder / MASTER).exists()
    monkeypatch.undo()

    (unit,) = units_of(jobs())
    (folder / MASTER).write_bytes(b"being put back")
    (folder / LATENTS).write_bytes(b"damaged")
    with claimed(study, unit.name) as mine:
        assert mine
        count, (said,) = verify(study)
        assert count == 3 and "a sweep is at work on its prompt" in said and folder.exists()
        assert gc(study, False, really=True) == [] and (folder / MASTER).exists()
    assert gc(study, False, really=True) == [f"{place}/{MASTER}"]
    count, (said,) = verify(study)
    assert "latents.safetensors is not what was written; moved to" in said and not folder.exists()


def test_latents_are_stored_as_they_were_decoded(jobs: Jobs, tiny_checkpoint: Path) -> None:
    (job, _) = jobs("metrics.names=[psnr]")
    sweep([job])
    (folder,) = job.study.glob("baseline/*")
    stored, size = load_file(folder / LATENTS)["latents"], (folder / LATENTS).stat().st_size
    assert stored.dtype == torch.float32 and stored.shape == (1, 4, 5, 4, 4)
    spec = job.condition.video.spec("a prompt", 0)
    assert 0 < size - job.condition.model.latents_bytes(spec) < 1000, "but for the header"
    assert Store.read(folder).files[LATENTS] == sha256(folder / LATENTS)  # type: ignore[union-attr]


@contextmanager
def decoding_otherwise(job: Job, by: float) -> Iterator[None]:
    """Within the block the VAE decodes everything brighter `by` as much, of a range of 2 (255 levels)."""
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
    """As on a GPU, for whose samples some pixels are kept to compare with."""
    monkeypatch.setattr(keep, "is_bit_stable", lambda record: False)
    study = jobs()[0].study
    sweep(jobs("metrics.names=[psnr]"))
    pixels = [load_file(file)["pixels"] for file in study.glob(f"*/*/{LATENTS}")]
    assert [tuple(p.shape) for p in pixels] == [(17, 2, 2, 3)] * 3
    before = {folder: record for folder, record in samples(study) if record}
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
    for folder, record in samples(study):
        assert record is not None and record.restored_difference is not None
        assert 1 <= record.restored_difference <= 4
        assert before[folder].restored_difference is None and record.frames_sha256 != before[folder].frames_sha256
        assert record.frames_sha256 == sha256_of_frames(read(folder / MASTER).frames)


def test_another_word_for_keep_is_refused(jobs: Jobs) -> None:
    with pytest.raises(ValueError, match="keep must be one of all, latents, scores, got 'some'"):
        jobs("keep=some")
