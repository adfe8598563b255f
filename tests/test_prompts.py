"""Prompts have stable names without collisions, and VBench's list is the published list."""

import hashlib
import json
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.embedded.world import SPEEDS
from bench.plan import prompts as module
from bench.plan.prompts import Prompts, VBenchPrompts, id_of, vbench

ENTRIES = [
    {"prompt_en": "a dog runs", "dimension": ["scene", "color"]},
    {"prompt_en": "A dog runs", "dimension": ["color"]},
    {"prompt_en": "a cat", "dimension": ["scene"]},
    {"prompt_en": "a dog runs", "dimension": ["object_class"], "auxiliary_info": {}},
    *({"prompt_en": f"{'x' * 120} {i}", "dimension": ["human_action"]} for i in range(6)),
]


@pytest.fixture
def listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Returns a list in VBench's form, pinned in place of the real list."""
    file = tmp_path / "VBench_full_info.json"
    file.write_text(json.dumps(ENTRIES))
    monkeypatch.setattr(module, "VBENCH_SHA256", hashlib.sha256(file.read_bytes()).hexdigest())
    return file


def test_vbenchs_list_has_each_prompt_once_with_all_its_dimensions(listed: Path) -> None:
    found = vbench(listed)
    assert [p.text for p in found[:3]] == ["a dog runs", "A dog runs", "a cat"] and len(found) == 9
    assert found[0].dimensions == ("color", "object_class", "scene")
    assert len({p.id for p in found}) == len({p.seed for p in found}) == 9
    assert found[0].id.startswith("a-dog-runs-") and max(len(p.id) for p in found) <= 41


def test_vbenchs_wheel_is_read_without_installing_it(listed: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "vbench-0.1.5-py3-none-any.whl", "w") as wheel:
        wheel.write(listed, "vbench/VBench_full_info.json")
    assert vbench(tmp_path / "vbench-0.1.5-py3-none-any.whl") == vbench(listed)


def test_prompts_by_dimension_subset_and_seed(listed: Path) -> None:
    def texts(**settings: object) -> list[str]:
        return [p.text for p in VBenchPrompts(str(listed), **settings).load()]  # type: ignore[arg-type]

    assert texts(dimensions=["scene"]) == ["a dog runs", "a cat"]
    drawn = texts(subset=4)
    assert len(drawn) == 4 and drawn == texts(subset=4) and drawn != texts(subset=4, subset_seed=1)
    assert [t for t in texts() if t in drawn] == drawn, "in VBench's order"
    assert [(p.text, p.seed_index) for p in VBenchPrompts(str(listed), limit=1, seeds=(0, 4)).load()] == [
        ("a dog runs", 0), ("a dog runs", 4)
    ]  # fmt: skip
    for settings, message in (
        ({"dimensions": ["beauty"]}, "prompts.dimensions must be a list of color, human_action.*unknown .'beauty'"),
        ({"dimensions": "scene"}, "prompts.dimensions must be a list of"),
        ({"subset": 10}, "prompts.subset must be between 1 and 9, got 10"),
        (
            {"subset": 4, "skip": 4},
            "prompts.skip must be below 4, the number of prompts in .*VBench_full_info.json, got 4",
        ),
        ({"skip": True}, "prompts.skip must be a whole number from 0, got True"),
    ):
        with pytest.raises(ValueError, match=message):
            texts(**settings)


def test_a_range_of_prompts_is_named_by_skip_and_limit(listed: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("one\ntwo\nthree\n")
    for take in (
        lambda **s: Prompts("embedded", **s), lambda **s: VBenchPrompts(str(listed), **s),
        lambda **s: VBenchPrompts(str(listed), subset=4, **s), lambda **s: Prompts(str(tmp_path / "mine.txt"), **s),
    ):  # fmt: skip
        every = take().load()
        assert take(skip=1).load() == every[1:] and take(skip=0).load() == every
        assert take(skip=1, limit=2).load() == every[1:3] == [*take(limit=3).load()[1:]]
        assert take(skip=len(every) - 1, limit=20).load() == every[-1:]
        seeded = take(skip=1, limit=1, seeds=(0, 4)).load()
        assert [(p.id, p.seed_index) for p in seeded] == [(every[1].id, 0), (every[1].id, 4)]
        with pytest.raises(ValueError, match=f"prompts.skip must be below {len(every)}, the number of prompts in"):
            take(skip=len(every)).load()


def test_each_20_embedded_prompts_hold_every_speed_profile_equally_often() -> None:
    first, others = (Prompts("embedded", 20, skip=skip).load() for skip in (0, 20))
    for taken in (first, others):
        assert Counter(prompt.id.split("-")[1] for prompt in taken) == dict.fromkeys(SPEEDS, 4)
    assert not {p.text for p in first} & {p.text for p in others}
    assert len({p.seed for p in first + others}) == 40


def test_another_list_is_refused_and_a_missing_one_is_to_be_downloaded(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text("[]")
    with pytest.raises(ValueError, match=r"must hold the VBench_full_info.json of VBench 0.1.5 \(sha256 5dd2de80ee43"):
        VBenchPrompts(str(tmp_path / "other.json")).load()
    with pytest.raises(FileNotFoundError, match="which is no file"):
        VBenchPrompts(str(tmp_path / "nothing.json")).load()
    (asset,) = VBenchPrompts().missing()
    assert asset.num_bytes == 228_118 and asset.source.endswith("VBench_full_info.json")
    assert VBenchPrompts(path="x").missing() == [] == Prompts("embedded").missing()


@given(st.lists(st.text(min_size=1), unique=True, max_size=20))
def test_ids_are_names_for_files_and_never_shared(texts: list[str]) -> None:
    ids = [id_of(text) for text in texts]
    assert len(set(ids)) == len(texts)
    assert all(set(i) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") and 8 <= len(i) <= 41 for i in ids)
