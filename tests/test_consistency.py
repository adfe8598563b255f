"""VBench's background consistency and the coherence curve, against hand-worked embeddings and plain loops."""

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from torch.nn.functional import cosine_similarity

from bench.embedded.world import Attributes, render
from metrics import METRICS, clip, embedded
from metrics.catalogue import DISTANCES
from metrics.consistency import background_consistency, coherence
from metrics.groups import names_of

VIDEO = render(Attributes("red", "cross", "sand", "fast", "left"), 1).frames[:24]
VIDEO.flags.writeable = False


def turned(*degrees: float) -> torch.Tensor:
    angles = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    return torch.stack([angles.cos(), angles.sin()], 1).float()


def test_background_consistency_by_hand() -> None:
    score = background_consistency(turned(0, 60, 180, 180))
    # with the previous frame: 0.5, -0.5 counted as 0, 1. With the first frame: 0.5, -1 and -1 counted as 0.
    assert score.per_frame == pytest.approx([0.5, 0.0, 0.5], abs=1e-6) and score.value == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("distance", "expected"), [(1, (0.5 + 0 + 1) / 3), (2, (-(3**0.5) / 2 + 0) / 2), (3, -0.866025)]
)
def test_coherence_by_hand(distance: int, expected: float) -> None:
    score = coherence(turned(0, 60, 150, 150), distance)
    assert score.value == pytest.approx(expected, abs=1e-6) and score.per_frame is None


@torch.no_grad()
def test_both_are_the_plain_loops_of_vbench_on_open_clips_own_embeddings() -> None:
    """The reference embeds one frame at a time and keeps VBench's order: previous frame, first frame, mean."""
    name = f"local-dir:{embedded.CLIP}"
    network, _, preprocess = open_clip.create_model_and_transforms(name)
    network = network.eval()
    assert isinstance(network, open_clip.CLIP) and callable(preprocess)
    images = [network.encode_image(torch.as_tensor(preprocess(Image.fromarray(f)))[None]) for f in VIDEO]
    total, first, former = 0.0, images[0], images[0]
    for image in images[1:]:
        with_former, with_first = (max(0.0, float(cosine_similarity(other, image))) for other in (former, first))
        total, former = total + (with_former + with_first) / 2, image
    value = METRICS["background_consistency_embedded"](VIDEO).value
    assert value == pytest.approx(total / (len(images) - 1), abs=1e-5) and value < 0.999
    for distance in (d for d in DISTANCES if d < len(VIDEO)):
        pairs = [float(cosine_similarity(a, b)) for a, b in zip(images, images[distance:], strict=False)]
        assert METRICS[f"coherence_{distance}_embedded"](VIDEO).value == pytest.approx(np.mean(pairs), abs=1e-5)


def test_coherence_at_one_is_clip_temp_and_falls_at_a_distance() -> None:
    near, far = (METRICS[f"coherence_{distance}_embedded"](VIDEO).value for distance in (1, 5))
    assert near == METRICS["clip_temp_embedded"](VIDEO).value and near > far


def test_a_frozen_video_is_consistent_and_a_short_one_has_no_value() -> None:
    frozen = VIDEO[[0] * 6]
    for name in ("background_consistency_embedded", "coherence_1_embedded", "coherence_5_embedded"):
        metric = METRICS[name]
        assert metric(frozen).value == pytest.approx(1, abs=1e-5) and metric.shown_with == "motion"
    said = METRICS["coherence_10_embedded"].attempt(METRICS["coherence_10_embedded"].id, frozen)
    assert said == "ValueError: frames 10 apart need at least 11 frames, got 6"
    with pytest.raises(ValueError, match="frames 1 apart need at least 2 frames, got 1"):
        METRICS["background_consistency_embedded"](VIDEO[:1])


def test_one_pass_serves_the_whole_group(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    encode = open_clip.CLIP.encode_image
    monkeypatch.setattr(open_clip.CLIP, "encode_image", lambda *a, **k: seen.append(len(a[1])) or encode(*a, **k))
    video = VIDEO.copy()
    video.flags.writeable = False
    for name in names_of("consistency_embedded"):
        METRICS[name].attempt(METRICS[name].id, video)
    assert sum(seen) == len(video) and clip.BATCH >= len(video)
    assert len(names_of("consistency")) == len(names_of("consistency_embedded")) == 2 + len(DISTANCES)
