"""Checks the embedded judge: its training data, its weights in the public libraries, and its scores of real clips."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torchvision.models import alexnet

from bench.embedded import evaluate, reader, train_clip, train_trunk
from bench.embedded.degrade import QUALITIES, blend, blur, noise
from bench.embedded.frames import LABELS, draw, to_tensor
from bench.embedded.world import SPEEDS, Attributes, Clip, all_attributes, render, training_clip
from bench.plan.command_line import CONF
from metrics import METRICS, embedded
from metrics import clip as clip_metrics
from vgdfr.embedded import CHECKPOINT

STILL = Attributes("red", "cross", "sand", "still", None)
FAST = Attributes("red", "cross", "sand", "fast", "left")
KINDS = ("blur", "noise", "frame blending")
PACKAGES = (CHECKPOINT.parent, Path(embedded.__file__).parent, Path(reader.__file__).parent)


@pytest.fixture(scope="module")
def clip() -> clip_metrics.ClipModel:
    return clip_metrics.embedded()


@pytest.fixture(scope="module")
def held_out() -> list[Clip]:
    return [training_clip(seed, held_out=True) for seed in range(100, 110)]


def test_degradations_do_what_their_names_say() -> None:
    still, fast = render(STILL, 1, num_frames=9).frames, render(FAST, 1, num_frames=9).frames
    assert np.array_equal(blend(still, 3), still) and not np.array_equal(blend(fast, 3), fast)
    assert np.array_equal(blend(fast, 3)[0], np.round(fast[0] / 2 + fast[3] / 2).astype(np.uint8))
    edges = [np.abs(np.diff(v.astype(int), axis=2)).mean() for v in (fast, blur(fast, 1.0), blur(fast, 2.0))]
    assert edges[0] > edges[1] > edges[2]
    noisy = [noise(still, 10.0, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert np.array_equal(noisy[0], noisy[1]) and not np.array_equal(noisy[0], noisy[2])
    assert abs((noisy[0].astype(int) - still).std() - 10) < 1


def test_qualities_are_what_frames_are_labelled_with() -> None:
    clip = render(FAST, 1)
    frames = draw(np.random.default_rng(0), (clip,), 200)
    images = frames.images.numpy()
    fine = np.abs(np.diff(images, axis=3)).mean((1, 2, 3))  # mean difference of neighbouring pixels
    by_quality = {q: fine[frames.labels["quality"].numpy() == i] for i, q in enumerate(QUALITIES)}
    medians = [np.median(by_quality[q]) for q in ("blurred", "clear", "noisy")]
    assert medians == sorted(medians) and medians[0] < 0.9 * medians[1]
    clear = to_tensor(clip.frames).numpy()
    to_nearest = np.array([np.abs(clear - image).mean((1, 2, 3)).min() for image in images])
    ghosted = frames.labels["quality"].numpy() == QUALITIES.index("ghosted")
    assert ghosted.any() and to_nearest[ghosted].mean() > 2 * to_nearest[frames.labels["quality"].numpy() == 0].mean()


@given(st.integers(0, 10**6))
def test_frames_are_labelled_by_what_they_show(seed: int) -> None:
    frames = draw(np.random.default_rng(seed), (render(STILL, 1, num_frames=30),), 8)
    assert frames.images.shape == (8, 3, 64, 64) and -1 <= frames.images.min() and frames.images.max() <= 1
    assert "ghosted" not in {QUALITIES[i] for i in frames.labels["quality"]}, "a still clip has no ghosts"
    assert {LABELS["shape"][i] for i in frames.labels["shape"]} == {"cross"}


def test_texts_fit_their_own_frames_and_all_others_they_are_true_of() -> None:
    rng = np.random.default_rng(3)
    frames = draw(rng, (render(FAST, 1), render(dataclasses.replace(FAST, colour="blue"), 1)), 40)
    texts, fits = train_clip._texts(rng, frames)
    assert fits.diagonal().all()
    for j, text in enumerate(texts):
        for i in range(40):
            words = text.split()
            colour = LABELS["colour"][frames.labels["colour"][i]]
            quality = QUALITIES[frames.labels["quality"][i]]
            wrong = (set(words) & {"red", "blue"} - {colour}) or (set(words) & set(QUALITIES) - {quality})
            assert bool(fits[i, j]) == (not wrong), (text, colour, quality)


def test_the_tokenizer_ends_where_open_clip_looks(clip: clip_metrics.ClipModel) -> None:
    tokens = clip.tokenize([a.caption for a in all_attributes()])
    words = open_clip.get_tokenizer(f"local-dir:{embedded.CLIP}").tokenizer  # type: ignore[union-attr]
    end, unknown = (words.convert_tokens_to_ids(t) for t in ("<|endoftext|>", "<unk>"))
    assert (tokens.max(1).values == end).all() and not (tokens == unknown).any()


def test_open_clip_loads_the_trained_weights(clip: clip_metrics.ClipModel) -> None:
    again = open_clip.create_model(f"local-dir:{embedded.CLIP}", require_pretrained=True)
    assert all(torch.equal(a, b) for a, b in zip(clip.model.parameters(), again.parameters(), strict=True))


def test_clip_finds_the_caption_and_prefers_clear_videos(clip: clip_metrics.ClipModel, held_out: list[Clip]) -> None:
    scenes = sorted({train_clip.frame_text(a) for a in all_attributes()})
    texts = clip.texts(scenes)
    found = [
        (clip.images(c.frames[::16]) @ texts.T).argmax(1) == scenes.index(train_clip.frame_text(c.attributes))
        for c in held_out
    ]
    assert torch.cat(found).float().mean() > 0.6, "the right scene is found among all 120"
    vqa = METRICS["vqa_embedded"]
    better = [vqa(c.frames[::16]).value - vqa(blur(c.frames[::16], 2.0)).value for c in held_out]
    assert np.mean(np.array(better) > 0) >= 0.9


def test_the_reader_reads_held_out_clips(held_out: list[Clip]) -> None:
    network = reader.load()
    right = [
        value == getattr(c.attributes, name) for c in held_out for name, value in reader.read(network, c.frames).items()
    ]
    assert np.mean(right) >= 0.95


def test_embedded_lpips_is_the_distance_of_unit_features_of_the_trunk(held_out: list[Clip]) -> None:
    """The reference writes LPIPS out with torchvision's AlexNet and equal channel weights."""
    trunk = alexnet(weights=None).features.eval()
    trunk.load_state_dict({name: value.float() for name, value in load_file(embedded.TRUNK).items()})
    a = held_out[0].frames[::16]
    b = blur(a, 2.0)
    x, y = (train_trunk.lpips_scaled(to_tensor(frames)) for frames in (a, b))
    expected = torch.zeros(len(a))
    with torch.no_grad():
        for layer in trunk:
            x, y = layer(x.clone()), layer(y.clone())
            if isinstance(layer, torch.nn.ReLU):
                unit_x, unit_y = (z / (z.norm(dim=1, keepdim=True) + 1e-10) for z in (x, y))
                expected += (unit_x - unit_y).square().mean((1, 2, 3))
    score = METRICS["lpips_embedded"](a, b)
    assert score.per_frame == pytest.approx(expected.numpy(), rel=1e-3)
    assert score.value == pytest.approx(float(expected.mean()), rel=1e-3)
    assert METRICS["lpips_embedded"](a, a).value == 0


