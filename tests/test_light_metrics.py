"""The modules that `metrics` imports for facts, for reading prompts and videos, and for pixel metrics.

Each test runs a new Python process and looks at its sys.modules: facts about metrics must not cost the import of a
network's library.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from other_packages import with_references

from metrics import METRICS, Metric
from metrics.formula import Formula
from metrics.groups import GROUPS, names_of

ROOT = Path(__file__).parent.parent
NETWORKS = ("torch", "torchvision", "lpips", "open_clip", "transformers", "diffusers", "pyiqa", "onnxruntime", "onnx")
HEAVY = (*NETWORKS, "cv2", "scipy", "skimage", "pandas", "hydra", "omegaconf", "wandb", "bench", "conf", "vgdfr")


def imported_by(code: str, *arguments: str) -> set[str]:
    """Returns the top-level modules in sys.modules after `code` has run in a new process with `arguments`."""
    report = "import json, sys; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}", *arguments],
        cwd=ROOT,
        env=with_references(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


FACTS = """
from metrics import METRICS, PROFILES, about, known, named
from metrics.groups import groups, names_of
metrics = named([*METRICS, *sys.argv[1:]])
facts = [(m.id, m.missing, m.about, m.title, m.group, about(m.name)) for m in metrics]
assert all(names_of(group) for group in groups()) and known() and PROFILES
"""


def test_facts_about_all_metrics_import_no_library_of_networks_or_pixels() -> None:
    clip = str(ROOT / "metrics" / "embedded" / "clip")
    more = ("pyiqa:niqe", f"clipsim:{clip}", f"clip_temp:{clip}")
    modules = imported_by(f"import sys\n{FACTS}", *more)
    assert "metrics" in modules and not modules & set(HEAVY)


def test_the_id_without_torch_is_the_id_with_torch() -> None:
    code = "import json, sys, {}metrics; print(json.dumps({{n: m.id for n, m in metrics.METRICS.items()}}))"
    light, with_torch = (
        subprocess.run(
            [sys.executable, "-c", code.format(first)], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        for first in ("", "torch, onnxruntime, ")
    )
    assert json.loads(light) == json.loads(with_torch) and set(json.loads(light)) == set(METRICS)


@pytest.mark.parametrize("module", ["prompt_entries", "prompts_file", "pairs", "groups", "weights", "report", "page"])
def test_modules_that_read_and_report_text_import_none_either(module: str) -> None:
    assert not imported_by(f"import metrics.{module}") & set(HEAVY)


@pytest.mark.parametrize("module", ["video_file", "frame_times", "structure"])
def test_reading_a_video_imports_none_either(module: str) -> None:
    assert not imported_by(f"import metrics.{module}") & set(HEAVY)


def test_help_of_the_command_imports_none_either() -> None:
    code = """
import runpy, sys
sys.argv = ["metrics", "--help"]
try:
    runpy.run_module("metrics", run_name="__main__", alter_sys=True)
except SystemExit as ended:
    assert ended.code == 0
"""
    assert not imported_by(code) & set(HEAVY)


def test_pixel_metrics_import_opencv_and_no_network() -> None:
    code = """
import numpy as np
from metrics import named
from metrics.groups import names_of
videos = np.random.default_rng(0).integers(256, size=(2, 3, 32, 32, 3), dtype=np.uint8)
assert all(metric(*videos).value is not None for metric in named(names_of("pixel")))
"""
    modules = imported_by(code)
    assert "cv2" in modules and not modules & {*NETWORKS, "bench", "conf", "vgdfr"}


def test_groups_are_read_from_no_file_of_the_sweeps_configuration() -> None:
    code = """
import sys
opened = []
sys.addaudithook(lambda event, values: opened.append(str(values[0])) if event == "open" else None)
from metrics.groups import groups, names_of
for group in groups():
    names_of(group)
ours = [name for name in opened if name.startswith(sys.argv[1])]
assert ours and not [name for name in ours if "/conf/" in name or "/bench/" in name], ours
assert not [name for name in opened if name.endswith(".yaml")], opened
"""
    imported_by(code, str(ROOT))


def test_each_group_has_known_names_and_one_sentence() -> None:
    for name, group in GROUPS.items():
        assert names_of(name) == list(group.names) and set(group.names) <= set(METRICS)
        assert group.description.endswith(".") and ". " not in group.description


@pytest.mark.parametrize("metric", METRICS.values(), ids=list(METRICS))
def test_each_formula_names_a_function(metric: Metric) -> None:
    for formula in (metric.compute, metric.pool, metric.runs_on):
        if isinstance(formula, Formula):
            assert callable(formula.function) and formula.function.__name__ == formula.name
    assert isinstance(metric.compute, Formula)
