"""Stage `clip`: a small open_clip model of the embedded world, which also knows blurred, noisy and ghosted frames.

A caption of a frame may name its quality ("a blurred video of a red circle over sand"), only its quality ("a blurred
video"), or no quality. It may name the motion, which a single frame cannot show. Each text is compared with every frame
that it fits, so two equal captions in a batch do not push their frames apart.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from tokenizers import processors
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from bench.embedded.degrade import QUALITIES
from bench.embedded.frames import LABELS, Frames, draw, pool
from bench.embedded.train_text import caption_words, words_backend
from bench.embedded.training import autocast, device, fit, save_half
from bench.embedded.world import Attributes, sample_attributes

MEAN_STD = (0.5, 0.5, 0.5)  # image preprocessing: pixels to [-1, 1]
CONTEXT = 32


def quality_text(quality: str) -> str:
    return f"a {quality} video"


def frame_text(attributes: Attributes) -> str:
    """Returns the part of a caption that a single frame can show."""
    return f"a {attributes.colour} {attributes.shape} over {attributes.background}"


def train(s: dict[str, Any], folder: Path) -> open_clip.CLIP:
    """Trains for the settings' steps, continuing from `folder`."""
    torch.manual_seed(0)
    tokenize = tokenizer()
    model = open_clip.CLIP(**model_config(len(tokenize))).to(device())

    def loss_of_step(step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng([step, 4])
        frames = draw(rng, pool(s["clips"]), s["batch_size"])
        texts, fits = _texts(rng, frames)
        tokens = tokenize(texts, padding="max_length", max_length=CONTEXT, return_tensors="pt").input_ids
        with autocast():
            image = model.encode_image(frames.images.to(device()), normalize=True)
            text = model.encode_text(tokens.to(device()), normalize=True)
        logits = model.logit_scale.exp().clamp(max=100) * image.float() @ text.float().T
        target = fits.to(logits)
        loss = F.cross_entropy(logits, target / target.sum(1, keepdim=True)) / 2
        loss = loss + F.cross_entropy(logits.T, target.T / target.T.sum(1, keepdim=True)) / 2
        fit_found = target.gather(1, logits.argmax(1, keepdim=True)).mean()
        return {"loss": loss, "found": fit_found}

    fit(model, loss_of_step, folder, s["steps"], s["muon_lr"], s["adamw_lr"])
    return model


def _texts(rng: np.random.Generator, frames: Frames) -> tuple[list[str], Tensor]:
    """Returns a text for every frame, and a matrix that says which frames (rows) each text (columns) fits."""
    labels = frames.labels
    same_scene = torch.stack([labels[n][:, None] == labels[n] for n in ("colour", "shape", "background")]).all(0)
    same_quality = labels["quality"][:, None] == labels["quality"]
    texts, fits = [], []
    for i in range(len(frames.images)):
        colour, shape, background, quality = (LABELS[name][labels[name][i]] for name in LABELS)
        motion = sample_attributes(rng)  # any motion, because a frame does not show motion
        attributes = Attributes(colour, shape, background, motion.speed, motion.direction)
        scene = attributes.caption if rng.random() < 0.5 else frame_text(attributes)
        kind = rng.choice(["scene", "both", "quality"], p=[0.5, 0.35, 0.15])
        texts.append({"scene": scene, "both": f"{quality_text(quality)} of {scene}"}.get(kind, quality_text(quality)))
        fits.append({"scene": same_scene, "quality": same_quality}.get(kind, same_scene & same_quality)[:, i])
    return texts, torch.stack(fits, 1)


def save(model: open_clip.CLIP, folder: Path) -> None:
    """Writes the files that `open_clip.create_model_from_pretrained("local-dir:...")` reads, with weights in fp16."""
    whole, folder = folder, folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(folder, ignore_errors=True)
    words = tokenizer()
    words.save_pretrained(folder)
    config = model_config(len(words))
    config["text_cfg"]["hf_tokenizer_name"] = "this folder"  # any name works, because open_clip uses the folder itself
    preprocess = {"mean": MEAN_STD, "std": MEAN_STD, "interpolation": "bicubic", "resize_mode": "shortest"}
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}, indent=2) + "\n", encoding="utf-8"
    )
    save_half(model, folder / "open_clip_model.safetensors")
    shutil.rmtree(whole, ignore_errors=True)
    folder.rename(whole)


def model_config(vocabulary: int) -> dict[str, Any]:
    return {
        "embed_dim": 128,
        "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16},
        "text_cfg": {"context_length": CONTEXT, "vocab_size": vocabulary, "width": 128, "heads": 4, "layers": 2},
    }


def tokenizer() -> PreTrainedTokenizerFast:
    """Returns a lower-casing tokenizer of words and punctuation.

    The end of text has the highest number, because open_clip looks for the highest number.
    """
    words = sorted(caption_words() | {"video", "of", *QUALITIES})
    special = ["<pad>", "<unk>", "<|startoftext|>"]
    end = "<|endoftext|>"
    backend = words_backend([*special, *words, end], lowercase=True)
    last = len(special) + len(words)
    backend.post_processor = processors.TemplateProcessing(
        single=f"{special[2]} $A {end}", special_tokens=[(special[2], 2), (end, last)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token=special[0], unk_token=special[1], bos_token=special[2], eos_token=end,
        padding_side="right", model_max_length=CONTEXT,
    )  # fmt: skip
