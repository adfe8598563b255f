"""Settings, models and calls that a built-in cache refuses, and its place in records, keys and commands."""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from caches import ACTIVE, NEUTRAL
from diffusers import HunyuanVideoTransformer3DModel
from diffusers.models.transformers.transformer_hunyuan_video import HunyuanVideoSingleTransformerBlock
from plans import jobs
from processes import run
from torch import nn

from bench.plan.condition import Condition, VideoSettings
from vgdfr import (
    Architecture,
    Backbone,
    Baseline,
    HunyuanVideo,
    Method,
    Sampled,
    Sampling,
    VideoSpec,
    generate,
)
from vgdfr import accelerators as built_in
from vgdfr.accelerator import unchanged_after
from vgdfr.accelerators import (
    FasterCache,
    FirstBlockCache,
    MagCache,
    PyramidAttentionBroadcast,
    SeaCache,
    TaylorSeer,
)
from vgdfr.backbones.execution import Execution
from vgdfr.embedded import CHECKPOINT

ONE_STATE = {"PAB", "FasterCache"}


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (FirstBlockCache, {"threshold": -1.0}, r"threshold \(accelerator.threshold\) must be a finite number of at"),
        (FirstBlockCache, {"threshold": float("nan")}, "threshold .* must be a finite number of at least 0, got nan"),
        (MagCache, {"threshold": 0.1, "ratios": (1.0, float("inf"))}, "ratios .* must be finite numbers"),
        (MagCache, {"threshold": 0.1, "ratios": (1.0, -2.0)}, "ratios .* must be finite numbers above 0"),
        (MagCache, {"threshold": 0.1, "retention_ratio": 1.5}, r"retention_ratio .* must be in \[0, 1\], got 1.5"),
        (MagCache, {"threshold": 0.1, "max_skip_steps": -1}, "max_skip_steps .* must be at least 0, got -1"),
        (TaylorSeer, {"cache_interval": 0}, "cache_interval .* must be at least 1, got 0"),
        (TaylorSeer, {"cache_interval": 2, "disable_cache_before_step": 0}, "before_step .* must be at least 1"),
        (SeaCache, {"threshold": 0.1, "residual_order": 2}, "residual_order .* must be 0 or 1, got 2"),
        (SeaCache, {"threshold": 0.1, "power_exp": 0.0}, "power_exp .* must be above 0"),
        (PyramidAttentionBroadcast, {"skip_range": 0}, "skip_range .* must be at least 1, got 0"),
        (PyramidAttentionBroadcast, {"skip_range": 2, "above": 900}, "must be less than below, got above=900 and"),
        (FasterCache, {"skip_range": 2, "weight": -1.0}, "weight .* must be a finite number of at least 0"),
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(kind: type, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**settings)


def test_magcache_has_the_ratios_of_the_model_or_is_refused_before_a_model_loads(
    spec: VideoSpec, backbone: Backbone
) -> None:
    given = MagCache(0.06, ratios=(1, 0.9))
    assert given.calibrated(None, spec) is given and given.ratios == (1.0, 0.9)
    embedded, video = HunyuanVideo(str(CHECKPOINT)), replace(spec, flow_shift=1.0)
    found = MagCache(0.06).calibrated(embedded, video)
    assert found.ratios is not None and len(found.ratios) == 50 and found.words() == ["threshold=0.06"]
    with pytest.raises(ValueError, match="calibration of magcache was measured with flow_shift 1, got 7"):
        MagCache(0.06).calibrated(embedded, spec)
    with pytest.raises(ValueError, match="no calibration of magcache ships for the weights of .* accelerator=magcache"):
        generate(backbone, spec, Baseline(accelerators=(MagCache(0.06),)))
    with pytest.raises(ValueError, match="give ratios or calibration, and not both"):
        MagCache(0.06, calibration="a.json", ratios=(1.0,))


@pytest.mark.parametrize("name", ACTIVE)
def test_a_cache_with_one_state_refuses_a_model_with_two_forwards_in_a_step(
    spec: VideoSpec, backbone: Backbone, name: str
) -> None:
    guided: Architecture = replace(backbone.architecture, forwards_per_step=2)
    if ACTIVE[name].title in ONE_STATE:
        with pytest.raises(ValueError, match=f"{name} keeps one state, .* one forward per step, got 2"):
            ACTIVE[name].check(spec, guided)
    else:
        ACTIVE[name].check(spec, guided)
    ACTIVE[name].check(spec, backbone.architecture)


