"""Prompt embeddings: the pipeline's own, stored once, and no encoder loaded for what is stored."""

import shutil
from pathlib import Path

import pytest
import torch
from diffusers import HunyuanVideoPipeline
from safetensors.torch import load_file, save_file

from vgdfr import HunyuanVideo

PROMPT, OTHER = "a red circle stays still over sand", "a blue cross moves fast to the left over water"


@pytest.fixture
def fresh_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("VGDFR_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def model(tiny_checkpoint: Path) -> HunyuanVideo:
    return HunyuanVideo(str(tiny_checkpoint), dtype="float32", device="cpu")


@torch.inference_mode()
def test_an_embedding_is_the_pipelines_without_its_padding(
    tiny_checkpoint: Path, fresh_cache: Path, model: HunyuanVideo
) -> None:
    pipeline = HunyuanVideoPipeline.from_pretrained(tiny_checkpoint, dtype=torch.float32)
    tokens, pooled, mask = pipeline.encode_prompt(PROMPT)
    embedding = model.text().of(PROMPT)
    assert 0 < embedding.tokens.shape[1] == mask.sum() < tokens.shape[1]
    assert torch.equal(embedding.tokens, tokens[:, : embedding.tokens.shape[1]])
    assert torch.equal(embedding.pooled, pooled)


def test_encoders_are_loaded_once_for_all_and_not_for_what_is_stored(
    fresh_cache: Path, model: HunyuanVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = []
    load = HunyuanVideoPipeline.from_pretrained

    def counted(*args: object, **kwargs: object) -> object:
        loads.append(args)
        return load(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(HunyuanVideoPipeline, "from_pretrained", counted)
    model.text().embed([PROMPT, OTHER, PROMPT])
    assert len(loads) == 1 and len(list((fresh_cache / "text").iterdir())) == 2
    together = model.text().of(OTHER)
    assert len(loads) == 1
    next(iter((fresh_cache / "text").iterdir())).unlink()
    model.text().embed([PROMPT, OTHER])
    assert len(loads) == 2
    assert torch.equal(model.text().of(OTHER).tokens, together.tokens)  # alone or with others, the same bits


def test_other_precision_or_other_encoders_are_other_embeddings(
    fresh_cache: Path, model: HunyuanVideo, tmp_path: Path
) -> None:
    own = model.text().of(PROMPT)
    half = HunyuanVideo(model.path, dtype="bfloat16", device="cpu").text().of(PROMPT)
    assert own.tokens.dtype == torch.float32 and half.tokens.dtype == torch.bfloat16
    other = tmp_path / "other"
    shutil.copytree(model.path, other)
    weights = next((other / "text_encoder").glob("*.safetensors"))
    changed = {name: value * 1.5 if "embed_tokens" in name else value for name, value in load_file(weights).items()}
    save_file(changed, weights, {"format": "pt"})
    of_other = HunyuanVideo(str(other), dtype="float32", device="cpu").text().of(PROMPT)
    assert not torch.equal(of_other.tokens, own.tokens)
    assert torch.equal(model.text().of(PROMPT).tokens, own.tokens)
