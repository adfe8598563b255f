"""Stage `text`: word tokenizers, and small Llama and CLIP text encoders. Their outputs tell a caption's attributes.

The DiT is trained on frozen embeddings, as HunyuanVideo's was. These encoders are trained to be readable: linear heads
must name every attribute from the embedding of the last token (Llama, the layer that the pipeline takes) and from the
pooled embedding (CLIP). The tokenizers split words and punctuation. With them HunyuanVideo's prompt template has
exactly the 95 tokens that `HunyuanVideoPipeline` crops.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video import DEFAULT_PROMPT_TEMPLATE
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, LlamaConfig, LlamaModel, PreTrainedTokenizerFast

from bench.embedded.training import device, fit
from bench.embedded.world import BACKGROUNDS, COLOURS, DIRECTIONS, SHAPES, SPEEDS, all_attributes, sample_attributes

WORD = r"<\|\w+\|>|\w+|[^\w\s]|\n"
MARKS = ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
TEMPLATE: str = DEFAULT_PROMPT_TEMPLATE["template"]
CROP_START: int = DEFAULT_PROMPT_TEMPLATE["crop_start"]
ATTRIBUTES: dict[str, tuple[str | None, ...]] = {
    "colour": tuple(COLOURS),
    "shape": SHAPES,
    "background": BACKGROUNDS,
    "speed": SPEEDS,
    "direction": (None, *DIRECTIONS),
}


class TextEncoders(nn.Module):
    """Both encoders and the linear heads that read attributes from their outputs. The heads are for training only."""

    def __init__(self, s: dict[str, Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.tokenizer, self.tokenizer_2 = llama_tokenizer(), clip_tokenizer()
        width = s["hidden_size"]
        shape = {"hidden_size": width, "intermediate_size": 2 * width, "num_attention_heads": s["num_attention_heads"]}
        self.llama = LlamaModel(
            LlamaConfig(
                vocab_size=len(self.tokenizer), num_hidden_layers=s["num_layers"] + 2, pad_token_id=0, bos_token_id=1,
                eos_token_id=self.tokenizer.convert_tokens_to_ids("<|eot_id|>"), max_position_embeddings=512, **shape,
            )
        )  # fmt: skip
        self.clip = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(self.tokenizer_2), num_hidden_layers=s["num_layers"], projection_dim=width,
                pad_token_id=0, bos_token_id=1, eos_token_id=3, max_position_embeddings=77, **shape,
            )
        )  # fmt: skip
        self.heads = nn.ModuleList(
            nn.ModuleDict({name: nn.Linear(width, len(values)) for name, values in ATTRIBUTES.items()})
            for _ in range(2)
        )

    def forward(self, captions: list[str]) -> tuple[Tensor, Tensor]:
        """Returns the embedding of the last prompt token and the pooled embedding, both `[batch, hidden_size]`."""
        tokens = self.tokenizer([TEMPLATE.format(c) for c in captions], padding=True, return_tensors="pt").to(device())
        hidden = self.llama(**tokens, output_hidden_states=True).hidden_states[-3]
        last = hidden[torch.arange(len(captions)), tokens.attention_mask.sum(1) - 1]
        tokens_2 = self.tokenizer_2(captions, padding=True, return_tensors="pt").to(device())
        return last, self.clip(tokens_2.input_ids).pooler_output


def train(s: dict[str, Any], folder: Path) -> TextEncoders:
    """Trains for the settings' steps, continuing from `folder`."""
    model = TextEncoders(s).to(device())

    def loss_of_step(step: int) -> dict[str, Tensor]:
        rng, generator = np.random.default_rng([step, 1]), torch.Generator().manual_seed(step)
        drawn = [sample_attributes(rng) for _ in range(s["batch_size"])]
        losses, right = [], []
        for embedding, heads in zip(model([a.caption for a in drawn]), model.heads, strict=True):
            embedding = embedding + 0.1 * torch.randn(embedding.shape, generator=generator).to(embedding)
            for name, values in ATTRIBUTES.items():
                logits = heads[name](embedding)
                truth = torch.tensor([values.index(getattr(a, name)) for a in drawn], device=logits.device)
                losses.append(F.cross_entropy(logits, truth))
                right.append((logits.argmax(-1) == truth).float().mean())
        return {"loss": torch.stack(losses).mean(), "accuracy": torch.stack(right).mean()}

    fit(model, loss_of_step, folder, s["steps"], s["muon_lr"], s["adamw_lr"])
    return model


def llama_tokenizer() -> PreTrainedTokenizerFast:
    words = sorted(set(re.findall(WORD, TEMPLATE)) | caption_words())
    special = ["<pad>", "<s>", "<unk>", *MARKS]
    backend = words_backend([*special, *(w for w in words if w not in special)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", bos_token="<s>", unk_token="<unk>",
        additional_special_tokens=list(MARKS), padding_side="right", model_max_length=512,
    )  # fmt: skip


def clip_tokenizer() -> PreTrainedTokenizerFast:
    special = ["<pad>", "<|startoftext|>", "<unk>", "<|endoftext|>"]
    backend = words_backend([*special, *sorted(caption_words())], lowercase=True)
    backend.post_processor = processors.TemplateProcessing(
        single="<|startoftext|> $A <|endoftext|>", special_tokens=[(special[1], 1), (special[3], 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token=special[0], bos_token=special[1], unk_token=special[2],
        eos_token=special[3], padding_side="right", model_max_length=77,
    )  # fmt: skip


def words_backend(vocabulary: list[str], lowercase: bool = False) -> Tokenizer:
    """Returns a tokenizer of words and punctuation that numbers `vocabulary` in its order."""
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(WORD), behavior="removed", invert=True)
    if lowercase:
        backend.normalizer = normalizers.Lowercase()
    return backend


def caption_words() -> set[str]:
    """Returns every word that a caption of the world can hold."""
    return {word for a in all_attributes() for word in re.findall(WORD, a.caption)}