def tiny_dit(**changes: Any) -> Any:
    settings: Any = {
        "in_channels": 4, "out_channels": 4, "num_attention_heads": 1, "attention_head_dim": 12, "num_layers": 1,
        "num_single_layers": 1, "num_refiner_layers": 1, "text_embed_dim": 8, "pooled_projection_dim": 8,
        "rope_axes_dim": (4, 4, 4),
    }  # fmt: skip
    return HunyuanVideoTransformer3DModel(**settings | changes)


class OtherBlock(HunyuanVideoSingleTransformerBlock):
    """A block that diffusers' registry does not know."""


@pytest.mark.parametrize("name", ACTIVE)
def test_a_dit_that_the_cache_does_not_fit_is_refused_by_name(name: str) -> None:
    cache = ACTIVE[name]

    def refused(dit: nn.Module, message: str) -> None:
        with pytest.raises(ValueError, match=message), cache.applied(dit):
            raise AssertionError("never here")

    refused(nn.Linear(1, 1), f"{cache.title} needs a DiT with diffusers' CacheMixin, got a Linear")
    refused(tiny_dit(num_single_layers=0), f"{cache.title} needs a DiT with two or more blocks, and this .* has one")
    other = tiny_dit()
    if cache.skips_blocks:  # type: ignore[attr-defined]
        other.single_transformer_blocks[0].__class__ = OtherBlock
        refused(other, "the blocks OtherBlock of HunyuanVideoTransformer3DModel are not known to caches; register them")
    elif not (isinstance(cache, TaylorSeer) and cache.lite):
        block = other.single_transformer_blocks[0]
        block.mixing = block.attn
        del block.attn
        refused(other, rf"{cache.title} hooked no module in 1 of 2 blocks and .* \(blocks 1, counted from 0\)")


def test_attention_of_the_text_refiner_is_never_skipped() -> None:
    """diffusers' own pattern for PAB, "blocks", also matches the refiner's blocks."""
    for cache in (PyramidAttentionBroadcast(2), FasterCache(2), TaylorSeer(2)):
        dit = tiny_dit()
        with cache.applied(dit):
            hooked = [name for name, module in dit.named_modules() if "_diffusers_hook" in vars(module)]
            assert {name for name in hooked if name} == {
                "transformer_blocks.0.attn",
                "single_transformer_blocks.0.attn",
            }


def test_seacache_raises_where_diffusers_would_warn_and_compute_everything(backbone: Backbone, spec: VideoSpec) -> None:
    with pytest.raises(RuntimeError, match="SeaCache cannot decide, .* the scheduler step, sigma, and step count are"):
        dit: Any = backbone.transformer
        with unchanged_after(dit), SeaCache(0.2).applied(dit) as running, torch.inference_mode():
            running.reset()
            with dit.cache_context("cond"):
                backbone.velocity(spec)(backbone.noise(spec), 1.0)


@dataclass(frozen=True)
class Stumbling(Method):
    """The DiT raises in the second step, which is then taken again."""

    skipped: list[float] = field(default_factory=list, compare=False)

    def sample(self, run: Sampling) -> Sampled:
        state, last_layer = run.solver.restart(run.noise), run.backbone.transformer.proj_out
        for step in range(run.steps):
            if step == 1:
                handle = last_layer.register_forward_pre_hook(stumble)  # type: ignore[union-attr]
                with pytest.raises(ZeroDivisionError):
                    run.solver.step(run.velocity, state, step)
                handle.remove()
            state = run.solver.step(run.velocity, state, step)
            self.skipped.append(run.accelerated.measured()["FirstBlockCache"]["passes_skipped"])
        return Sampled(state.x)


def stumble(*_: object) -> None:
    raise ZeroDivisionError


def test_a_pass_that_raised_leaves_no_state_for_the_pass_after_it(backbone: Backbone, spec: VideoSpec) -> None:
    method = Stumbling(accelerators=(FirstBlockCache(1e9),))
    generate(backbone, spec, method)
    assert method.skipped == [0, 1, 2, 3], "the pass that raised was skipped, and the pass after it computed"


# Records, keys and commands


