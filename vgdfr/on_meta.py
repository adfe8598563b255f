"""A model's parts on the meta device, built from its configuration alone: tensors have a shape and no content.

`flops` and `memory` count on these parts, without weights and without a GPU. Build and run them within `meta()`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import AutoencoderKLHunyuanVideo, HunyuanVideoTransformer3DModel
from torch import nn
from transformers import AutoConfig, AutoModel

from vgdfr.backbones.checkpoint import Configuration
from vgdfr.backbones.hunyuan_dit import blocks_of, drop_attention_mask
from vgdfr.backbones.hunyuan_vae import HunyuanVideoCodec
from vgdfr.backbones.tiling import Tiling

DEVICE = torch.device("meta")
# The tokens of a typical prompt that the DiT sees, without padding; VBench's prompts have 8 to 40.
TEXT_TOKENS = 24
# The tokens that each encoder runs on in diffusers' HunyuanVideoPipeline. Llama sees the template and 256 more.
ENCODER_TOKENS = {"text_encoder": 95 + 256, "text_encoder_2": 77}

Run = Callable[[], object]


@contextmanager
def meta(dtype: torch.dtype = torch.float32) -> Iterator[None]:
    """Within the block, new tensors are on the meta device, and new floating-point tensors have `dtype`."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        # inference mode is off, since a dispatch mode within it sees composite operations as one
        with DEVICE, torch.inference_mode(False), torch.no_grad():
            yield
    finally:
        torch.set_default_dtype(before)


def dit_pass(
    configuration: Configuration, latents: tuple[int, int, int], text_tokens: int = TEXT_TOKENS
) -> tuple[HunyuanVideoTransformer3DModel, Run]:
    """Returns the DiT, and a function that runs it once on `latents` frames, rows and columns."""
    dit = HunyuanVideoTransformer3DModel.from_config(configuration["transformer"]).eval()
    for block in blocks_of(dit):
        block.attn.register_forward_pre_hook(drop_attention_mask, with_kwargs=True)  # as the backbone does
    inputs = {
        "hidden_states": torch.empty(1, dit.config.in_channels, *latents),
        "timestep": torch.empty(1),
        "encoder_hidden_states": torch.empty(1, text_tokens, dit.config.text_embed_dim),
        "encoder_attention_mask": torch.empty(1, text_tokens),
        "pooled_projections": torch.empty(1, dit.config.pooled_projection_dim),
        "guidance": torch.empty(1),
    }
    return dit, lambda: dit(return_dict=False, **inputs)


def codec_of(configuration: Configuration, tiling: Tiling, device: torch.device = DEVICE) -> HunyuanVideoCodec:
    """Returns the VAE. On another `device` than meta its weights are random."""
    vae: Any = AutoencoderKLHunyuanVideo.from_config(configuration["vae"])
    return HunyuanVideoCodec(vae, tiling, device)


def text_pass(configuration: Configuration, part: str) -> tuple[nn.Module, Run]:
    """Returns the text encoder `part`, and a function that runs it on one prompt."""
    encoder, tokens = AutoModel.from_config(AutoConfig.for_model(**configuration[part])).eval(), ENCODER_TOKENS[part]
    ids = torch.empty(1, tokens, dtype=torch.long)
    mask = torch.empty(1, 1, tokens, tokens)  # a model on meta cannot look for padding, so the mask is given
    return encoder, lambda: encoder(input_ids=ids, attention_mask=mask, output_hidden_states=True)
