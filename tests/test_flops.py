"""Compares FLOPs on the meta device with sums worked out by hand, and short cuts with complete counts."""

import json
import math
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from itertools import product
from typing import Any

import pytest

from vgdfr.assets import MANIFESTS
from vgdfr.flops import Flops
from vgdfr.passes import Pass, to_rows
from vgdfr.presets import PRESETS


def of(name: str, **changed: int) -> Flops:
    preset = PRESETS[name]
    size: dict[str, Any] = {key: preset.video[key] for key in ("height", "width", "num_frames")} | changed
    return Flops(preset.model.configuration(), preset.model.tiling, **size)


@pytest.fixture(scope="module")
def embedded() -> Flops:
    return of("embedded")


@pytest.fixture(scope="module")
def hunyuan() -> Flops:
    return of("hunyuan_video")


def test_a_pass_is_quadratic_in_latent_frames_exactly(embedded: Flops) -> None:
    c0, c1, c2 = embedded.dit_coefficients
    for n in (1, 7, 10, 17):
        assert c0 + c1 * n + c2 * n * n == embedded.count_dit(n)
    assert all(isinstance(c, Fraction) and c > 0 for c in (c0, c1, c2))


def test_equal_blocks_and_tiles_counted_once_come_to_what_all_of_them_do(embedded: Flops) -> None:
    assert embedded.count_dit(7) == embedded.count_dit(7, each_block_once=False)
    tiled = of("embedded", height=320, width=352)  # each side has two tiles, and the last tiles are narrower
    assert tiled.decode(3) == tiled.decode(3, each_tile_once=False)
    assert tiled.encode(3, 1) == tiled.encode(3, 1, each_tile_once=False)
    assert tiled.decode(3) > of("embedded", height=256, width=256).decode(3)


def test_attention_feed_forward_and_the_rest_add_up_to_a_pass_exactly(embedded: Flops) -> None:
    for n in (1, 7, 17):
        parts = embedded.count_parts(n)
        assert sum(parts) == embedded.count_dit(n) and min(parts) > 0
        assert parts == embedded.count_parts(n, each_block_once=False)
        for part, (c0, c1, c2) in zip(parts, embedded.part_coefficients, strict=True):
            assert c0 + c1 * n + c2 * n * n == part
    assert [c2 > 0 for *_, c2 in embedded.part_coefficients] == [True, False, False], "attention alone is quadratic"


