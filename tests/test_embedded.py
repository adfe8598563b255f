"""The embedded world, its prompts, the resumption of training, and the quality of the shipped checkpoint."""

import dataclasses
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video import DEFAULT_PROMPT_TEMPLATE
from torch import Tensor, nn

from bench.embedded import train_dit, world
from bench.embedded.train_dit import Clips, TextParts, plain_attention
from bench.embedded.train_text import CROP_START, TextEncoders, clip_tokenizer, llama_tokenizer
from bench.embedded.train_vae import build
from bench.embedded.training import fit, settings
from bench.plan.prompts import EMBEDDED_FILE
from vgdfr import Baseline, HunyuanVideo, VideoSpec, generate
from vgdfr.embedded import CHECKPOINT


def steps(frames: np.ndarray) -> np.ndarray:
    return np.abs(np.diff(frames.astype(int), axis=0)).mean((1, 2, 3))


def test_clips_are_deterministic_and_differ_by_seed() -> None:
    a, b, c = world.training_clip(5), world.training_clip(5), world.training_clip(6)
    assert np.array_equal(a.frames, b.frames) and not np.array_equal(a.frames, c.frames)
    assert a.frames.shape == (65, 64, 64, 3) and a.frames.dtype == np.uint8
    assert a.caption == world.training_scene(5)[0].caption


@pytest.mark.parametrize("background", world.BACKGROUNDS)
@pytest.mark.parametrize("shape", world.SHAPES)
def test_speed_profiles_are_what_captions_say(shape: str, background: str) -> None:
    moved = {}
    for speed in world.SPEEDS:
        direction = None if speed == "still" else "left"
        clip = world.render(world.Attributes("yellow", shape, background, speed, direction), 1)
        assert clip.caption.startswith(f"a yellow {shape} ") and clip.caption.endswith(f"over {background}")
        moved[speed] = steps(clip.frames)
    assert moved["still"].max() == 0
    assert 0 < moved["slow"].mean() < 0.5 * moved["fast"].mean()
    assert moved["accelerating"][:20].mean() < 0.3 * moved["accelerating"][-15:].mean()
    assert moved["stopping"][-15:].max() == 0 and moved["stopping"][:20].mean() > moved["slow"].mean()


def test_shapes_move_where_captions_say() -> None:
    for direction, (dx, dy) in world.DIRECTIONS.items():
        frames = world.render(world.Attributes("white", "circle", "night sky", "slow", direction), 3, 9).frames
        turns = [np.exp(2j * np.pi / 64 * np.argwhere(f.astype(int).sum(-1) > 540)).mean(0) for f in frames]
        travelled = np.angle(turns[-1] / turns[0]) * 64 / (2 * np.pi)  # on the torus
        assert np.allclose(travelled, (dy * 3.2, dx * 3.2), atol=0.5), direction


def test_prompts_are_held_out_balanced_and_as_generated() -> None:
    assert json.loads(EMBEDDED_FILE.read_text()) == world.prompt_list()
    held_out = {a.caption for a in world.all_attributes() if a.held_out}
    trained = {world.training_scene(seed)[0].caption for seed in range(300)}
    texts = [entry["text"] for entry in world.prompt_list()]
    assert len(set(texts)) == len(texts) == 65
    for values in (world.COLOURS, world.SHAPES, world.BACKGROUNDS):
        counts = [sum(f" {value} " in f" {text} " for text in texts) for value in values]
        assert sum(counts) == 65 and max(counts) - min(counts) <= 6, counts
    assert set(texts) <= held_out and not trained & held_out
    assert set(Counter(entry["id"].split("-")[1] for entry in world.prompt_list()).values()) == {13}


def test_unknown_attributes_are_refused() -> None:
    with pytest.raises(ValueError, match="colour must be one of red"):
        world.Attributes("pink", "circle", "sand", "still", None)
    with pytest.raises(ValueError, match="does not fit speed"):
        world.Attributes("red", "circle", "sand", "still", "left")


