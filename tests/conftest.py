"""A tiny random checkpoint in diffusers' folder format, made once per test run and loaded by the real loader."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
import torchvision
from diffusers import AutoencoderKLHunyuanVideo, FlowMatchEulerDiscreteScheduler, HunyuanVideoTransformer3DModel
from huggingface_hub import constants
from hypothesis import settings
from stand_in_tokenizers import MODEL_INDEX, write_clip, write_llama
from transformers import CLIPTextConfig, CLIPTextModel, LlamaConfig, LlamaModel

from bench.prompts import embedded
from metrics.weights import ALEXNET, CLIP_VIT_B_32
from vgdfr import HunyuanVideo, VideoSpec
from vgdfr.backbones.base import Backbone
from vgdfr.files import sha256

# a slow machine is no failure, and a run is repeatable
settings.register_profile("project", deadline=None, derandomize=True)
settings.load_profile("project")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests neither find nor leave anything in the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VGDFR_CACHE", str(tmp_path_factory.mktemp("cache")))
        hub = str(tmp_path_factory.mktemp("hub"))
        patch.setenv("HF_HUB_CACHE", hub)
        patch.setattr(constants, "HF_HUB_CACHE", hub)
        yield


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights: 3 dual-stream and 2 single-stream layers, a VAE of 8 channels.

    Like the 13B model where faults could hide: the classes in model_index.json, tokenizers of the same kinds, attention
    in the VAE's mid blocks.
    """
    folder, captions = tmp_path_factory.mktemp("checkpoint"), [caption for _, caption in embedded()]
    llama, clip = write_llama(folder / "tokenizer", captions), write_clip(folder / "tokenizer_2", captions)
    (folder / "model_index.json").write_text(json.dumps(MODEL_INDEX))
    torch.manual_seed(1)
    shape: Any = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
    parts = {
        "text_encoder": LlamaModel(
            LlamaConfig(vocab_size=llama.get_vocab_size(), num_hidden_layers=3, max_position_embeddings=512, **shape)
        ),
        "text_encoder_2": CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(clip), num_hidden_layers=1, max_position_embeddings=77, projection_dim=32,
                bos_token_id=0, eos_token_id=1, **shape,
            )
        ),
        "transformer": HunyuanVideoTransformer3DModel(
            in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=24, num_layers=3,
            num_single_layers=2, num_refiner_layers=1, text_embed_dim=32, pooled_projection_dim=32,
            rope_axes_dim=(8, 8, 8),
        ),
        "vae": AutoencoderKLHunyuanVideo(
            latent_channels=4,
            block_out_channels=(8, 8, 8, 8),  # type: ignore[arg-type]
            layers_per_block=1,
            norm_num_groups=2,
            mid_block_add_attention=True,
        ),
        "scheduler": FlowMatchEulerDiscreteScheduler(shift=7.0),
    }  # fmt: skip
    for name, part in parts.items():
        part.save_pretrained(folder / name)
    return folder


@pytest.fixture(scope="session")
def backbone(tiny_checkpoint: Path) -> Backbone:
    return HunyuanVideo(str(tiny_checkpoint), dtype="float32", device="cpu").load()


@pytest.fixture(scope="session")
def spec() -> VideoSpec:
    return VideoSpec(
        prompt="a red circle stays still over sand", seed=3, height=32, width=32, num_frames=33,
        num_inference_steps=4, guidance_scale=6.0, flow_shift=7.0, fps=12,
    )  # fmt: skip


@pytest.fixture
def public(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Small random weights in the public files' formats, where the real ones would lie."""
    monkeypatch.setenv("VGDFR_CACHE", str(tmp_path))
    torch.manual_seed(0)
    small = open_clip.CLIP(
        16,
        open_clip.CLIPVisionCfg(layers=1, width=64, patch_size=16, image_size=32),
        open_clip.CLIPTextCfg(layers=1, width=64, heads=1),
        quick_gelu=True,
    )
    CLIP_VIT_B_32.file.parent.mkdir(parents=True)
    torch.save(small.state_dict(), CLIP_VIT_B_32.file)
    torch.save(torchvision.models.alexnet().state_dict(), ALEXNET.file)
    pins = [(weights, weights.sha256) for weights in (CLIP_VIT_B_32, ALEXNET)]
    for weights, _ in pins:
        object.__setattr__(weights, "sha256", sha256(weights.file))  # what is pinned is these, for the test
    yield tmp_path
    for weights, pin in pins:
        object.__setattr__(weights, "sha256", pin)
