"""Stages `latents` and `dit`: encode training clips once, then train the diffusion transformer on them."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLHunyuanVideo, HunyuanVideoTransformer3DModel
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from transformers import CLIPTextModel, LlamaModel, PreTrainedTokenizerFast

from bench.embedded.train_text import CROP_START, TEMPLATE
from bench.embedded.train_vae import encode_mean
from bench.embedded.training import autocast, device, fit
from bench.embedded.world import all_attributes, training_clip

# The VAE's training counts clips from 0 and does not reach this one, so latents are of unseen videos, as in generation.
FIRST_CLIP = 1_000_000
# The attributes that a shortened caption may tell in addition to the shape: every proper subset.
TOLD = [
    {"colour", "motion", "background"} - left_out
    for left_out in (
        {"colour"},
        {"motion"},
        {"background"},
        {"colour", "motion"},
        {"colour", "background"},
        {"motion", "background"},
        {"colour", "motion", "background"},
    )
]


@dataclass(frozen=True)
class TextParts:
    """The tokenizers and encoders that turn captions into embeddings, under `HunyuanVideoPipeline`'s names."""

    tokenizer: PreTrainedTokenizerFast
    text_encoder: LlamaModel
    tokenizer_2: PreTrainedTokenizerFast
    text_encoder_2: CLIPTextModel