@pytest.mark.parametrize("name", ["embedded", "hunyuan_video"])
def test_attention_and_feed_forward_cost_what_their_matrices_do(name: str) -> None:
    """The test computes every product of the blocks' layers by hand, for image and text."""
    flops, n = of(name), 9
    c = flops.configuration["transformer"]
    d, mlp = (
        c["num_attention_heads"] * c["attention_head_dim"],
        int(c["num_attention_heads"] * c["attention_head_dim"] * 4),
    )
    tokens = n * (flops.height // 16) * (flops.width // 16) + flops.text_tokens
    products = 4 * tokens**2 * d
    parts = flops.count_parts(n)
    assert parts.attention == (
        c["num_layers"] * (2 * 4 * tokens * d * d + products)
        + c["num_single_layers"] * (2 * 3 * tokens * d * d + products)
    )
    assert parts.feed_forward == tokens * (
        c["num_layers"] * 2 * 2 * d * mlp + c["num_single_layers"] * (2 * d * mlp + 2 * (d + mlp) * d)
    )


def latent_of(flops: Flops, frames: int) -> tuple[int, int, int]:
    return frames, flops.height // 8, flops.width // 8


def test_a_plain_pass_of_the_histogram_is_a_dit_pass_to_the_bit(embedded: Flops, hunyuan: Flops) -> None:
    for flops in (embedded, hunyuan):
        c0, c1, c2 = (float(c) for c in flops.dit_coefficients)
        for n in (1, 9, flops.num_latents):
            plain = Pass(*latent_of(flops, n), 1, 1.0, 1.0)
            assert flops.of_pass(plain) == flops.dit(n) == c0 + c1 * n + c2 * n**2
            assert flops.of_pass(plain._replace(forwards=2)) == 2 * flops.dit(n)
            assert flops.of_pass(plain._replace(forwards=0)) == 0
        full = Pass(*latent_of(flops, flops.num_latents), 1, 1.0, 1.0)
        assert flops.dit_work(to_rows(Counter({full: 50})), 50) == 1


def test_what_was_skipped_costs_nothing(embedded: Flops) -> None:
    n, plain = 7, Pass(*latent_of(embedded, 7), 1, 1.0, 1.0)
    parts = embedded.count_parts(n)
    for attention, feed_forward in product((0.0, 0.5, 1.0), repeat=2):
        expected = attention * parts.attention + feed_forward * parts.feed_forward + parts.rest
        assert embedded.of_pass(plain._replace(attention=attention, feed_forward=feed_forward)) == expected


def test_half_the_blocks_taken_out_cost_half_up_to_the_rest(embedded: Flops) -> None:
    transformer = embedded.configuration["transformer"]
    layers = {name: transformer[name] for name in ("num_layers", "num_single_layers")}
    assert all(count % 2 == 0 for count in layers.values())
    halved = transformer | {name: count // 2 for name, count in layers.items()}
    half = replace(embedded, configuration=embedded.configuration | {"transformer": halved}, _counts={})
    rest = embedded.count_parts(7).rest - half.count_parts(7).rest  # the modulation of the removed blocks
    assert embedded.of_pass(Pass(*latent_of(embedded, 7), 1, 0.5, 0.5)) == half.count_dit(7) + rest
    assert 0 < rest < 0.01 * half.count_dit(7)


def test_a_pass_on_another_size_costs_what_its_tokens_cost(embedded: Flops) -> None:
    smaller = replace(embedded, height=embedded.height // 2, _counts={})
    half = Pass(*latent_of(smaller, 8), 1, 0.5, 1.0)
    assert embedded.of_pass(half) == embedded.of_pass(half._replace(frames=4, height=2 * half.height))
    assert embedded.of_pass(half) == pytest.approx(smaller.of_pass(half), rel=1e-12)
    rows = [[*half, 3], [*latent_of(embedded, 17), 1, 1.0, 1.0, 2]]
    assert embedded.of_passes(rows) == pytest.approx(3 * embedded.of_pass(half) + 2 * embedded.dit(17), rel=1e-15)
    assert embedded.dit_work(rows, 5) == embedded.of_passes(rows) / (5 * embedded.dit(17))
    assert embedded.of_passes([]) == 0


def test_a_projection_onto_the_model_itself_is_its_own_cost_and_another_keeps_shares_of_tokens(
    embedded: Flops, hunyuan: Flops
) -> None:
    full = latent_of(embedded, 17)
    rows = [[*latent_of(embedded, 8), 2, 0.5, 1.0, 3], [*full, 1, 1.0, 1.0, 2]]
    assert embedded.projected(rows, full) == embedded.of_passes(rows)
    frames = hunyuan.num_latents * 8 / 17
    there = [
        [frames, *latent_of(hunyuan, 0)[1:], 2, 0.5, 1.0, 3],
        [*latent_of(hunyuan, hunyuan.num_latents), 1, 1.0, 1.0, 2],
    ]
    assert hunyuan.projected(rows, full) == hunyuan.of_passes(there)


def test_a_model_says_its_own_flops(embedded: Flops) -> None:
    preset = PRESETS["embedded"]
    assert preset.model.flops(64, 96, 33) == Flops(preset.model.configuration(), preset.model.tiling, 64, 96, 33)
    assert preset.model.flops(64, 96, 33, text_tokens=7).text_tokens == 7


def test_frames_per_latent_and_pixels_per_latent_are_the_vaes(embedded: Flops) -> None:
    vae = embedded.configuration["vae"] | {"temporal_compression_ratio": 8, "spatial_compression_ratio": 16}
    other = Flops(embedded.configuration | {"vae": vae}, embedded.tiling, embedded.height, embedded.width, 65)
    assert other.num_latents == 9
    assert other.count_dit(4) == replace(
        embedded, height=embedded.height // 2, width=embedded.width // 2, _counts={}
    ).count_dit(4)


@pytest.mark.parametrize(("name", "n"), [("embedded", 17), ("hunyuan_video", 25), ("hunyuan_video", 9)])
def test_a_pass_costs_what_the_papers_arithmetic_says(name: str, n: int) -> None:
    """The test computes projections, MLPs and attention of every block by hand. Embeddings and text are small."""
    flops = of(name)
    c = flops.configuration["transformer"]
    d = c["num_attention_heads"] * c["attention_head_dim"]
    image = n * (flops.height // 16) * (flops.width // 16)
    tokens = image + flops.text_tokens
    mlp = int(d * c["mlp_ratio"])
    attention = 4 * tokens**2 * d
    dual = tokens * (2 * 4 * d * d + 2 * 2 * d * mlp) + attention
    single = tokens * (2 * 3 * d * d + 2 * d * mlp + 2 * (d + mlp) * d) + attention
    by_hand = c["num_layers"] * dual + c["num_single_layers"] * single
    assert by_hand < flops.count_dit(n) < by_hand * (1.005 if name == "hunyuan_video" else 1.1)


def test_the_papers_model_costs_what_method_md_works_out(hunyuan: Flops) -> None:
    """14 of 25 latent frames cost between 0.37 and 0.41 of a full step, depending on the weight of attention."""
    assert 0.37 < hunyuan.cost_ratio(14) < 0.41
    assert hunyuan.cost_ratio(25) == 1
    for n in (3.5, 9, 25):
        assert math.isclose(hunyuan.latents_of_cost(hunyuan.cost_ratio(n)), n)


@pytest.mark.parametrize("latents", [1, 4])
def test_the_vaes_attention_costs_what_causal_attention_by_frame_does(latents: int) -> None:
    """The cost is the projections of every token, and for frame i the products with frames 0 to i.

    This is about half of the cost with a mask.
    """
    preset, side, width = PRESETS["embedded"], 6, 64
    vae = preset.model.configuration()["vae"]
    assert vae["block_out_channels"][-1] == width

    def decode(attention: bool) -> int:
        configuration = preset.model.configuration() | {"vae": vae | {"mid_block_add_attention": attention}}
        return Flops(configuration, preset.model.tiling, 8 * side, 8 * side, 4 * latents - 3).decode()

    tokens, frame = latents * side * side, side * side
    pairs = frame * frame * latents * (latents + 1) // 2
    assert decode(True) - decode(False) == 2 * 4 * tokens * width**2 + 2 * 2 * pairs * width


def test_the_compression_module_is_cheaper_the_more_levels_it_leaves_out(embedded: Flops) -> None:
    decoders = [embedded.decode(levels=levels) for levels in (0, 1, 2, 3)]
    assert decoders == sorted(decoders, reverse=True) and len(set(decoders)) == 4
    for levels, kept in product((1, 2), (7, 10)):
        assert embedded.encode(kept, levels) < embedded.encode(17, levels)
    assert embedded.decode(7) < embedded.decode()


def test_the_packaged_architecture_is_that_of_the_pinned_files() -> None:
    """The test compares the text encoders' sizes with the files, and the DiT and the VAE with diffusers' defaults.

    Another test compares these defaults with the files.
    """
    import torch
    from diffusers import AutoencoderKLHunyuanVideo, HunyuanVideoTransformer3DModel
    from transformers import AutoConfig, AutoModel

    architecture = PRESETS["hunyuan_video"].model.configuration()
    files = json.loads((MANIFESTS / "hunyuanvideo-community--HunyuanVideo.json").read_text())["files"]
    for part in ("text_encoder", "text_encoder_2"):
        with torch.device("meta"):
            model = AutoModel.from_config(AutoConfig.for_model(**architecture[part]))
        stored = sum(b for f, (b, _) in files.items() if f.startswith(f"{part}/") and f.endswith(".safetensors"))
        weights = 2 * sum(p.numel() for p in model.parameters())
        assert weights <= stored < 1.001 * weights
    for part, model_class in (("transformer", HunyuanVideoTransformer3DModel), ("vae", AutoencoderKLHunyuanVideo)):
        with torch.device("meta"):
            defaults = model_class.from_config({}).config
        for name, value in architecture[part].items():
            default = defaults[name]
            assert (list(default) if isinstance(default, tuple) else default) == value, (part, name)
