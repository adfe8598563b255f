"""Latencies are counts of work times the prices of one run: a stall, an order or an earlier run changes nothing."""

import dataclasses
import json
import shutil
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hydra import compose, initialize_config_dir

from analysis import Study, prices
from analysis.bound import of_bound
from analysis.prices import Counted, latency_of, priced, run_of, runs_in
from analysis.statistics import speedup
from analysis.table import table_of
from analysis.table1 import report
from bench.plan.command_line import CONF
from bench.plan.job import Job
from bench.plan.settings import job_of
from bench.plan.units import units_of
from bench.store.merge import merge
from bench.store.runs import COMPUTED, ENOUGH, files_in
from bench.store.study import Store
from bench.store.upkeep import verify
from bench.work.models import backbone_of
from bench.work.progress import Sweep
from bench.work.worker import in_turns, run
from vgdfr import Method, Sampled, Sampling, generate
from vgdfr.backbones.hunyuan_backbone import HunyuanVideoBackbone
from vgdfr.video import VideoSpec

STALL_S = 2.0


def jobs(checkpoint: Path, root: Path, *overrides: str, prompts: int = 2) -> list[Job]:
    """Conditions of a small study: `overrides` are the settings of each, by default two of VGDFR."""
    small = [
        f"root={root}", "study=tiny", f"model.backbone.path={checkpoint}", "model.video.num_frames=17",
        "model.video.height=32", "model.video.width=32", "model.video.num_inference_steps=6",
        f"prompts.limit={prompts}", "metrics.names=[psnr,flicker]",
    ]  # fmt: skip
    conditions = [each.split() for each in overrides or ("method.k=1 method.theta=0.01", "method.k=2 method.theta=1.0")]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return [job_of(compose("config", [*small, *condition])) for condition in conditions]


def sweep(asked: list[Job]) -> Sweep:
    display = Sweep(9, 9)
    run(asked, display)
    display.close()
    assert not display.failed and not display.stopped
    return display


@pytest.fixture
def small_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny model's passes take no longer than the loop's bookkeeping, which is then no small part of a latency."""
    monkeypatch.setattr(prices, "CARRIED", 0.9)


@pytest.fixture(scope="module")
def study(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("prices")
    sweep(jobs(tiny_checkpoint, root))
    return root / "tiny"


def test_a_latency_is_counts_times_the_prices_of_the_run(study: Path) -> None:
    (made,) = runs_in(study).values()
    clock = ("wall", "cpu").index(made.clock)
    samples = Study(study).samples
    assert set(samples["run"]) == {made.name} and set(samples["timing"]) == {"pooled"}
    for _, sample in samples.iterrows():
        record = json.loads(Path(sample["folder"], "record.json").read_text())
        wall_s, own_s = (sum(each[i] for each in record["unpooled"].values()) for i in (0, clock))
        priced_s = sum(count * made.prices[kind] for kind, (count, _, _) in record["timed"].items())
        assert record["run"] == made.name and set(record["machine"]) >= {"before", "after", "other_busy_cores"}
        assert own_s == 0 and sample["latency_s"] == pytest.approx(priced_s), "our own loops' work has kinds"
        raw_s = sum(took_s for _, took_s, _ in record["timed"].values()) + wall_s
        assert sample["elapsed_s"] == pytest.approx(raw_s) == pytest.approx(record["latency_s"])
    counts = samples.loc["baseline"].iloc[0]
    assert json.loads(Path(counts["folder"], "record.json").read_text())["timed"]["dit 5x4x4"][0] == 6


def test_equal_work_has_one_latency_and_the_speedup_is_the_ratio_of_both_sides(study: Path) -> None:
    samples = Study(study).samples
    kept = samples.loc["vgdfr-k2-theta1.0"]  # keeps everything, so it is the baseline with a preview
    assert kept["latency_s"].nunique() == 1 == samples.loc["baseline"]["latency_s"].nunique()
    rows = samples.loc["vgdfr-k1-theta0.01"]
    ratio = samples.loc["baseline"]["latency_s"].mean() / rows["latency_s"].mean()
    assert isinstance(rows, pd.DataFrame) and speedup(rows).value == pytest.approx(ratio)
    assert (rows["bound"] > 1).all() and of_bound(rows).value == pytest.approx(ratio / rows["bound"].iloc[0])


def test_the_first_block_of_a_kind_has_no_price_and_every_price_has_enough_blocks(study: Path) -> None:
    (content,) = [json.loads(file.read_text()) for file in files_in(study)]
    assert all(kind["n"] >= ENOUGH for name, kind in content["kinds"].items() if name.startswith(COMPUTED))
    blocks = sum(
        record["timed"].get("dit 5x4x4", [0])[0]
        for record in (json.loads(f.read_text()) for f in study.glob("*/*/record.json"))
        if record["slug"] == "baseline"
    )
    assert content["kinds"]["dit 5x4x4"]["n"] == blocks - 1, "all samples share the baseline's passes"


def test_passes_on_latents_of_less_height_and_width_are_repeated_for_their_price(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """DVG's stages have 2, 2, 1 and 1 passes here, fewer than a price needs."""
    sweep(jobs(tiny_checkpoint, tmp_path, "method=dvg", prompts=1))
    (content,) = [json.loads(file.read_text()) for file in files_in(tmp_path / "tiny")]
    kinds = {name: kind["n"] for name, kind in content["kinds"].items() if name.startswith("dit ")}
    assert set(kinds) == {"dit 2x2x2", "dit 3x4x4", "dit 5x4x4"} and min(kinds.values()) >= ENOUGH


