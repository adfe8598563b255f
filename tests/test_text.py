"""Prompt embeddings equal the pipeline's own, are stored once, and need no encoder when they are stored."""

import json
import os
import shutil
from pathlib import Path
from threading import Thread

import open_clip
import pytest
import torch
from diffusers import HunyuanVideoPipeline
from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video import DEFAULT_PROMPT_TEMPLATE
from filelock import FileLock
from processes import run
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor
from transformers import CLIPTokenizer, LlamaTokenizerFast, PreTrainedTokenizerFast

import bench.plan.prompts
from vgdfr import HunyuanVideo
from vgdfr.assets import pinned_files
from vgdfr.backbones import text
from vgdfr.backbones.text import llama_tokenizer
from vgdfr.backbones.tokenizer import CROP_START, TEMPLATE_HEAD, check_tokenizer
from vgdfr.files import sha256
from vgdfr.presets import PRESETS

PROMPT, OTHER = "a red circle stays still over sand", "a blue cross moves fast to the left over water"


def as_its_file_says(checkpoint: Path) -> PreTrainedTokenizerFast:
    """Returns the Llama tokenizer around the tokenizers package's own reading of its file."""
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_file(str(checkpoint / "tokenizer" / "tokenizer.json")), pad_token="<pad>"
    )


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
    tokenizer = as_its_file_says(tiny_checkpoint)
    pipeline = HunyuanVideoPipeline.from_pretrained(tiny_checkpoint, tokenizer=tokenizer, dtype=torch.float32)
    tokens, pooled, mask = pipeline.encode_prompt(PROMPT)
    embedding = model.text().embedding(PROMPT)
    assert 0 < embedding.tokens.shape[1] == mask.sum() < tokens.shape[1]
    assert torch.equal(embedding.tokens, tokens[:, : embedding.tokens.shape[1]])
    assert torch.equal(embedding.pooled, pooled)


def test_encoders_that_read_only_the_beginning_of_a_prompt_are_noted(fresh_cache: Path, model: HunyuanVideo) -> None:
    """A word is one token, but the first word is two for Llama.

    CLIP's 77 tokens include two marks, and Llama's 256 include the mark of the end.
    """
    clip, llama = (
        f"the prompt is longer than the {most} tokens that the {name} text encoder reads; it does not see the end"
        for name, most in (("CLIP", 77), ("Llama", 256))
    )
    said = {75: (), 76: (clip,), 254: (clip,), 255: (llama, clip)}
    prompts = {count: " ".join(["red"] * count) for count in said}
    model.text().embed(prompts.values())
    assert {count: model.text().embedding(prompt).notes for count, prompt in prompts.items()} == said
    assert torch.equal(model.text().embedding(prompts[76]).pooled, model.text().embedding(prompts[254]).pooled), (
        "CLIP reads the same tokens of both prompts"
    )
    file = model.text()._file(prompts[255])
    with safe_open(file, "pt") as stored:
        assert not stored.metadata(), "the file has the form of versions without notes"
    for metadata in (None, {"notes": "[]"}):  # metadata that another version stores
        save_file(load_file(file), file, metadata)
        assert model.text().embedding(prompts[255]).notes == said[255]


