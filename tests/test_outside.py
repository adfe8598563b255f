"""A user's classes in a sweep: their keys, mistakes refused before a model loads, and failures of single samples."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from processes import Finished, run

from bench.plan.compose import configs_of
from bench.plan.condition import Condition, Sample, VideoSettings
from bench.plan.prompts import Prompt
from bench.plan.settings import condition_of
from vgdfr import Baseline, HunyuanVideo, Method, Vgdfr
from vgdfr.backbones.base import identity_of, model_of
from vgdfr.methods import method_of

CODE = """
from contextlib import contextmanager
from dataclasses import dataclass

import vgdfr


@dataclass(frozen=True)
class Vgdfr(vgdfr.Vgdfr):
    pass


@dataclass(frozen=True)
class SkipSteps(vgdfr.Method):
    every: int
    names: tuple[str, ...] = ()

    def __post_init__(self):
        if self.every < 1:
            raise ValueError(f"every must be at least 1, got {self.every}")

    def check(self, spec, architecture):
        if self.every > spec.num_inference_steps:
            raise ValueError(f"every must be at most {spec.num_inference_steps}, got {self.every}")

    def sample(self, run):
        return vgdfr.Sampled(run.baseline(run.steps).x)


@dataclass(frozen=True)
class NoLoop(vgdfr.Method):
    every: int = 2


class NoDecorator(vgdfr.Method):
    every: int = 2

    def sample(self, run):
        raise AssertionError


@dataclass(frozen=True)
class Other:
    every: int = 2


def function(every=2):
    raise AssertionError


@dataclass(frozen=True)
class Idle(vgdfr.Accelerator):
    @contextmanager
    def applied(self, transformer):
        yield vgdfr.Running(lambda: None, lambda: {"gate_asked": 0})


@dataclass(frozen=True)
class NoPatch(vgdfr.Accelerator):
    pass


@dataclass(frozen=True)
class NoModel(vgdfr.Model):
    def architecture(self):
        raise AssertionError


@dataclass(frozen=True)
class Listed(NoModel):
    layers: tuple[int, ...]

    load = load_codec = NoModel.architecture