def test_a_stall_of_one_sample_is_told_and_changes_no_latency(tiny_checkpoint: Path, tmp_path: Path) -> None:
    asked = jobs(tiny_checkpoint, tmp_path)
    backbone = backbone_of(asked[0].condition.model)
    assert isinstance(backbone, HunyuanVideoBackbone)
    calls = []

    def stall(*_: object) -> None:
        calls.append(None)
        if len(calls) == 4:
            time.sleep(STALL_S)

    hook = backbone.transformer.register_forward_pre_hook(stall)
    try:
        sweep(asked)
    finally:
        hook.remove()
    samples = Study(tmp_path / "tiny").samples
    disturbed = samples["elapsed_s"] > samples["latency_s"] + STALL_S / 2
    assert disturbed.any() and not disturbed.all() and samples["latency_s"].max() < STALL_S
    text = report(Study(tmp_path / "tiny")).text
    assert "Elapsed: the mean of the seconds that really passed" in text or "so CPU seconds count" in text


def test_a_continued_study_is_priced_by_the_run_that_continued_it(
    tiny_checkpoint: Path, tmp_path: Path, small_model: None
) -> None:
    """The new run never computes VGDFR's work for a sample. It repeats that work alone, some times."""
    vgdfr = "method.k=1 method.theta=0.01"
    sweep(jobs(tiny_checkpoint, tmp_path, vgdfr))
    first = set(runs_in(tmp_path / "tiny"))
    sweep(jobs(tiny_checkpoint, tmp_path, vgdfr, "method=fewer_steps method.steps=3"))
    (later,) = set(runs_in(tmp_path / "tiny")) - first
    samples = Study(tmp_path / "tiny").samples
    assert set(samples["run"]) == {later}, "no price comes from an earlier run"
    assert samples["speedup"][samples["role"] != "reference"].notna().all()
    assert samples.loc["fewersteps-steps=3"]["speedup"].iloc[0] == pytest.approx(2, rel=0.3)
    assert sweep(jobs(tiny_checkpoint, tmp_path, vgdfr)).found == 4
    assert len(runs_in(tmp_path / "tiny")) == 2, "a sweep with nothing to make has no prices"


def test_prices_that_are_gone_leave_a_dash_with_the_reason(study: Path, tmp_path: Path) -> None:
    shutil.copytree(study, tmp_path / "tiny")
    for file in files_in(tmp_path / "tiny"):
        file.unlink()
    samples = Study(tmp_path / "tiny").samples
    assert samples["latency_s"].isna().all() and samples["speedup"].isna().all()
    assert samples["no_speedup"].str.contains("the prices of its run are gone: timing/").all()
    assert "no speed-up: the prices of its run are gone" in report(Study(tmp_path / "tiny")).text


def test_a_damaged_file_of_prices_is_named(study: Path, tmp_path: Path) -> None:
    shutil.copytree(study, tmp_path / "tiny")
    (file,) = files_in(tmp_path / "tiny")
    file.write_text(file.read_text()[:-20])
    with pytest.raises(ValueError, match="is damaged .*; remove it"):
        Study(tmp_path / "tiny")
    assert any(str(file) in text for text in verify(tmp_path / "tiny")[1])


def test_prices_go_along_when_studies_are_merged(study: Path, tmp_path: Path) -> None:
    assert all(outcome.kind == "copied" for outcome in merge(study, tmp_path / "other", really=True))
    (file,) = files_in(tmp_path / "other")
    whole = json.loads(file.read_text())
    file.write_text(json.dumps(whole | {"kinds": dict([*whole["kinds"].items()][:1])}))  # as of an earlier merge
    assert all(outcome.kind == "already there" for outcome in merge(study, tmp_path / "other", really=True))
    ours, theirs = (Study(folder).samples["latency_s"] for folder in (study, tmp_path / "other"))
    assert (ours == theirs).all() and ours.notna().all()


