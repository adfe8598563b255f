"""Each library can be used alone."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("package", "absent"),
    [
        ("vgdfr", ("hydra", "omegaconf", "wandb", "pandas", "bench", "metrics")),
        ("metrics", ("torch", "hydra", "omegaconf", "wandb", "vgdfr", "bench")),
        ("analysis.table1", ("torch", "hydra", "vgdfr")),
        ("analysis.figures", ("torch", "hydra", "vgdfr")),
        ("bench.store.__main__", ("torch", "numpy", "av", "cv2", "metrics", "hydra", "diffusers", "transformers")),
        ("bench.score", ("torch", "hydra", "diffusers", "transformers")),
    ],
)
def test_a_package_does_not_bring_in_others(package: str, absent: tuple[str, ...]) -> None:
    code = f"import sys, {package}; sys.exit(', '.join(set({absent!r}) & set(sys.modules)) or 0)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