def encode(s: dict[str, Any], vae: AutoencoderKLHunyuanVideo, folder: Path) -> None:
    """Writes the latents of `s["clips"]` clips as shards `folder/NNNN.pt`. Keeps shards that exist already.

    Raises ValueError for shards of another VAE or another world.
    """
    folder.mkdir(parents=True, exist_ok=True)
    source = fingerprint(vae)
    vae = vae.eval().to(device())  # type: ignore[arg-type]
    for shard in range(s["clips"] // s["shard"]):
        file = folder / f"{shard:04d}.pt"
        if file.exists():
            _refuse_foreign(file, source)
            continue
        latents, images, masks, image_masks, captions = [], [], [], [], []
        for i in range(s["shard"]):
            seed = FIRST_CLIP + shard * s["shard"] + i
            clip = training_clip(seed)
            chosen = np.random.default_rng([seed, 7]).integers(len(clip.frames), size=s["images"])
            video = rearrange(torch.from_numpy(clip.frames), "t h w c -> 1 c t h w").to(device()).float() / 127.5 - 1
            with torch.no_grad(), autocast():
                latents.append(encode_mean(vae, video)[0].half().cpu())
                alone = rearrange(video[0, :, torch.from_numpy(chosen)], "c b h w -> b c 1 h w")
                images.append(encode_mean(vae, alone).half().cpu())
            mask = torch.from_numpy(clip.mask)
            masks.append(mask_of_latents(mask))
            image_masks.append(torch.stack([mask_of_latents(mask[i : i + 1]) for i in chosen]))
            captions.append(clip.caption)
        shown = {
            "latents": torch.stack(latents), "images": torch.stack(images), "captions": captions, "source": source,
            "masks": torch.stack(masks), "image_masks": torch.stack(image_masks),
        }  # fmt: skip
        torch.save(shown, file.with_suffix(".tmp"))
        file.with_suffix(".tmp").rename(file)
        print(f"shard {shard + 1} of {s['clips'] // s['shard']}", flush=True)


def mask_of_latents(mask: UInt8[Tensor, "t h w"], factor: int = 8) -> UInt8[Tensor, "n y x"]:
    """Returns the share of each latent that the shape covers, 0 to 255.

    The first latent stands for the first frame, and every other latent for four frames.
    """
    cells = F.avg_pool2d(mask.float(), factor)
    together = [cells[:1], rearrange(cells[1:], "(n four) y x -> n four y x", four=4).mean(1)]
    return torch.cat(together).round().to(torch.uint8)


def fingerprint(vae: AutoencoderKLHunyuanVideo) -> str:
    """Returns a hash of everything that stored latents depend on: the look of clips and the encoder's weights."""
    total = hashlib.sha256(b"".join(training_clip(FIRST_CLIP + i).frames.tobytes() for i in range(8)))
    encoder = {name: v for name, v in vae.state_dict().items() if name.startswith(("encoder.", "quant_conv."))}
    for name, value in sorted(encoder.items()):
        total.update(name.encode() + value.detach().half().cpu().numpy().tobytes())
    return total.hexdigest()


@dataclass(frozen=True)
class Clips:
    """The latents of stage `latents`: whole clips, and single frames of each clip, encoded as videos of one frame.

    The masks hold the share of each latent that the shape covers, 0 to 255.
    """

    videos: Float[Tensor, "b c n y x"]
    images: Float[Tensor, "b m c 1 y x"]
    masks: UInt8[Tensor, "b n y x"]
    image_masks: UInt8[Tensor, "b m 1 y x"]
    captions: list[str]


def stored(s: dict[str, Any], vae: AutoencoderKLHunyuanVideo, folder: Path) -> Clips:
    """Returns all shards of stage `latents`. Raises ValueError if shards are missing or of another VAE or world."""
    files = sorted(folder.glob("*.pt"))
    if len(files) != s["clips"] // s["shard"]:
        raise ValueError(f"{folder} holds {len(files)} of {s['clips'] // s['shard']} shards; run the stage latents")
    source = fingerprint(vae)
    shards = [_refuse_foreign(file, source) for file in files]
    return Clips(
        torch.cat([shard["latents"] for shard in shards]).float(),
        torch.cat([shard["images"] for shard in shards]).float(),
        torch.cat([shard["masks"] for shard in shards]),
        torch.cat([shard["image_masks"] for shard in shards]),
        [c for shard in shards for c in shard["captions"]],
    )


def _refuse_foreign(file: Path, source: str) -> dict[str, Any]:
    shard = torch.load(file, weights_only=True)
    if shard.get("source") != source:
        raise ValueError(f"{file} was encoded by another VAE or shows another world; move {file.parent} away")
    return shard


def build(s: dict[str, Any], latent_channels: int, text_dim: int) -> HunyuanVideoTransformer3DModel:
    """Returns the DiT before training. Every block is the identity at first (adaLN-Zero, Peebles and Xie 2023)."""
    torch.manual_seed(0)
    dit = HunyuanVideoTransformer3DModel(
        in_channels=latent_channels,
        out_channels=latent_channels,
        num_attention_heads=s["num_attention_heads"],
        attention_head_dim=s["attention_head_dim"],
        num_layers=s["num_layers"],
        num_single_layers=s["num_single_layers"],
        num_refiner_layers=1,
        guidance_embeds=False,
        text_embed_dim=text_dim,
        pooled_projection_dim=text_dim,
        rope_axes_dim=tuple(s["rope_axes_dim"]),
    )
    for name, module in dit.named_modules():
        if isinstance(module, nn.Linear) and ("norm" in name or name == "proj_out"):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
    return dit


def train(
    s: dict[str, Any],
    text: TextParts,
    clips: Clips,
    scaling_factor: float,
    folder: Path,
    start: HunyuanVideoTransformer3DModel | None = None,
) -> HunyuanVideoTransformer3DModel:
    """Trains by flow matching: the DiT predicts noise - clean at `(1 - sigma) * clean + sigma * noise`.

    The data are videos and single frames. Continues from `folder`, else from `start`, else trains a new DiT. A share of
    the captions is dropped. From step `guidance_from` on, the captioned prediction is pushed away from the uncaptioned
    prediction by `guidance` (model guidance, Tang et al. 2025). So the trained model needs no guidance when sampling,
    like HunyuanVideo, which is distilled to that.
    """
    videos, images = clips.videos * scaling_factor, clips.images * scaling_factor
    attributes = {a.caption: a for a in all_attributes()}
    shortened = [[attributes[c].describe(told) for told in TOLD] for c in clips.captions]
    embeddings, mask, pooled, index = embed(text, [*clips.captions, *(c for all in shortened for c in all), ""])
    *caption_index, nothing = index.tolist()
    caption_index, short_index = caption_index[: len(shortened)], caption_index[len(shortened) :]
    dit = build(s, videos.shape[1], pooled.shape[1]).to(device())  # type: ignore[arg-type]
    if start is not None:
        dit.load_state_dict(start.state_dict())

    def velocity(x: Tensor, sigma: Tensor, of: Tensor) -> Tensor:
        longest = int(mask[of].sum(1).max())
        with autocast():
            return dit(
                hidden_states=x,
                timestep=1000 * sigma,
                encoder_hidden_states=embeddings[of, :longest],
                encoder_attention_mask=mask[of, :longest],
                pooled_projections=pooled[of],
            ).sample.float()

    def loss_of_step(step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng([s["seed"], step, 2])
        n = longest = videos.shape[2]
        kind = str(rng.choice(["image", "short", "whole"], p=_shares(s)))
        if kind != "whole":
            n = 1 if kind == "image" else int(rng.integers(5, n))
        # short videos come in larger batches, so that every step does equal work
        count = round(s["batch_size"] * _tokens(videos, longest) / _tokens(videos, n))
        chosen = torch.from_numpy(rng.integers(len(videos), size=count))
        dropped = rng.random(count) < s["caption_dropout"]
        shorter, told = rng.random(count) < s["caption_short"], rng.integers(len(TOLD), size=count)
        of = torch.tensor(
            [
                nothing if d else short_index[c * len(TOLD) + n] if part else caption_index[c]
                for c, d, part, n in zip(chosen.tolist(), dropped, shorter, told, strict=True)
            ]
        )
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        clean, mask_of_shape = videos[chosen, :, :n], clips.masks[chosen, :n]
        if kind == "image":
            frame = torch.from_numpy(rng.integers(images.shape[1], size=count))
            clean, mask_of_shape = images[chosen, frame], clips.image_masks[chosen, frame]
        noise = torch.randn(clean.shape, generator=generator)
        u = (torch.arange(count) + torch.rand(count, generator=generator)) / count  # stratified sampling
        sigma = s["shift"] * u / (1 + (s["shift"] - 1) * u)
        clean, noise, sigma = clean.to(device()), noise.to(device()), sigma.to(device())
        s5 = sigma[:, None, None, None, None]
        x = (1 - s5) * clean + s5 * noise
        v, target = velocity(x, sigma, of), noise - clean
        each = (v.detach() - target).square().mean((1, 2, 3, 4))
        if step >= s["guidance_from"]:
            with torch.no_grad():
                push = v.detach() - velocity(x, sigma, torch.full_like(of, nothing))
            target = target + s["guidance"] * push * torch.from_numpy(~dropped).to(push)[:, None, None, None, None]
        noisy = each[sigma > 0.8].mean() if (sigma > 0.8).any() else each.mean()
        # Weights the shape's place. In noisier x the place cannot be seen, so a weight would draw shapes everywhere.
        weight = 1 + s["shape_weight"] * (mask_of_shape.to(x)[:, None] / 255) * (s5 < 0.8)
        loss = (weight * (v - target).square()).mean() / weight.mean()
        return {"loss": loss, "loss_plain": each.mean(), "loss_noisy": noisy, kind: each.mean()}

    with plain_attention():
        fit(dit, loss_of_step, folder, s["steps"], s["muon_lr"], s["adamw_lr"])
    return dit


def _shares(s: dict[str, Any]) -> list[float]:
    return [s["image_share"], s["short_share"], 1 - s["image_share"] - s["short_share"]]


def _tokens(videos: Tensor, num_latents: int) -> int:
    """Returns the number of tokens of a video of this length, with a rough number for its caption. Patches are 2x2."""
    return num_latents * videos.shape[3] * videos.shape[4] // 4 + 20


@contextmanager
def plain_attention() -> Iterator[None]:
    """Replaces the fused attention kernel by two matrix products in the block, if the device is a CPU.

    For 300 tokens a training step then takes a third less time.
    """

    def attention(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, **_: Any) -> Tensor:
        scores = query * query.shape[-1] ** -0.5 @ key.to(query).transpose(-1, -2)
        if attn_mask is not None:
            scores = scores + torch.zeros_like(attn_mask, dtype=scores.dtype).masked_fill(~attn_mask, -1e4)
        return scores.softmax(-1, dtype=scores.dtype) @ value.to(scores)

    fused = F.scaled_dot_product_attention
    if device().type == "cpu":
        F.scaled_dot_product_attention = attention
    try:
        yield
    finally:
        F.scaled_dot_product_attention = fused


def scaling_factor(latents: Tensor) -> float:
    """Returns the factor that brings the latents to unit variance: the VAE's `scaling_factor`."""
    return round(float(1 / latents.float().std()), 4)


@torch.no_grad()
def embed(text: TextParts, captions: list[str]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns embeddings of the distinct captions, and the index of each caption in them.

    The embeddings are `[u, l, d]`, their mask `[u, l]` and the pooled embeddings `[u, d]`.
    """
    distinct = sorted(set(captions))
    tokens = text.tokenizer([TEMPLATE.format(c) for c in distinct], padding=True, return_tensors="pt").to(device())
    hidden = text.text_encoder(**tokens, output_hidden_states=True).hidden_states[-3][:, CROP_START:]
    tokens_2 = text.tokenizer_2(distinct, padding=True, return_tensors="pt").to(device())
    pooled = text.text_encoder_2(tokens_2.input_ids).pooler_output
    index = {c: i for i, c in enumerate(distinct)}
    return (
        hidden,
        tokens.attention_mask[:, CROP_START:],
        pooled,
        torch.tensor([index[c] for c in captions]).to(device()),
    )
