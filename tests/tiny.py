"""The tests' tiny random model in diffusers' folder format, and the video settings that go with it."""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLHunyuanVideo, FlowMatchEulerDiscreteScheduler, HunyuanVideoTransformer3DModel
from stand_in_tokenizers import MODEL_INDEX, write_clip, write_llama
from transformers import CLIPTextConfig, CLIPTextModel, LlamaConfig, LlamaModel

from bench.plan.prompts import embedded
from vgdfr import VideoSpec

SPEC = VideoSpec(
    prompt="a red circle stays still over sand", seed=3, height=32, width=32, num_frames=33,
    num_inference_steps=4, guidance_scale=6.0, flow_shift=7.0, fps=12,
)  # fmt: skip


def write_checkpoint(folder: Path) -> None:
    """Writes a model of random weights: 3 dual-stream and 2 single-stream layers, a VAE of 8 channels.

    The model resembles the 13B model where faults could hide: the classes in model_index.json, tokenizers of the same
    kinds, attention in the VAE's mid blocks.
    """
    captions = [caption for _, caption in embedded()]
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
