"""FLOPs on the meta device against sums worked out by hand, and short cuts against counting everything."""

import json
import math
from fractions import Fraction
from itertools import product
from typing import Any

import pytest

from vgdfr.assets import MANIFESTS
from vgdfr.flops import Flops
from vgdfr.presets import PRESETS


def of(name: str, **changed: int) -> Flops:
    preset = PRESETS[name]
    size: dict[str, Any] = {key: preset.video[key] for key in ("height", "width", "num_frames")} | changed
    return Flops(preset.model.architecture(), preset.model.tiling, **size)


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
    tiled = of("embedded", height=320, width=352)  # two tiles a side, the last ones narrower
    assert tiled.decode(3) == tiled.decode(3, each_tile_once=False)
    assert tiled.encode(3, 1) == tiled.encode(3, 1, each_tile_once=False)
    assert tiled.decode(3) > of("embedded", height=256, width=256).decode(3)


@pytest.mark.parametrize(("name", "n"), [("embedded", 17), ("hunyuan_video", 25), ("hunyuan_video", 9)])
def test_a_pass_costs_what_the_papers_arithmetic_says(name: str, n: int) -> None:
    """Projections, MLPs and attention of every block by hand; what else there is (embeddings, text) is little."""
    flops = of(name)
    c = flops.architecture["transformer"]
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
    """14 of 25 latent frames cost between 0.37 and 0.41 of a full step, whatever the weight of attention."""
    assert 0.37 < hunyuan.cost_ratio(14) < 0.41
    assert hunyuan.cost_ratio(25) == 1
    for n in (3.5, 9, 25):
        assert math.isclose(hunyuan.latents_of_cost(hunyuan.cost_ratio(n)), n)


@pytest.mark.parametrize("latents", [1, 4])
def test_the_vaes_attention_costs_what_causal_attention_by_frame_does(latents: int) -> None:
    """Projections of every token, and of frame i the products with frames 0 to i: about half of those with a mask."""
    preset, side, width = PRESETS["embedded"], 6, 64
    vae = preset.model.architecture()["vae"]
    assert vae["block_out_channels"][-1] == width

    def decode(attention: bool) -> int:
        architecture = preset.model.architecture() | {"vae": vae | {"mid_block_add_attention": attention}}
        return Flops(architecture, preset.model.tiling, 8 * side, 8 * side, 4 * latents - 3).decode()

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
    """The text encoders' sizes; the DiT's and the VAE's are held to diffusers' defaults, and those to the files."""
    import torch
    from diffusers import AutoencoderKLHunyuanVideo, HunyuanVideoTransformer3DModel
    from transformers import AutoConfig, AutoModel

    architecture = PRESETS["hunyuan_video"].model.architecture()
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