def test_the_pipelines_template_is_cropped_at_the_prompt() -> None:
    tokenizer = llama_tokenizer()
    tokens = tokenizer(DEFAULT_PROMPT_TEMPLATE["template"].format("a red circle")).input_ids
    assert tokenizer.convert_ids_to_tokens(tokens[CROP_START:]) == ["a", "red", "circle", "<|eot_id|>"]
    of_clip = clip_tokenizer()
    known = of_clip([a.caption for a in world.all_attributes()]).input_ids
    assert not any(of_clip.unk_token_id in ids for ids in known)


def test_training_resumes_where_it_was_killed(tmp_path: Path) -> None:
    def train(folder: Path, killed_at: int | None) -> nn.Module:
        torch.manual_seed(0)
        model = nn.ModuleDict({"blocks": nn.Linear(6, 6), "conv_in": nn.Linear(6, 6)})

        def loss_of_step(step: int) -> dict[str, Tensor]:
            if step == killed_at:
                raise KeyboardInterrupt
            x = torch.randn(8, 6, generator=torch.Generator().manual_seed(step))
            return {"loss": (model["blocks"](model["conv_in"](x)) - x.roll(1, 1)).square().mean()}

        fit(model, loss_of_step, folder, steps=40, muon_lr=0.02, adamw_lr=0.01, save_every_s=0.0)
        return model

    whole = train(tmp_path / "whole", None)
    for killed_at in (5, 23):  # one stop before the first line of the curve, and one after it
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "killed", killed_at)
    resumed = train(tmp_path / "killed", None)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))
    losses = [json.loads(line)["loss"] for line in (tmp_path / "whole" / "curve.jsonl").read_text().splitlines()]
    assert losses[-1] < losses[0]


TINY_DIT = {
    "num_layers": 1, "num_single_layers": 1, "num_attention_heads": 2, "attention_head_dim": 24,
    "rope_axes_dim": [8, 8, 8], "batch_size": 2, "steps": 20, "shift": 2.0, "short_share": 0.3, "image_share": 0.4,
    "shape_weight": 0.0,
    "seed": 0, "caption_dropout": 0.3, "caption_short": 0.3, "guidance": 0.5, "muon_lr": 0.01, "adamw_lr": 0.01,
}  # fmt: skip


def test_the_dit_trains_on_videos_and_frames_and_is_guided_from_a_step_on(tmp_path: Path) -> None:
    encoders = TextEncoders({"hidden_size": 32, "num_attention_heads": 2, "num_layers": 1})
    text = TextParts(encoders.tokenizer, encoders.llama, encoders.tokenizer_2, encoders.clip)
    generator = torch.Generator().manual_seed(0)
    clips = Clips(
        torch.randn(4, 4, 9, 4, 4, generator=generator), torch.randn(4, 2, 4, 1, 4, 4, generator=generator),
        torch.full((4, 9, 4, 4), 255, dtype=torch.uint8), torch.zeros(4, 2, 1, 4, 4, dtype=torch.uint8),
        [a.caption for a in list(world.all_attributes())[:4]],
    )  # fmt: skip

    def curve(name: str, guidance_from: int, **changed: float) -> dict[str, float]:
        train_dit.train(TINY_DIT | {"guidance_from": guidance_from} | changed, text, clips, 1.0, tmp_path / name)
        return json.loads((tmp_path / name / "curve.jsonl").read_text().splitlines()[0])

    plain, guided = curve("plain", 20), curve("guided", 10)
    assert plain["loss"] == pytest.approx(plain["loss_plain"])
    assert guided["loss"] != pytest.approx(guided["loss_plain"])
    # the shape fills the videos and is missing in the frames, so its weight favours neither within a batch
    assert curve("weighed", 20, shape_weight=3.0)["loss"] != pytest.approx(plain["loss"])
    assert curve("again", 20)["loss"] == plain["loss"] != curve("other draws", 20, seed=1)["loss"]