def content(threads: int = 1, waited: float = 1.0, disturbed: float = 1.0, **kinds: float) -> dict[str, Any]:
    """The file of a run on a CPU: work took `waited` times its CPU seconds, and usually `disturbed` times its low."""
    return {
        "run": "r", "device_type": "cpu", "environment": {"threads": threads}, "host": "here",
        "kinds": {kind.replace("_", " "): {
            "n": 5, "wall_s": disturbed * waited * s, "wall_s_low": waited * s, "cpu_s": disturbed * s, "cpu_s_low": s,
        } for kind, s in kinds.items()},
    }  # fmt: skip


def test_a_busy_machine_is_priced_in_cpu_seconds_of_one_thread_alone() -> None:
    free, busy = run_of(content(dit_9=1.0, waited=1.05)), run_of(content(dit_9=1.0, waited=1.5))
    assert (free.clock, free.prices["dit 9"]) == ("wall", pytest.approx(1.05))
    assert (busy.clock, busy.prices["dit 9"]) == ("cpu", pytest.approx(1.0))
    assert run_of(content(threads=2, dit_9=1.0, waited=1.5)).clock == "wall", "threads wait for each other"


def test_one_kind_that_was_seen_on_a_busy_machine_decides_the_clock() -> None:
    """Rare kinds may be seen in bad minutes alone, which all work together hardly shows."""
    kinds = content(1, 1.0, 1.0, dit_9=1.0)["kinds"] | content(1, 2.0, 1.0, dit_5=0.5)["kinds"]
    kinds["dit 9"]["n"] = 2000
    assert run_of(content() | {"kinds": kinds}).prices["dit 5"] == pytest.approx(0.5)


def test_prices_compare_kinds_by_their_low_times_and_are_as_long_as_the_medians_say() -> None:
    kinds = content(1, 1.0, 1.2, dit_9=1.0)["kinds"] | content(1, 1.0, 2.0, dit_5=0.5)["kinds"]
    prices = run_of(content() | {"kinds": kinds}).prices
    assert prices["dit 5"] / prices["dit 9"] == pytest.approx(0.5), "a kind of bad minutes is not priced by them"
    assert prices["dit 9"] + prices["dit 5"] == pytest.approx(1.2 * 1.0 + 2.0 * 0.5)


def counted(counts: str, made: str = "r", seconds: str = "{}", unpooled_s: float = 0.0) -> Counted:
    return Counted(made, counts, seconds, unpooled_s, unpooled_s)


def test_work_without_a_price_counts_as_measured_and_another_run_must_not_need_much_of_it() -> None:
    one, twelve = run_of(content(dit=1.0)), {"ssim": [2.0, 2.0]}
    assert latency_of(counted('{"dit": 10}', unpooled_s=2.0), one).seconds == 12
    assert latency_of(counted('{"dit": 10, "ssim": 1}', seconds=json.dumps(twelve)), one).seconds == 12
    assert latency_of(counted('{"dit": 10}', "another", unpooled_s=0.05), one).seconds == pytest.approx(10.05)
    waited = counted('{"dit": 10, "other": 1}', "another", json.dumps({"other": [2.0, 0.05]}))
    assert latency_of(waited, one).seconds == pytest.approx(10.05), "other processes took the core away meanwhile"
    told = latency_of(counted('{"dit": 10}', "another", unpooled_s=2.0), one)
    assert "run r has not timed 2.00 s of its latency (work of no kind)" in str(told.reason)
    assert "has not timed its work 'ssim'" in str(latency_of(counted('{"ssim": 1}', "another"), one).reason)


def unit(**samples: tuple[str, str]) -> pd.DataFrame:
    """An index of one unit: the counts and the run of each sample."""
    return pd.DataFrame([
        {"status": "done", "study": "s", "model_identity": "m", "spec": "v", "prompt": "p", "seed": 0, "slug": name,
         "counts": counts, "made_run": made, "timed_s": "{}", "unpooled_s": 0.0, "unpooled_cpu_s": 0.0}
        for name, (counts, made) in samples.items()
    ], index=[*samples])  # fmt: skip


def test_a_prompt_is_priced_by_the_newest_run_of_its_samples_if_that_can_price_all_of_it() -> None:
    runs = {name: dataclasses.replace(run_of(content(1, 1.0, 1.0, **kinds)), name=name) for name, kinds in {
        "1": {"full": 1.0, "short": 0.5}, "2": {"full": 3.0}, "3": {"full": 4.0, "short": 2.0},
    }.items()}  # fmt: skip
    both = unit(a=('{"full": 2}', "1"), b=('{"short": 2}', "3"))
    assert dict(priced(both, {"s": runs})["latency_s"]) == {"a": 8, "b": 4}
    apart = unit(a=('{"short": 2}', "1"), b=('{"full": 2}', "2"))
    found = priced(apart, {"s": runs})
    assert dict(found["latency_s"]) == {"a": 1, "b": 6}, "no price comes from a run before the sample"
    assert dict(found["run"]) == {"a": "1", "b": "2"}
    del runs["1"]
    found = priced(apart, {"s": runs})
    assert found["latency_s"]["b"] == 6 and found["no_latency"]["a"] == "the prices of its run are gone: timing/1.json"


