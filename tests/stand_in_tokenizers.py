"""Small tokenizers of the kinds that HunyuanVideo 13B has, in its file formats: ByteLevel BPE, and CLIP's BPE."""

import json
from collections.abc import Iterable
from pathlib import Path

from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video import DEFAULT_PROMPT_TEMPLATE
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import CLIPTokenizer

# The 13B model's model_index.json without versions: it names the class of each part that the loader does not replace.
MODEL_INDEX = {
    "_class_name": "HunyuanVideoPipeline",
    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
    "text_encoder": ["transformers", "LlamaModel"],
    "text_encoder_2": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "LlamaTokenizerFast"],
    "tokenizer_2": ["transformers", "CLIPTokenizer"],
    "transformer": ["diffusers", "HunyuanVideoTransformer3DModel"],
    "vae": ["diffusers", "AutoencoderKLHunyuanVideo"],
}
MARKS = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<pad>")


def write_llama(folder: Path, captions: Iterable[str]) -> Tokenizer:
    """Writes a Llama-3-like tokenizer with the words of `captions` and the prompt template, and returns it.

    As in the real files, only tokenizer.json tells how text is split (ByteLevel, with a mark at the beginning).
    tokenizer_config.json names a class that would split in another way.
    """
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    # a short form of the real pattern: a word with the space before it, digits, marks, runs of line breaks
    split = pre_tokenizers.Split(Regex(r" ?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+|\s+"), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=1000, special_tokens=list(MARKS), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([DEFAULT_PROMPT_TEMPLATE["template"], *captions] * 2, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{MARKS[0]} $A", special_tokens=[(MARKS[0], 0)])
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "LlamaTokenizer", "bos_token": MARKS[0], "pad_token": MARKS[4]}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return tokenizer


def write_clip(folder: Path, captions: Iterable[str]) -> CLIPTokenizer:
    """Writes a CLIP tokenizer with the words of `captions` as vocab.json and merges.txt, and returns it."""
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    split = pre_tokenizers.Split(Regex(r"\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"), "removed", invert=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    marks = ["<|startoftext|>", "<|endoftext|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=1000,
        special_tokens=marks,
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(captions, trainer)
    folder.mkdir(parents=True)
    tokenizer.model.save(str(folder))
    # the trainer numbers tokens with the suffix in an order that changes from process to process
    tokens = [*marks, *sorted(set(tokenizer.get_vocab()) - set(marks))]
    (folder / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "pad_token": marks[1], "unk_token": marks[1]}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return CLIPTokenizer.from_pretrained(folder)
