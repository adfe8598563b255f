"""Checks DOVER with a user's ONNX export: views are drawn from a seed, and have the form of the export's inputs."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from metrics import METRICS, dover
from metrics.weights import sha256_of

RNG = np.random.default_rng(0)
LARGE = RNG.integers(256, size=(70, 232, 240, 3), dtype=np.uint8)


def export(file: Path, clips: int | str = 3, side: int = 224) -> Path:
    """Writes a network with DOVER's inputs. It returns the means of the aesthetic view and of each technical clip."""
    views = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [n, 3, 32, side, side])
        for name, n in (("aes_view", 1), ("tech_view", clips))
    ]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("14", "27")]
    axes = helper.make_tensor("axes", TensorProto.INT64, [4], [1, 2, 3, 4])
    nodes = [
        helper.make_node("ReduceMean", [view, "axes"], [out], keepdims=0)
        for view, out in (("aes_view", "14"), ("tech_view", "27"))
    ]
    graph = helper.make_graph(nodes, "dover", views, outputs, [axes])
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)]), file)
    return file


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    file = export(tmp_path / "dover.onnx")
    monkeypatch.setenv("VGDFR_DOVER_ONNX", str(file))
    yield file


def test_frames_are_every_second_one_of_equal_segments_and_wrap_at_the_end() -> None:
    indices = dover.frame_indices(65, 3, 32, RNG).reshape(3, 32)
    assert indices[:, 0].tolist() == [0, 21, 42] and indices[1, 21:24].tolist() == [63, 0, 2]
    assert dover.frame_indices(65, 32, 1, RNG).tolist() == list(range(0, 64, 2))
    assert set(dover.frame_indices(20, 32, 1, RNG).tolist()) == {0}
    for seed in range(20):  # longer videos leave room for a random start within the segment
        starts = dover.frame_indices(300, 3, 32, np.random.default_rng(seed)).reshape(3, 32)[:, [0, -1]]
        assert all(100 * i <= a and b == a + 62 < 100 * (i + 1) for i, (a, b) in enumerate(starts))


def test_fragments_are_squares_of_the_frame_the_same_in_all_frames() -> None:
    whole = LARGE[:2, :224, :224]
    assert np.array_equal(dover.fragments(whole, RNG), whole), "the grid fills a frame of its own size"
    still = np.repeat(LARGE[:1], 3, 0)
    out = dover.fragments(still, np.random.default_rng(1))
    assert out.shape == (3, 224, 224, 3) and np.array_equal(out[0], out[2])
    corner, cell = out[0, 32:64, 64:96], still[0, 33:66, 68:102]
    places = [(y, x) for y in range(2) for x in range(3) if np.array_equal(cell[y : y + 32, x : x + 32], corner)]
    assert len(places) == 1, "each square lies in its own cell, unscaled"


@pytest.mark.parametrize("size", [(40, 64), (224, 300), (500, 230)])
def test_views_have_the_exports_form_at_any_size_and_are_the_same_for_the_same_seed(size: tuple[int, int]) -> None:
    video = RNG.integers(256, size=(33, *size, 3), dtype=np.uint8)
    first, again, other = (dover.views(video, seed) for seed in (0, 0, 1))
    assert first[0].shape == (1, 3, 32, 224, 224) and first[1].shape == (3, 3, 32, 224, 224)
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert size != (500, 230) or not (first[1] == other[1]).all()


def test_colours_are_normalised_in_rgb_order() -> None:
    video = np.tile(np.array([255, 0, 128], np.uint8), (32, 224, 224, 1))
    expected = (np.array([255, 0, 128]) - dover.MEAN) / dover.STD
    for view in dover.views(video, 0):
        assert view.mean((0, 2, 3, 4)).numpy() == pytest.approx(expected, rel=1e-5)


def test_values_are_calibrated_means_over_draws(own: Path) -> None:
    raw = [[float(view.mean()) for view in dover.views(LARGE, seed)] for seed in range(dover.REPEATS)]
    for column, (name, middle, width) in enumerate((("vqa", 0.1253, 0.0318), ("vqa_technical", -0.0758, 0.0129))):
        score, values = METRICS[name](LARGE), np.array(raw)[:, column]
        assert score.extra["raw"] == pytest.approx(values.mean(), abs=1e-4)
        assert score.extra["raw_std"] == pytest.approx(values.std(), abs=1e-4) and score.extra["repeats"] == 3
        assert score.value == pytest.approx(100 / (1 + np.exp(-(score.extra["raw"] - middle) / width)), rel=1e-6)
        assert METRICS[name](LARGE) == score, "equal seeds draw equal views"
        assert METRICS[name].id.endswith(sha256_of(own))


@pytest.mark.parametrize("clips", ["n", 3, 4])
def test_exports_for_any_number_of_clips_give_the_same(clips: int | str, tmp_path: Path) -> None:
    session, views = dover.load(export(tmp_path / "dover.onnx", clips)), dover.views(LARGE, 0)
    assert dover.run(session, *views) == pytest.approx([float(v.mean()) for v in views], abs=1e-4)


def test_an_export_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must take aes_view \[1, 3, 32, 224, 224\].* got .*112"):
        dover.load(export(tmp_path / "dover.onnx", side=112))


def test_without_an_export_it_says_how_to_get_one() -> None:
    missing = METRICS["vqa"].missing
    assert missing is not None and "VGDFR_DOVER_ONNX=FILE" in missing.how