def test_latents_of_another_vae_or_too_few_of_them_are_refused(tmp_path: Path) -> None:
    s = {"clips": 2, "shard": 1, "images": 2}
    vae, other = build(settings("vae")), build(settings("vae") | {"latent_noise": 0.2})
    with pytest.raises(ValueError, match="holds 0 of 2 shards; run the stage latents"):
        train_dit.stored(s, vae, tmp_path)
    train_dit.encode(s, vae, tmp_path)
    clips = train_dit.stored(s, vae, tmp_path)
    assert clips.videos.shape == (2, 16, 17, 8, 8) and clips.images.shape == (2, 2, 16, 1, 8, 8)
    for masks, of in ((clips.masks, 17), (clips.image_masks[0], 2)):
        assert masks.shape[1 if of == 17 else 0] == of and 0.05 < masks.float().mean() / 255 < 0.3
    assert clips.captions == [world.training_clip(train_dit.FIRST_CLIP + i).caption for i in range(2)]
    with pytest.raises(ValueError, match="encoded by another VAE or shows another world"):
        train_dit.stored(s, other, tmp_path)


@torch.no_grad()
def test_the_vae_starts_by_passing_colour_through() -> None:
    vae = build(settings("vae"))
    video = torch.zeros(1, 3, 9, 64, 64) + torch.tensor([0.5, -0.3, 0.1])[None, :, None, None, None]
    video[..., 32:] *= -1
    decoded = vae.decode(vae.encode(video).latent_dist.mode()).sample
    correlation = torch.corrcoef(torch.stack([video.flatten(), decoded.flatten()]))[0, 1]
    assert correlation > 0.9


def test_plain_attention_equals_the_fused_kernel() -> None:
    q, k, v = torch.randn(3, 2, 4, 20, 8, generator=torch.Generator().manual_seed(0))
    mask = torch.arange(20)[None, None, None] < 15
    attention = nn.functional.scaled_dot_product_attention
    with plain_attention():
        plain = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    assert nn.functional.scaled_dot_product_attention is attention
    torch.testing.assert_close(plain, attention(q, k, v, attn_mask=mask))


@pytest.fixture(scope="module")
def generated() -> dict[str, np.ndarray]:
    """Returns baseline videos of a still and a fast prompt from the shipped checkpoint, in fewer steps."""
    backbone = HunyuanVideo(str(CHECKPOINT), dtype="float32", device="cpu").load()
    spec = VideoSpec("-", 1, 64, 64, 65, 16, guidance_scale=1.0, flow_shift=1.0, fps=12)
    prompts = {
        "still": "a yellow circle stays still over night sky",
        "fast": "a yellow circle moves fast to the left over night sky",
    }
    return {
        speed: generate(backbone, dataclasses.replace(spec, prompt=prompt), Baseline()).frames
        for speed, prompt in prompts.items()
    }


def test_still_prompts_stay_still_and_fast_prompts_move(generated: dict[str, np.ndarray]) -> None:
    assert steps(generated["still"]).mean() < 0.4 * steps(generated["fast"]).mean()


def test_the_captions_colour_and_background_are_seen(generated: dict[str, np.ndarray]) -> None:
    for frames in generated.values():
        red, green, blue = frames[32].astype(int).reshape(-1, 3).T
        yellow = ((red > 140) & (green > 120) & (blue < 110)).mean()
        dark = ((red < 70) & (green < 70) & (blue < 90)).mean()
        assert 0.03 < yellow < 0.4 and dark > 0.4


def test_the_shipped_checkpoint_is_small_and_safetensors_only() -> None:
    files = [f for f in CHECKPOINT.rglob("*") if f.is_file()]
    assert 10e6 < sum(f.stat().st_size for f in files) < 40e6
    assert {f.suffix for f in files} <= {".safetensors", ".json"}
