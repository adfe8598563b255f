"""TeaCache: its skips against hand counts, its residual against the blocks' own, and its state."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FluxTransformer2DModel, WanTransformer3DModel
from diffusers.hooks.group_offloading import ModuleGroup
from test_execution import Elsewhere
from torch import Tensor, nn

from vgdfr import Baseline, HunyuanVideo, Method, Sampled, Vgdfr, VideoSpec, generate
from vgdfr.accelerators import TeaCache
from vgdfr.accelerators.blocks import relative_l1
from vgdfr.accelerators.recorder import INPUT_CHANGE, OUTPUT_CHANGE, Recorder
from vgdfr.accelerators.teacache import polynomial, share_skipped
from vgdfr.account import Shared
from vgdfr.backbones.base import Backbone
from vgdfr.backbones.execution import Execution
from vgdfr.backbones.hunyuan_dit import blocks_of as layers_of

NUM_BLOCKS = 5  # of the tiny model
ONE = (1.0,)  # a constant polynomial: each pass is estimated to change the output by 1
MERGING = Vgdfr(k=3, theta=0.01, global_layers=(1, 4), interpolator="linear")


def with_cache(method: Method, threshold: float, coefficients: tuple[float, ...] = ONE) -> Method:
    return replace(method, accelerators=(TeaCache(threshold, coefficients=coefficients),))


def in_steps(spec: VideoSpec, steps: int) -> VideoSpec:
    return replace(spec, num_inference_steps=steps)


def counts(skipped: int, computed: int) -> dict[str, float]:
    return {
        "gate_asked": skipped + computed,
        "passes_skipped": skipped,
        "blocks_computed": computed * NUM_BLOCKS,
        "blocks_skipped": skipped * NUM_BLOCKS,
    }


@pytest.mark.parametrize("method", [Baseline(), MERGING], ids=["baseline", "vgdfr"])
@pytest.mark.parametrize("coefficients", [ONE, (1.0, 0.0), (-1.0, 0.0)])
def test_a_threshold_of_0_gives_the_plain_method_bit_for_bit(
    backbone: Backbone, spec: VideoSpec, method: Method, coefficients: tuple[float, ...]
) -> None:
    """A negative estimate counts as 0, which is not below 0."""
    spec = in_steps(spec, 6)
    plain, cached = generate(backbone, spec, method), generate(backbone, spec, with_cache(method, 0, coefficients))
    assert plain.latents is not None and cached.latents is not None and torch.equal(plain.latents, cached.latents)
    assert plain.dit_passes == cached.dit_passes, "the modulated input is computed again, which is no counted layer"
    assert cached.accelerated == {"TeaCache": counts(0, 6)}


@pytest.mark.parametrize(
    ("steps", "threshold", "computed"),
    [
        # estimates 1, 2, 3: the third one reaches 2.5, and the sum starts again
        (10, 2.5, [0, 3, 6, 9]),
        (9, 2.5, [0, 3, 6, 8]),  # the last pass is computed below the threshold, too
        (10, 2.0, [0, 2, 4, 6, 8, 9]),  # 2 is not below 2
        (6, 1e9, [0, 5]),
        (2, 1e9, [0, 1]),
    ],
)
def test_skips_are_those_counted_by_hand(
    backbone: Backbone, spec: VideoSpec, steps: int, threshold: float, computed: list[int]
) -> None:
    ran: list[bool] = []  # whether the attention of the last block ran, for each pass

    def count_pass(*_: Any) -> None:
        ran.append(False)

    def count_block(*_: Any) -> None:
        ran[-1] = True

    last = layers_of(backbone.transformer)[-1]  # type: ignore[arg-type]
    hooks = [backbone.transformer.register_forward_pre_hook(count_pass), last.attn.register_forward_hook(count_block)]
    try:
        video = generate(backbone, in_steps(spec, steps), with_cache(Baseline(), threshold))
    finally:
        for hook in hooks:
            hook.remove()
    assert [i for i, whole in enumerate(ran) if whole] == computed
    assert video.accelerated == {"TeaCache": counts(steps - len(computed), len(computed))}
    shares = {(made.attention, made.feed_forward): count for made, count in video.dit_passes.items()}
    expected = {(1.0, 1.0): len(computed), (0.0, 0.0): steps - len(computed)}
    assert shares == {share: count for share, count in expected.items() if count}


def test_a_merged_trajectory_begins_with_a_computed_pass_and_ends_with_one(backbone: Backbone, spec: VideoSpec) -> None:
    """Full latent: step 0 is computed, and 1 and 2 are skipped. Merged: 3, 6 and 9 are computed."""
    video = generate(backbone, in_steps(spec, 10), with_cache(MERGING, 2.5))
    assert video.accelerated == {"TeaCache": counts(6, 4)}
    found = {(made.frames, made.attention): count for made, count in video.dit_passes.items()}
    (merged,) = {frames for frames, _ in found} - {9}
    assert found == {(9, 1.0): 1, (9, 0.0): 2, (merged, 1.0): 3, (merged, 0.0): 4}


def test_a_skipped_pass_adds_exactly_the_last_residual(backbone: Backbone, spec: VideoSpec) -> None:
    """The input of the blocks and of the layer after them is seen by hooks, in four passes of which two are skipped."""
    before: list[Tensor] = []
    after: list[Tensor] = []
    dit: Any = backbone.transformer
    hooks = [
        dit.transformer_blocks[0].register_forward_pre_hook(lambda _, args: before.append(args[0])),
        dit.norm_out.register_forward_pre_hook(lambda _, args: after.append(args[0])),
    ]
    try:
        generate(backbone, in_steps(spec, 4), with_cache(Baseline(), 2.5))
    finally:
        for hook in hooks:
            hook.remove()
    residual = after[0] - before[0]
    assert torch.equal(after[1], before[1] + residual) and torch.equal(after[2], before[2] + residual)
    assert not torch.equal(after[3], before[3] + residual), "the last pass is computed"


def changes_of_modulated_inputs(backbone: Backbone, spec: VideoSpec) -> list[float]:
    """Returns the relative L1 changes from pass to pass, computed here from the weights of the first block."""
    seen: list[Tensor] = []
    block: Any = layers_of(backbone.transformer)[0]  # type: ignore[arg-type]

    def modulated(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        tokens, emb = args[0], args[2]
        shift, scale = (emb.sigmoid() * emb @ block.norm1.linear.weight.T + block.norm1.linear.bias).chunk(6, -1)[:2]
        centred = tokens - tokens.mean(-1, keepdim=True)
        normed = centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()
        seen.append(normed * (1 + scale[:, None]) + shift[:, None])

    hook = block.register_forward_pre_hook(modulated)
    try:
        generate(backbone, spec, Baseline())
    finally:
        hook.remove()
    return [float((new - old).abs().sum() / old.abs().sum()) for old, new in zip(seen[:-1], seen[1:], strict=True)]


def test_the_change_is_of_the_modulated_input_since_the_pass_before(backbone: Backbone, spec: VideoSpec) -> None:
    spec = in_steps(spec, 3)  # step 1 alone is decided
    first, _ = changes_of_modulated_inputs(backbone, spec)
    for threshold, skipped in ((first * 0.999, 0), (first * 1.001, 1)):
        video = generate(backbone, spec, with_cache(Baseline(), threshold, (1.0, 0.0)))
        assert video.accelerated == {"TeaCache": counts(skipped, 3 - skipped)}
    # at these noise levels the changes fall, so step 1 is computed, and step 2 is skipped against step 1, not step 0
    spec = replace(in_steps(spec, 4), flow_shift=0.2)
    first, second, _ = changes_of_modulated_inputs(backbone, spec)
    assert second < 0.5 * first
    video = generate(backbone, spec, with_cache(Baseline(), (first + second) / 2, (1.0, 0.0)))
    assert video.accelerated == {"TeaCache": counts(1, 3)}


def test_the_recorder_measures_these_changes_and_changes_nothing(backbone: Backbone, spec: VideoSpec) -> None:
    plain, recorded = (generate(backbone, spec, Baseline(accelerators=each)) for each in ((), (Recorder("changes"),)))
    assert plain.latents is not None and recorded.latents is not None and torch.equal(plain.latents, recorded.latents)
    assert plain.dit_passes == recorded.dit_passes
    found = recorded.accelerated["Recorder"]
    expected = changes_of_modulated_inputs(backbone, spec)
    assert [found[f"{INPUT_CHANGE}{step}"] for step in (1, 2, 3)] == pytest.approx(expected, rel=1e-4)
    assert set(found) == {"gate_asked"} | {
        f"{name}{step}" for name in (INPUT_CHANGE, OUTPUT_CHANGE) for step in (1, 2, 3)
    }


def test_the_arithmetic_of_the_decision() -> None:
    assert polynomial((2.0, -3.0, 5.0), 10.0) == 2 * 100 - 3 * 10 + 5 and polynomial((7.0,), 3.0) == 7
    assert relative_l1(torch.tensor([1.0, -2.0]), torch.tensor([2.0, 2.0])) == pytest.approx((1 + 4) / 4)
    # the changes 1, 2, 1, 1 lead to passes 1 to 4; pass 1 (sum 1) and pass 3 (sum 1) stay below 2
    assert share_skipped((1.0, 0.0), [1.0, 2.0, 1.0, 1.0], 2.0) == 2 / 5
    assert share_skipped((1.0, 0.0), [1.0, 2.0, 1.0, 1.0], 0.0) == 0
    assert share_skipped((-1.0,), [1.0, 2.0, 1.0], 1.0) == 2 / 4, "a negative estimate counts as 0"
    assert share_skipped((float("nan"),), [1.0, 2.0, 1.0], 1e9) == 0, "an unknown change is computed"


@pytest.mark.parametrize("method", [Baseline(), MERGING], ids=["baseline", "vgdfr"])
def test_the_sample_after_an_exception_and_after_other_samples_is_the_same(
    backbone: Backbone, spec: VideoSpec, method: Method
) -> None:
    spec, cached = in_steps(spec, 8), with_cache(method, 2.5)
    first = generate(backbone, spec, cached).latents
    layers, passes = layers_of(backbone.transformer), []  # type: ignore[arg-type]
    own_forwards = [vars(layer).get("forward") for layer in layers]

    def interrupt(*_: Any) -> None:
        passes.append(1)
        if len(passes) == 5:
            raise KeyError("in the middle of a pass")

    hook = layers[2].register_forward_pre_hook(interrupt)
    try:
        with pytest.raises(KeyError, match="in the middle"):
            generate(backbone, spec, cached)
    finally:
        hook.remove()
    assert [vars(layer).get("forward") for layer in layers] == own_forwards
    shared = Shared(spec, {1, 3})
    for other in (Baseline(), MERGING, replace(MERGING, k=1)):
        generate(backbone, spec, other, shared)
    for again in (generate(backbone, spec, cached), generate(backbone, spec, cached, shared)):
        assert first is not None and again.latents is not None and torch.equal(first, again.latents)


def test_passes_off_the_trajectory_are_neither_skipped_nor_remembered(backbone: Backbone, spec: VideoSpec) -> None:
    @dataclass(frozen=True)
    class Looking(Baseline):
        """Runs a pass at other noise between the trajectory's passes."""

        def sample(self, run: Any) -> Sampled:
            state = run.solver.restart(run.noise)
            for step in range(run.steps):
                run.velocity(run.noise * 2, 0.5)
                state = run.solver.step(run.velocity, state, step)
            return Sampled(state.x)

    spec = in_steps(spec, 6)
    plain = generate(backbone, spec, with_cache(Baseline(), 2.5))
    looking = generate(backbone, spec, with_cache(Looking(), 2.5))
    assert plain.latents is not None and looking.latents is not None and torch.equal(plain.latents, looking.latents)
    assert looking.accelerated == plain.accelerated and sum(looking.dit_passes.values()) == 12


