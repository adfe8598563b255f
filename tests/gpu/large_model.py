"""HunyuanVideo 13B with random weights on a GPU, and small with small videos on a CPU for rehearsals."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, HunyuanVideoTransformer3DModel

from vgdfr import VideoSpec
from vgdfr.backbones.execution import Execution
from vgdfr.backbones.hunyuan_backbone import HunyuanVideoBackbone
from vgdfr.backbones.text import PromptEmbedding, TextEncoding
from vgdfr.on_meta import codec_of
from vgdfr.presets import PRESETS

ON = os.environ.get("VGDFR_GPU_TESTS_ON")
DEVICE = torch.device(ON or "cpu")
REHEARSAL = DEVICE.type == "cpu"
NEEDS_A_GPU = pytest.mark.skipif(ON is None, reason="needs a GPU, and VGDFR_GPU_TESTS_ON=cuda (cpu rehearses)")
MODEL = PRESETS["hunyuan_video"].model
SMALL: dict[str, Any] = {
    "num_attention_heads": 2, "attention_head_dim": 24, "num_layers": 2, "num_single_layers": 2,
    "num_refiner_layers": 1, "text_embed_dim": 32, "pooled_projection_dim": 32, "rope_axes_dim": [8, 8, 8],
}  # fmt: skip
SMALL_VAE: dict[str, Any] = {"block_out_channels": [8, 8, 8, 8], "layers_per_block": 1, "norm_num_groups": 2}
SPEC = VideoSpec(
    "a prompt", seed=0, height=64 if REHEARSAL else 544, width=64 if REHEARSAL else 960,
    num_frames=97, num_inference_steps=4, guidance_scale=6.0, flow_shift=7.0, fps=24,
)  # fmt: skip


@dataclass(frozen=True)
class RandomText(TextEncoding):
    """Embeddings of the model's size with random content, which changes neither seconds nor bytes."""

    config: dict[str, Any]

    def embedding(self, prompt: str) -> PromptEmbedding:
        generator = torch.Generator().manual_seed(0)
        tokens = torch.randn(1, 24, self.config["text_embed_dim"], generator=generator)
        return PromptEmbedding(tokens, torch.randn(1, self.config["pooled_projection_dim"], generator=generator))


def large_backbone() -> HunyuanVideoBackbone:
    """Returns the model on DEVICE."""
    configuration = MODEL.configuration()
    if REHEARSAL:
        configuration = configuration | {
            "transformer": configuration["transformer"] | SMALL, "vae": configuration["vae"] | SMALL_VAE
        }  # fmt: skip
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, MODEL.dtype))
    try:
        with DEVICE:
            transformer: Any = HunyuanVideoTransformer3DModel.from_config(configuration["transformer"])
        torch.set_default_dtype(getattr(torch, str(MODEL.vae_dtype)))
        with DEVICE:
            codec = codec_of(configuration, MODEL.tiling, DEVICE)
    finally:
        torch.set_default_dtype(before)
    Execution().apply(transformer, getattr(torch, MODEL.dtype), DEVICE)
    dtype = getattr(torch, MODEL.dtype)
    text = RandomText(Path(), dtype, DEVICE, configuration["transformer"])
    return HunyuanVideoBackbone(codec, transformer, FlowMatchEulerDiscreteScheduler(), text, dtype)


def say(**measured: Any) -> None:
    print(json.dumps({name: round(v, 4) if isinstance(v, float) else v for name, v in measured.items()}), flush=True)


def finish() -> None:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def reset_peak() -> None:
    if DEVICE.type == "cuda":
        torch.cuda.reset_peak_memory_stats()


def peak_bytes() -> int:
    return torch.cuda.max_memory_allocated() if DEVICE.type == "cuda" else 0