def test_a_record_names_a_built_in_cache_like_a_built_in_method() -> None:
    assert FirstBlockCache(0.08).settings() == {"name": "firstblockcache", "threshold": 0.08}
    assert set(built_in.BUILT_IN) == {"teacache", *(type(cache).__name__.lower() for cache in NEUTRAL.values())}
    assert FirstBlockCache(0.08).words() == ["threshold=0.08"]
    assert FirstBlockCache(1).settings() == FirstBlockCache(1.0).settings(), "one key"
    long = MagCache(0.06, ratios=tuple(1 + i / 1000 for i in range(50)))
    assert re.fullmatch("threshold=0.06 calibration=[0-9a-f]{8}", " ".join(long.words()))


def test_the_baseline_with_a_cache_is_a_row_and_never_the_reference() -> None:
    method = Baseline(accelerators=(FirstBlockCache(0.08),))
    condition = Condition(
        "embedded", HunyuanVideo(str(CHECKPOINT)), VideoSettings(64, 64, 33, 50, 6.0, 7.0, 12), method
    )
    assert (method.role, method.row_title, method.row_family) == ("method", "FirstBlockCache", "FirstBlockCache")
    reference = condition.baseline
    assert reference is not None and reference.method == Baseline() and reference.method.role == "reference"
    assert condition.slug == "baseline-firstblockcache.threshold=0.08"


COMMANDS = {
    "first_block_cache": "baseline-firstblockcache.threshold=0.08",
    "magcache": "baseline-magcache.threshold=0.06",
    "teacache": "baseline-teacache.threshold=0.1",
    "taylorseer": "baseline-taylorseer.cache_interval=5",
    "seacache": "baseline-seacache.threshold=0.25",
    "pab": "baseline-pyramidattentionbroadcast.skip_range=2",
    "fastercache": "baseline-fastercache.skip_range=2",
}


def test_each_cache_is_a_choice_on_the_command_line(tmp_path: Path) -> None:
    for name, slug in COMMANDS.items():
        (job,) = jobs("method=baseline", f"accelerator={name}", f"root={tmp_path}")
        assert job.condition.slug == slug


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["first_block_cache", "accelerator.threshold=true"], "threshold must be a number, got True"),
        (["first_block_cache", "accelerator.thresold=1"], "accelerator has no setting thresold|no setting accelerator"),
        (["taylorseer", "accelerator.factors_dtype=int8"], "must be one of bfloat16, float32, got 'int8'"),
        (["taylorseer", "accelerator.lite=1"], r"lite \(accelerator.lite\) must be true or false, got 1"),
        (["pab", "accelerator.above=null"], "above must be a whole number, got None"),
        (["magcache", "accelerator.ratios=[1,x]"], "ratios .* must be finite numbers above 0, got"),
    ],
)
def test_a_wrong_setting_is_refused_on_the_command_line(tmp_path: Path, given: list[str], message: str) -> None:
    done = run("bench.sweep", "method=baseline", f"root={tmp_path}", f"accelerator={given[0]}", *given[1:], "--dry-run")
    assert done.returncode != 0 and re.search(message, done.stderr), done


def test_a_sweep_says_at_once_that_a_cache_skipped_nothing(tiny_checkpoint: Path, tmp_path: Path) -> None:
    done = run(
        "bench.sweep", "method=baseline", "accelerator=first_block_cache", "accelerator.threshold=0", "prompts.limit=1",
        "model.video.height=32", "model.video.width=32", "model.video.num_frames=9", "metrics=pixel",
        "model.video.num_inference_steps=2", f"root={tmp_path}", f"model.backbone.path={tiny_checkpoint}",
    )  # fmt: skip
    (line,) = (line for line in done.stdout.splitlines() if "skipped nothing" in line)
    assert done.returncode == 0 and "FirstBlockCache decided 2 times and skipped nothing" in line, done


def test_a_compiled_dit_is_refused_before_a_model_loads() -> None:
    model = HunyuanVideo(str(CHECKPOINT), execution=Execution(compile="eager"))
    video = VideoSettings(64, 64, 33, 50, 6.0, 7.0, 12)
    for cache in ACTIVE.values():
        with pytest.raises(ValueError, match="an accelerator patches the DiT's calls, which a compiled DiT does not"):
            Condition("embedded", model, video, Baseline(accelerators=(cache,))).check_settings()