"""
SMALL = ["prompts.limit=1", "model.video.num_frames=17", "model.video.num_inference_steps=4", "metrics=pixel"]


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mine")
    (folder / "outside.py").write_text(CODE)
    (folder / "broken.py").write_text("import no_such_module\n")
    return folder


@pytest.fixture
def outside(mine: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(mine)
    yield import_module("outside")


def sweep(folder: Path, *arguments: str) -> Finished:
    before = f"import os, sys; os.chdir({str(folder)!r}); sys.path.insert(0, {str(folder)!r})"
    return run("bench.sweep", *arguments, *SMALL, before=before)


def method(name: str, *settings: str) -> list[str]:
    return ["method=custom", f"method._target_={name}", *settings]


def accelerator(name: str, *settings: str) -> list[str]:
    return ["method=baseline", "accelerator=custom", f"accelerator._target_={name}", *settings]


def model(name: str, *settings: str) -> list[str]:
    sizes = [f"model.video.{size}=64" for size in ("height", "width", "guidance_scale", "flow_shift", "fps")]
    chosen = ["model=custom", f"model.backbone._target_={name}", "prompts=embedded", "allow_mismatch=true"]
    return [*chosen, *sizes, *settings]


REFUSED = [
    (method("outside.Missing"), "there is no class Missing in outside"),
    (method("nowhere.SkipSteps"), "there is no class nowhere.SkipSteps to be imported (No module named 'nowhere')"),
    (method("broken.SkipSteps"), "broken cannot be imported: it needs no_such_module, which is not there"),
    (method("SkipSteps"), "SkipSteps is no dotted path of a class, such as my_pkg.SkipSteps"),
    (method("outside.function"), "outside.function is not a class, got <function"),
    (method("outside.Other"), "method._target_ must be a class that derives from vgdfr.Method, got outside.Other"),
    (method("outside.Idle"), "method._target_ must be a class that derives from vgdfr.Method, got outside.Idle"),
    (method("outside.NoLoop"), "method._target_ names outside.NoLoop, which lacks sample"),
    (method("outside.NoDecorator", "+method.every=3"), "in which every is no setting; put @dataclass(frozen=True)"),
    (method("outside.SkipSteps", "+method.evry=2"), "no setting method.evry; did you mean method.every?"),
    (method("outside.SkipSteps"), "method: SkipSteps.__init__() missing 1 required positional argument: 'every'"),
    (method("outside.SkipSteps", "+method.every=0"), "every must be at least 1, got 0"),
    (method("outside.SkipSteps", "+method.every=5"), "every must be at most 4, got 5"),
    (
        method("outside.SkipSteps", "+method.every=2", "+method.names.a=1"),
        "the setting names of outside.SkipSteps cannot go into a sample's key",
    ),
    (["method=custom"], "method._target_ has no value; give it, as method._target_=..."),
    (accelerator("outside.SkipSteps"), "accelerator._target_ must be a class that derives from vgdfr.Accelerator, got"),
    (accelerator("outside.NoPatch"), "accelerator._target_ names outside.NoPatch, which lacks applied"),
    (accelerator("outside.Idle", "+accelerator.every=2"), "no setting accelerator.every; accelerator has none"),
    (model("outside.Other"), "model.backbone._target_ must be a class that derives from vgdfr.Model, got"),
    (model("outside.NoModel"), "model.backbone._target_ names outside.NoModel, which lacks load, load_codec"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "message"), REFUSED, ids=[message[:40] for _, message in REFUSED])
def test_6_what_is_no_class_of_ours_is_refused_in_one_line_before_a_model_loads(
    arguments: list[str], message: str, mine: Path
) -> None:
    ended = sweep(mine, *arguments)
    said = ended.stdout + ended.stderr
    assert ended.returncode == 1 and said.startswith("error: ") and message in said, ended
    assert said.count("\n") == 1 and "loading" not in said and not list(mine.glob("runs/*/*/*/record.json")), ended


def sample_of(method: Method) -> Sample:
    video = VideoSettings(64, 64, 17, 4, 1.0, 1.0, 12)
    model = HunyuanVideo("nowhere", dtype="float32", device="cpu")
    return Condition("m", model, video, method).sample(Prompt("a", "a prompt", 0), {"weights": "w"})


def test_6_keys_of_classes_from_outside_hold_dotted_path_and_version(
    outside: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs, mine = sample_of(Vgdfr(k=2, theta=0.5)), sample_of(outside.Vgdfr(k=2, theta=0.5))
    assert theirs.condition.slug == "vgdfr-k2-theta0.5" and mine.condition.slug == "outside.Vgdfr-k2-theta0.5"
    origin = {"name": "outside.Vgdfr", "version": 1}
    assert mine.identity["method"] == theirs.identity["method"] | origin and mine.key != theirs.key
    idle = [sample_of(Baseline(accelerators=a)) for a in ((), (outside.Idle(),))]
    assert idle[0].identity["method"] == {"name": "baseline"}
    entry = {"name": "outside.Idle", "version": 1}
    assert idle[1].identity["method"] == {"name": "baseline", "accelerators": [entry]}
    assert idle[1].condition.slug == "baseline-idle" and idle[0].key != idle[1].key
    steps = outside.SkipSteps(every=2)
    before = sample_of(steps)
    assert method_of(before.identity["method"]) == steps
    for kind, old in ((outside.SkipSteps, before), (outside.Vgdfr, mine), (outside.Idle, idle[1])):
        monkeypatch.setattr(kind, "version", 2)
        assert sample_of(old.condition.method).key != old.key, kind
    assert sample_of(outside.SkipSteps(every=3)).key != sample_of(steps).key
    assert asdict(before.spec)["prompt"] == "a prompt"


def test_lists_are_settings_of_methods_and_models(outside: Any) -> None:
    """Lists are tuples in frozen values, which are found by their settings, and lists in keys and records."""
    given = [*model("outside.Listed", "+model.backbone.layers=[1,2]"), *method("outside.SkipSteps", "+method.every=2")]
    (config,) = configs_of([*given, "+method.names=[a,b]", *SMALL])
    condition = condition_of(config)
    assert condition.method == outside.SkipSteps(2, ("a", "b")) and condition.model == outside.Listed((1, 2))
    assert len({condition, condition_of(config)}) == 1
    assert method_of(json.loads(json.dumps(condition.method.settings()))) == condition.method
    identity = json.loads(json.dumps(identity_of(condition.model)))
    assert identity["layers"] == [1, 2] and identity["class"] == {"name": "outside.Listed", "version": 1}
    assert model_of(json.loads(json.dumps(condition.model.loaded_from())), identity, HunyuanVideo) == condition.model


def test_7_an_accelerator_that_was_never_asked_is_a_failed_sample_and_no_row(mine: Path) -> None:
    ended = sweep(mine, *accelerator("outside.Idle"), "study=idle")
    assert ended.returncode == 1 and "1 made, 0 found, 1 failed" in ended.stdout, ended
    (file,) = (mine / "runs" / "idle" / "baseline-idle").glob("*/record.json")
    record = json.loads(file.read_text())
    assert record["status"] == "failed" and "IdleAccelerator" in record["error"]
    assert {each.name for each in file.parent.iterdir()} == {"record.json"}
    table = run("analysis.table1", str(mine / "runs" / "idle"))
    (row,) = (line for line in table.stdout.splitlines() if line.lower().startswith("| idle"))
    assert {cell.strip() for cell in row.strip("|").split("|")[2:]} == {"–"}, "its row must hold no number"
    shutil.rmtree(mine / "runs")