def test_a_stall_in_work_of_no_kind_is_outvoted_by_the_conditions_other_samples() -> None:
    index = pd.concat([unit(a=('{"full": 2}', "1")).assign(prompt=p, unpooled_s=s) for p, s in
                       (("p", 1.0), ("q", 1.1), ("r", 9.0))], ignore_index=True)  # fmt: skip
    runs = {"1": dataclasses.replace(run_of(content(full=1.0)), name="1")}
    assert priced(index, {"s": runs})["latency_s"].tolist() == pytest.approx([3.1] * 3)


def test_a_study_of_an_earlier_version_has_a_speedup_over_its_old_baseline_when_it_is_continued(
    study: Path, tmp_path: Path, small_model: None
) -> None:
    shutil.copytree(study, tmp_path / "tiny")
    store = Store(tmp_path / "tiny")
    for place in store.places():
        record = store.recorded(place)
        if record and record.slug == "baseline":
            store.update(place, dataclasses.replace(record, run=None, timed={}, unpooled={}, machine=None))
    samples = Study(tmp_path / "tiny").samples
    assert (
        samples.loc["vgdfr-k1-theta0.01"]["speedup"].notna().all() and samples["timing"]["baseline"].eq("shared").all()
    )


def test_conditions_run_in_a_random_order_that_is_the_same_every_time(tiny_checkpoint: Path, tmp_path: Path) -> None:
    units = units_of(jobs(tiny_checkpoint, tmp_path, *(f"method.k={k} method.theta={t}" for k in (1, 2, 3)
                                                       for t in (0.1, 0.2, 0.3)), prompts=12))  # fmt: skip
    orders = [[sample.key for sample, _, _ in in_turns(unit)] for unit in units]
    assert orders == [[sample.key for sample, _, _ in in_turns(unit)] for unit in units]
    first, second = ({[*in_turns(unit)][place][0].condition.slug for unit in units} for place in (0, 1))
    assert first == {"baseline"} and len(second) > 2, "others are scored against the baseline"
    for own, order in zip(units, orders, strict=True):
        ks = {sample.key: sample.condition.method.stops() for sample, _, _ in own.samples}
        assert sorted(order) == sorted(ks), "every sample once"
        assert sum(ks[a] != ks[b] for a, b in zip(order, order[1:], strict=False)) == 3, "one preview after the other"


@dataclasses.dataclass(frozen=True)
class Naps(Method):
    """A method with a stage of a kind and a stage of none."""

    seconds: float = 0.02

    def sample(self, run: Sampling) -> Sampled:
        with run.stage("sort", kind="sort 5"):
            time.sleep(self.seconds)
        with run.stage("look"):
            time.sleep(self.seconds)
        return Sampled(run.baseline(run.steps).x)


def test_a_stage_with_a_kind_is_pooled_and_sums_are_the_latency(backbone: Any, spec: VideoSpec) -> None:
    video = generate(backbone, spec, Naps())
    assert video.timed["sort 5"][0] == 1 and video.timed["sort 5"][1].wall_s > 0.02 and "look" in video.unpooled
    kinds, own = (sum(t.wall_s for t in ts) for ts in ([t for _, t in video.timed.values()], video.unpooled.values()))
    assert kinds + own == pytest.approx(video.latency_s) and video.peak_bytes is None
    observed = [kind for kind, _ in video.observed]
    assert observed[0] == "sort 5" and observed.count("dit 9x4x4") == 4
    sleeping = video.timed["sort 5"][1]
    assert sleeping.cpu_s is not None and sleeping.cpu_s < sleeping.wall_s / 2, "a sleep takes no CPU seconds"


def test_samples_made_otherwise_than_their_baseline_are_marked(study: Path, tmp_path: Path) -> None:
    shutil.copytree(study, tmp_path / "tiny")
    store = Store(tmp_path / "tiny")
    for place in store.places():
        record = store.recorded(place)
        if record and record.slug == "vgdfr-k1-theta0.01":
            packages = record.environment["packages"] | {"torch": "9.9"}
            store.update(place, dataclasses.replace(record, environment=record.environment | {"packages": packages}))
    text = report(Study(tmp_path / "tiny")).text
    (line,) = [line for line in text.splitlines() if line.startswith("| VGDFR (k=1")]
    assert line.count("‡") == 1, "only PSNR compares with the baseline"
    assert "‡ 2 samples were made otherwise than the baseline compared with: torch 9.9 and" in text
    assert table_of(Study(tmp_path / "tiny")).mixture is None