def test_offloaded_blocks_are_skipped_and_computed_alike(
    tiny_checkpoint: Path, backbone: Backbone, spec: VideoSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights that are not on the device are NaN here, as in the test of offloading itself."""
    memory = Elsewhere()
    monkeypatch.setattr(ModuleGroup, "_offload_to_memory", lambda group: memory.offload(group))
    monkeypatch.setattr(ModuleGroup, "_onload_from_memory", lambda group: memory.onload(group))
    model = HunyuanVideo(str(tiny_checkpoint), dtype="float32", device="cpu", execution=Execution(offload="blocks"))
    other, spec = model.load(), in_steps(spec, 8)
    for method in (with_cache(Baseline(), 2.5), with_cache(MERGING, 2.5), Baseline()):
        made, expected = generate(other, spec, method), generate(backbone, spec, method)
        assert made.latents is not None and expected.latents is not None and torch.equal(made.latents, expected.latents)
        assert made.accelerated == expected.accelerated


def test_another_registered_dit_is_accelerated() -> None:
    torch.manual_seed(0)
    flux = FluxTransformer2DModel(
        in_channels=4, num_layers=1, num_single_layers=2, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=8, pooled_projection_dim=8, axes_dims_rope=(4, 4, 8),
    ).eval()  # fmt: skip

    def call(scale: float) -> Tensor:
        with torch.inference_mode():
            return flux(
                hidden_states=scale * torch.ones(1, 6, 4), encoder_hidden_states=torch.ones(1, 3, 8),
                pooled_projections=torch.ones(1, 8), timestep=torch.ones(1), img_ids=torch.zeros(6, 3),
                txt_ids=torch.zeros(3, 3), return_dict=False,
            )[0]  # fmt: skip

    plain = [call(1.0), call(2.0)]
    with TeaCache(1e9, coefficients=ONE).applied(flux) as running:
        assert running.at is not None
        for step, scale in enumerate((1.0, 1.0, 2.0)):
            running.at(step, 1.0, 3)
            torch.testing.assert_close(call(scale), plain[int(scale) - 1])
    assert running.measured() == {"gate_asked": 3, "passes_skipped": 1, "blocks_computed": 6, "blocks_skipped": 3}


def small_wan() -> nn.Module:
    return WanTransformer3DModel(
        num_layers=1, num_attention_heads=1, attention_head_dim=12, ffn_dim=8, text_dim=4, freq_dim=4
    )


@pytest.mark.parametrize(
    ("transformer", "message"),
    [
        (lambda: nn.Linear(1, 1), "Linear has no blocks that a cache knows; they are expected in one of blocks, "),
        (lambda: nn.ModuleDict({"blocks": nn.ModuleList([nn.Linear(1, 1)])}), "blocks Linear of ModuleDict are not kn"),
        (small_wan, "an AdaLayerNormZero as norm1; WanTransformerBlock has FP32LayerNorm"),
    ],
)
def test_a_dit_that_teacache_does_not_know_is_refused(transformer: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(ValueError, match=message), TeaCache(0.1, coefficients=ONE).applied(transformer()):
        pass


def test_settings_that_do_not_fit_are_refused(backbone: Backbone, spec: VideoSpec) -> None:
    facts = backbone.architecture
    for wrong in (-0.1, float("nan"), float("inf"), True):
        with pytest.raises(ValueError, match="threshold .*must be a (finite number of at least 0|number), got"):
            TeaCache(wrong, coefficients=ONE)
    for wrong in ((), (float("nan"),), (1.0, True)):
        with pytest.raises(ValueError, match="coefficients must be finite numbers, highest power first, got"):
            TeaCache(0.1, coefficients=wrong)
    with pytest.raises(ValueError, match="TeaCache keeps one state, .* one forward per step, got 2"):
        TeaCache(0.1, coefficients=ONE).check(spec, replace(facts, forwards_per_step=2))
    with pytest.raises(ValueError, match="give coefficients or calibration, and not both"):
        TeaCache(0.1, "a.json", ONE)
    assert json.dumps(TeaCache(1, coefficients=(2,)).settings()) == json.dumps(
        TeaCache(1.0, coefficients=(2.0,)).settings()
    )
