"""A model's parts on the meta device, built from its configuration alone: tensors have a shape and no content.

FLOPs and memory are counted on them, without weights and without a GPU. Build and run them within `meta()`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import AutoencoderKLHunyuanVideo, HunyuanVideoTransformer3DModel
from torch import nn
from transformers import AutoConfig, AutoModel

from vgdfr.backbones.checkpoint import Architecture
from vgdfr.backbones.hunyuan_vae import HunyuanVideoCodec, Tiling
from vgdfr.dyrope import blocks_of, without_mask

DEVICE = torch.device("meta")
# A prompt's tokens as the DiT sees them, padding trimmed; VBench's prompts have 8 to 40.
TEXT_TOKENS = 24
# diffusers' HunyuanVideoPipeline: its template and 256 tokens of prompt, all of which the encoder runs on; CLIP's 77.
ENCODER_TOKENS = {"text_encoder": 95 + 256, "text_encoder_2": 77}

Run = Callable[[], object]


@contextmanager
def meta(dtype: torch.dtype = torch.float32) -> Iterator[None]:
    """Within the block new tensors are on the meta device and, where they are floats, of `dtype`."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        # in inference mode a dispatch mode sees composite operations whole
        with DEVICE, torch.inference_mode(False), torch.no_grad():
            yield
    finally:
        torch.set_default_dtype(before)


def dit_pass(
    architecture: Architecture, latents: tuple[int, int, int], text_tokens: int = TEXT_TOKENS
) -> tuple[HunyuanVideoTransformer3DModel, Run]:
    """Return the DiT and one pass of it on latents of that many frames, rows and columns."""
    dit = HunyuanVideoTransformer3DModel.from_config(architecture["transformer"]).eval()
    for block in blocks_of(dit):
        block.attn.register_forward_pre_hook(without_mask, with_kwargs=True)  # as the backbone does
    inputs = {
        "hidden_states": torch.empty(1, dit.config.in_channels, *latents),
        "timestep": torch.empty(1),
        "encoder_hidden_states": torch.empty(1, text_tokens, dit.config.text_embed_dim),
        "encoder_attention_mask": torch.empty(1, text_tokens),
        "pooled_projections": torch.empty(1, dit.config.pooled_projection_dim),
        "guidance": torch.empty(1),
    }
    return dit, lambda: dit(return_dict=False, **inputs)


def codec_of(architecture: Architecture, tiling: Tiling, device: torch.device = DEVICE) -> HunyuanVideoCodec:
    """Return the VAE; on another `device` than meta with random weights."""
    vae: Any = AutoencoderKLHunyuanVideo.from_config(architecture["vae"])
    return HunyuanVideoCodec(vae, tiling, device)


def text_pass(architecture: Architecture, part: str) -> tuple[nn.Module, Run]:
    """Return the text encoder `part` and its pass over one prompt."""
    encoder, tokens = AutoModel.from_config(AutoConfig.for_model(**architecture[part])).eval(), ENCODER_TOKENS[part]
    ids = torch.empty(1, tokens, dtype=torch.long)
    mask = torch.empty(1, 1, tokens, tokens)  # given, since a model on meta cannot look for padding
    return encoder, lambda: encoder(input_ids=ids, attention_mask=mask, output_hidden_states=True)