def test_notes_of_stored_embeddings_need_the_tokenizers_alone_and_load_them_once(
    fresh_cache: Path, model: HunyuanVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = " ".join(["red"] * 300)
    model.text().embed([long, PROMPT])
    text.clip_tokenizer.cache_clear()
    loads = []
    load = CLIPTokenizer.from_pretrained

    def counted(*args: object, **kwargs: object) -> object:
        loads.append(args)
        return load(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(CLIPTokenizer, "from_pretrained", counted)
    monkeypatch.setattr(HunyuanVideoPipeline, "from_pretrained", None)  # no weights may be loaded
    assert [len(model.text().embedding(prompt).notes) for prompt in (long, PROMPT, long)] == [2, 0, 2]
    assert len(loads) == 1


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
    together = model.text().embedding(OTHER)
    assert len(loads) == 1
    next(iter((fresh_cache / "text").iterdir())).unlink()
    model.text().embed([PROMPT, OTHER])
    assert len(loads) == 2
    # a prompt has the same bits alone and with others
    assert torch.equal(model.text().embedding(OTHER).tokens, together.tokens)


def test_other_precision_or_other_encoders_are_other_embeddings(
    fresh_cache: Path, model: HunyuanVideo, tmp_path: Path
) -> None:
    own = model.text().embedding(PROMPT)
    half = HunyuanVideo(model.path, dtype="float32", device="cpu", text_dtype="bfloat16").text().embedding(PROMPT)
    assert own.tokens.dtype == torch.float32 and half.tokens.dtype == torch.bfloat16
    other = tmp_path / "other"
    shutil.copytree(model.path, other)
    weights = next((other / "text_encoder").glob("*.safetensors"))
    changed = {name: value * 1.5 if "embed_tokens" in name else value for name, value in load_file(weights).items()}
    save_file(changed, weights, {"format": "pt"})
    of_other = HunyuanVideo(str(other), dtype="float32", device="cpu").text().embedding(PROMPT)
    assert not torch.equal(of_other.tokens, own.tokens)
    assert torch.equal(model.text().embedding(PROMPT).tokens, own.tokens)


TRICKY = (
    PROMPT, OTHER, "A person's 2 dogs, running (fast) at 30 km/h!", "a caf\u00e9 in Z\u00fcrich \u2014 at night",
    "{braces} <|pad|> \n\n two lines",
)  # fmt: skip


def test_prompts_are_split_as_the_tokenizers_file_says_whatever_class_is_named(tiny_checkpoint: Path) -> None:
    """model_index.json names LlamaTokenizerFast, as in the 13B model. That class splits in another way."""
    reference = Tokenizer.from_file(str(tiny_checkpoint / "tokenizer" / "tokenizer.json"))
    ours, named = llama_tokenizer(tiny_checkpoint), LlamaTokenizerFast.from_pretrained(tiny_checkpoint / "tokenizer")
    for prompt in TRICKY:
        text = DEFAULT_PROMPT_TEMPLATE["template"].format(prompt)
        assert ours(text).input_ids == reference.encode(text).ids != named(text).input_ids
    padded = ours(PROMPT, padding="max_length", max_length=60)
    assert padded.attention_mask == sorted(padded.attention_mask, reverse=True), "padding follows the text"


def test_the_templates_head_and_crop_are_those_of_diffusers() -> None:
    """The check reads both without diffusers, so the project has copies of them."""
    assert DEFAULT_PROMPT_TEMPLATE["template"].split("{}")[0] == TEMPLATE_HEAD
    assert DEFAULT_PROMPT_TEMPLATE["crop_start"] == CROP_START


def test_a_tokenizer_file_that_cannot_be_read_is_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_checkpoint, tmp_path / "other")
    (tmp_path / "other" / "tokenizer" / "tokenizer.json").write_text("{", encoding="utf-8")
    with pytest.raises(
        ValueError, match=r"tokenizer\.json cannot be read as a tokenizer: .*; get the checkpoint's files"
    ):
        HunyuanVideo(str(tmp_path / "other"), dtype="float32", device="cpu").check()


def test_a_tokenizer_that_does_not_fit_the_template_is_refused_before_anything_loads(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """Without one mark at the beginning, the pipeline's crop would remove the prompt's first word."""
    shutil.copytree(tiny_checkpoint, tmp_path / "other")
    file = tmp_path / "other" / "tokenizer" / "tokenizer.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"post_processor": None}))
    with pytest.raises(ValueError, match=r"head of HunyuanVideo's prompt template into 94 tokens, expected 95"):
        HunyuanVideo(str(tmp_path / "other"), dtype="float32", device="cpu").check()


def test_embeddings_of_another_way_of_encoding_are_not_found(
    fresh_cache: Path, model: HunyuanVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Embeddings from before the tokenizer's repair had no version, and may still be in the user's cache."""
    now = model.text()._file(PROMPT)
    monkeypatch.setattr(text, "ENCODING_VERSION", text.ENCODING_VERSION + 1)
    assert model.text()._file(PROMPT) != now


def test_processes_take_turns_at_loading_encoders(fresh_cache: Path, model: HunyuanVideo) -> None:
    """Nothing is loaded while another process holds the lock. Afterwards its stored embeddings are found."""
    done: list[Tensor] = []
    thread = Thread(target=lambda: done.append(model.text().embedding(PROMPT).tokens))
    with FileLock(fresh_cache / "text.lock"):
        thread.start()
        thread.join(0.5)
        assert thread.is_alive() and not (fresh_cache / "text").exists()
    thread.join(60)
    assert len(done) == 1


HUNYUAN = os.environ.get("VGDFR_HUNYUAN_TOKENIZER")


@pytest.mark.skipif(HUNYUAN is None, reason="VGDFR_HUNYUAN_TOKENIZER names no folder with the 13B model's tokenizers")
def test_the_13b_models_own_tokenizer_files() -> None:
    """The folder holds model_index.json, tokenizer/ and tokenizer_2/ as the pinned repository does, checked by hash."""
    folder = Path(str(HUNYUAN))
    pinned = pinned_files("hunyuanvideo-community/HunyuanVideo", PRESETS["hunyuan_video"].model.revision)
    for name in ("model_index.json", "tokenizer/tokenizer.json", "tokenizer_2/vocab.json", "tokenizer_2/merges.txt"):
        assert sha256(folder / name) == pinned[name][1], name
    assert json.loads((folder / "model_index.json").read_text())["tokenizer"][1] == "LlamaTokenizerFast"
    check_tokenizer(folder)
    reference, clip = Tokenizer.from_file(str(folder / "tokenizer" / "tokenizer.json")), open_clip.SimpleTokenizer()
    ours, ours_2 = llama_tokenizer(folder), CLIPTokenizer.from_pretrained(folder / "tokenizer_2")
    assert ours.tokenize("Describe the video by") == ["Describe", "\u0120the", "\u0120video", "\u0120by"]
    # names VBench_full_info.json or the vbench wheel; if it is set, all 944 prompts are tested
    vbench = os.environ.get("VGDFR_VBENCH")
    for prompt in [*TRICKY, *(p.text for p in bench.prompts.vbench(Path(vbench)))] if vbench else TRICKY:
        text = DEFAULT_PROMPT_TEMPLATE["template"].format(prompt)
        ids = ours(text, padding="max_length", truncation=True, max_length=256 + CROP_START).input_ids
        assert [i for i in ids if i != ours.pad_token_id] == reference.encode(text).ids
        assert ids[:CROP_START] == reference.encode(TEMPLATE_HEAD).ids, "the crop ends where the prompt begins"
        assert ours_2(prompt.replace("<|pad|>", "")).input_ids[1:-1] == clip.encode(prompt.replace("<|pad|>", ""))


@pytest.mark.parametrize("fault", ["no folder", "full"])
def test_without_a_cache_embeddings_are_the_same_and_kept_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: HunyuanVideo, fault: str
) -> None:
    monkeypatch.setenv("VGDFR_CACHE", str(tmp_path / "cache"))
    stored = model.text().embedding(PROMPT)
    (tmp_path / "file").touch()
    monkeypatch.setenv("VGDFR_CACHE", str(tmp_path / "file" if fault == "no folder" else tmp_path / "other"))
    if fault == "full":  # a lock can be made in this folder, but no folder for embeddings
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "text").touch()
    embedding = model.text().embedding(PROMPT)
    assert torch.equal(embedding.tokens, stored.tokens) and torch.equal(embedding.pooled, stored.pooled)
    assert model.text().embedding(PROMPT) is embedding, "computed once"


def test_a_sweep_says_how_many_prompts_are_cut_and_does_not_echo_them(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """This also holds if the embeddings are already stored."""
    (tmp_path / "long.txt").write_text(f"{'a red circle ' * 300}\na blue square stays still", encoding="utf-8")
    for root in ("first", "second"):
        done = run(
            "bench.sweep", "method=baseline", "prompts=file", f"prompts.source={tmp_path / 'long.txt'}",
            "model.video.height=32", "model.video.width=32", "model.video.num_frames=5", "metrics=pixel",
            "model.video.num_inference_steps=2", f"model.backbone.path={tiny_checkpoint}", f"root={tmp_path / root}",
        )  # fmt: skip
        assert done.returncode == 0 and done.stderr == "", done
        assert "warning, for 1 of 2 prompts: the prompt is longer than the 77 tokens that the CLIP" in done.stdout
        assert "a red circle a red circle" not in done.stdout