def test_figures_are_computed_from_what_was_measured() -> None:
    attributes = [Attributes("red", "cross", "sand", s, None if s == "still" else "left") for s in SPEEDS]
    clips = [
        evaluate.OfClip(psnr, {"colour": True}, [True, False], dict.fromkeys(KINDS, True), dict.fromkeys(KINDS, False))
        for psnr in (30.0, 26.0)
    ]
    right: dict[str, str | None] = {"colour": "red", "shape": "cross", "background": "sand", "direction": "left"}
    lag1 = np.linspace(0.5, 1, 64)
    prompts = [
        evaluate.OfPrompt(
            attributes=a,
            read=right | {"speed": "fast"},
            preview_speed=a.speed,
            lag1_reduced=lag1**2,
            lag1_full=lag1,
            token_ratio=0.4 if a.speed == "still" else 0.8,
            frames=np.zeros((3, 8, 8, 3), np.uint8),
        )
        for a in attributes
    ]
    rows = {row.what: row for row in evaluate.figures(clips, prompts)}
    assert rows["VAE reconstruction of held-out clips, PSNR, mean"].value == 28
    assert rows["VAE reconstruction, worst clip"].reached
    assert rows["generated, read: speed profile"].value == 20
    both = rows["generated, read: still or moving, mean of both"]
    assert both.value == 50 and not both.reached, "a reader with one answer for every clip knows nothing"
    assert rows["generated, read: moving ones right"].value == 100
    assert rows["generated, read: direction of moving ones"].n == 4
    assert rows["preview at k=5, read: still or moving, mean of both"].value == 100
    assert rows[
        "reduced preview, rank correlation of lag-1 SSIM with full, all pairs of frames"
    ].value == pytest.approx(1)
    assert rows["tokens kept, still over fast"].value == pytest.approx(0.5)
    assert rows["CLIP: right caption among 32, per frame"].value == 50
    text = evaluate.table(list(rows.values()))
    assert "| generated, read: speed profile | 20.0 % | ≥ 75 % | **no** | 5 |" in text


def test_the_right_caption_is_anywhere_among_its_choices() -> None:
    texts = [f"text {i}" for i in range(40)]
    places = set()
    for seed in range(40):
        choices, place = evaluate.caption_choices("text 3", texts, 8, np.random.default_rng(seed))
        assert choices[place] == "text 3" and len(set(choices)) == 8
        places.add(place)
    assert len(places) == 8


@pytest.mark.parametrize(
    ("workers", "count", "message"),
    [(0, 64, "--workers must be at least 1"), (1, 66, "between 5 and the 65"), (1, 8, "give another file: --out FILE")],
)
def test_an_evaluation_that_cannot_be_is_refused(workers: int, count: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate.main(workers, count, evaluate.SHIPPED, None)


def test_shares_of_the_work_come_back_in_order() -> None:
    assert evaluate.in_parallel(list, 5, 2) == [0, 1, 2, 3, 4]


def test_the_shipped_figures_are_of_the_shipped_weights_and_in_the_docs() -> None:
    document = json.loads((CHECKPOINT.parent / "evaluation.json").read_text())
    assert document["weights_sha256"] == evaluate.weights_sha256()
    rows = [evaluate.Figure(**{k: v for k, v in f.items() if k != "reached"}) for f in document["figures"]]
    table = evaluate.table(rows)
    assert table in (CHECKPOINT.parent / "evaluation.md").read_text()
    assert table in (Path(CONF).parent / "docs" / "embedded_model.md").read_text()


def test_shipped_weights_are_small_and_no_pickles() -> None:
    weights = [f for p in PACKAGES for f in p.rglob("*") if f.suffix in (".safetensors", ".pt", ".bin", ".pth")]
    assert {f.suffix for f in weights} == {".safetensors"}
    assert sum(f.stat().st_size for f in weights) < 45e6
