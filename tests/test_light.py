"""The packages that a command or an import loads, each in a fresh process. The facts are names, not seconds."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import vgdfr
from vgdfr.embedded import CHECKPOINT

ROOT = Path(__file__).parents[1]
NETWORK = ("httpx2", "huggingface_hub", "pooch")
MACHINERY = ("accelerate", "diffusers", "transformers")
HEAVY = ("torch", "torchvision", *MACHINERY, *NETWORK)
MODEL = f"vgdfr.HunyuanVideo({str(CHECKPOINT)!r}, dtype='float32', device='cpu')"


def loaded(*command: str) -> set[str]:
    """Returns the top-level packages that a fresh Python imports while it runs `command`, which must succeed."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *command],
        capture_output=True,
        encoding="utf-8",
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=600,
    )
    lines = done.stderr.splitlines()
    others = [line for line in lines if not line.startswith("import time:")]
    assert (done.returncode, others) == (0, []), done.stderr
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}


def test_loaded_sees_an_import_within_a_function() -> None:
    assert {"json", "vgdfr", "torch"} <= loaded("-c", "def f():\n import json, vgdfr.stopwatch\nf()")


@pytest.mark.parametrize(
    "module",
    [
        "vgdfr",
        "vgdfr.assets",
        "vgdfr.embedded",
        "vgdfr.files",
        "vgdfr.forecast",
        "vgdfr.naming",
        "vgdfr.passes",
        "vgdfr.schedule",
        "vgdfr.video_file",
    ],
)
def test_light_modules_import_without_pytorch(module: str) -> None:
    assert not loaded("-c", f"import {module}").intersection(HEAVY)


@pytest.mark.parametrize("module", ["vgdfr", "vgdfr.conform"])
def test_help_of_a_command_needs_no_pytorch(module: str) -> None:
    assert not loaded("-m", module, "--help").intersection(("numpy", *HEAVY))


def test_the_console_script_shows_its_help_without_pytorch() -> None:
    script = "import sys; sys.argv = ['vgdfr', '--help']; from vgdfr_commands.scripts import vgdfr; vgdfr()"
    assert not loaded("-c", script).intersection(("numpy", *HEAVY))


def test_settings_of_methods_and_videos_need_no_model() -> None:
    code = "from vgdfr import Baseline, Method, Vgdfr, VideoSpec, generate; import vgdfr.video; Vgdfr(k=5, theta=0.5)"
    assert not loaded("-c", code).intersection(("scipy", *MACHINERY, *NETWORK))


def test_a_model_is_checked_without_diffusers_and_transformers() -> None:
    checks = f"m = {MODEL}; m.check(); m.check_settings(); m.architecture(); m.missing(); m.identity(); m.loaded_from()"
    assert not loaded("-c", f"import vgdfr; {checks}").intersection(("scipy", *MACHINERY, *NETWORK))


def test_loading_imports_the_machinery() -> None:
    """The counterpart of the test above: the checks would pass unnoticed if `loaded` missed these packages."""
    assert loaded("-c", f"import vgdfr; {MODEL}.load_codec()") >= {"diffusers"}


def test_the_table_of_public_names_is_what_type_checkers_see() -> None:
    tree = ast.parse(Path(str(vgdfr.__file__)).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    seen = {alias.name: str(node.module) for node in imports for alias in node.names}
    assert seen == vgdfr._MODULE_OF and len(imports) == len(block.body)


def test_every_public_name_can_be_imported_and_is_listed() -> None:
    assert all(getattr(vgdfr, name) is not None for name in vgdfr.__all__)
    assert set(vgdfr.__all__) <= set(dir(vgdfr))
    with pytest.raises(AttributeError, match="module 'vgdfr' has no attribute 'Vgdfrr'"):
        _ = vgdfr.Vgdfrr


def test_a_submodule_imported_first_hides_no_public_name() -> None:
    loaded("-c", "import vgdfr.generation, vgdfr.methods.vgdfr; from vgdfr import *; generate.__call__, Vgdfr(5, 0.5)")
