"""Checks that each part of a model has its own precision, and how that changes the embedded model's videos."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from torch import Tensor

from bench.plan.command_line import CONF
from bench.plan.settings import condition_of
from vgdfr import Baseline, HunyuanVideo, Vgdfr, VideoSpec, frames_of, generate
from vgdfr.backbones.hunyuan_backbone import HunyuanVideoBackbone
from vgdfr.methods import rife
from vgdfr.presets import PRESETS


def dtypes(module: torch.nn.Module) -> set[torch.dtype]:
    return {parameter.dtype for parameter in module.parameters()}


def test_dit_vae_and_text_have_each_their_own_dtype(tiny_checkpoint: Path, spec: VideoSpec) -> None:
    model = HunyuanVideo(
        str(tiny_checkpoint), dtype="bfloat16", vae_dtype="float16", text_dtype="float32", device="cpu"
    )
    backbone = model.load()
    assert isinstance(backbone, HunyuanVideoBackbone)
    assert dtypes(backbone.transformer) == {torch.bfloat16} and dtypes(backbone.codec.vae) == {torch.float16}
    assert model.text().embedding(spec.prompt).tokens.dtype == torch.float32
    seen: list[torch.dtype] = []
    hook = backbone.transformer.context_embedder.register_forward_pre_hook(lambda _, args: seen.append(args[0].dtype))
    video = generate(backbone, spec, Baseline())
    hook.remove()
    assert set(seen) == {torch.bfloat16}, "the DiT receives prompts in its own dtype"
    assert video.latents is not None and video.latents.dtype == torch.float32
    assert dtypes(model.load_codec().vae) == {torch.float16}


@pytest.mark.parametrize("name", ["dtype", "vae_dtype", "text_dtype"])
def test_an_unknown_dtype_is_refused_by_its_name(tiny_checkpoint: Path, name: str) -> None:
    model = dataclasses.replace(HunyuanVideo(str(tiny_checkpoint), device="cpu"), **{name: "float64"})
    with pytest.raises(ValueError, match=f"^{name} must be float32, bfloat16 or float16, got 'float64'"):
        model.check()


def test_the_13b_model_runs_as_its_own_code_and_the_papers_do() -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        model = condition_of(compose("config", ["model=hunyuan_video", "method=baseline"])).model
    assert (model.dtype, model.vae_dtype, model.text_dtype) == ("bfloat16", "float16", "float16")
    assert model == PRESETS["hunyuan_video"].model


@torch.inference_mode()
def test_the_embedded_vae_is_close_in_half_precision_closer_in_float16() -> None:
    """Compared with float32, 56.8 dB were measured in bfloat16 and 76.4 dB in float16 when the setting was added."""
    model = PRESETS["embedded"].model
    latents = torch.randn(1, 16, 9, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.5

    def decoded(dtype: str) -> Tensor:
        return dataclasses.replace(model, vae_dtype=dtype).load_codec().decode(latents).clamp(-1, 1)

    exact = decoded("float32")
    loss = {
        dtype: 10 * np.log10(4 / float((decoded(dtype) - exact).square().mean())) for dtype in ("bfloat16", "float16")
    }
    assert loss["float16"] > 65 and loss["float16"] > loss["bfloat16"] + 12 > 52


@dataclasses.dataclass(frozen=True)
class Numerics:
    """The settings for float32 on a GPU, and whether a GPU chooses the same kernels each time."""

    convolutions: Any
    products: Any
    deterministic: bool

    @classmethod
    def now(cls) -> "Numerics":
        cudnn = torch.backends.cudnn
        return cls(cudnn.conv.fp32_precision, torch.backends.cuda.matmul.fp32_precision, cudnn.deterministic)


def test_every_network_of_a_sample_runs_in_exact_float32_and_deterministically(
    tiny_checkpoint: Path, spec: VideoSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The settings hold for DiT, VAE, text encoders and RIFE, in generating and in decoding again.

    Afterwards they are as before.
    """
    monkeypatch.setenv("VGDFR_CACHE", str(tmp_path))
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    torch.manual_seed(0)
    torch.save(rife.IFNet().state_dict(), tmp_path / "flownet.pkl")
    method = Vgdfr(k=1, theta=0.01, interpolator="rife", interpolator_weights=str(tmp_path / "flownet.pkl"))
    seen: dict[str, set[Numerics]] = {}

    def look(module: torch.nn.Module, _: object) -> None:
        seen.setdefault(type(module).__name__, set()).add(Numerics.now())

    before, backbone = Numerics.now(), HunyuanVideo(str(tiny_checkpoint), dtype="float32", device="cpu").load()
    hook = torch.nn.modules.module.register_module_forward_pre_hook(look)
    try:
        video = generate(backbone, spec, method)
        assert video.latents is not None
        frames_of(backbone.codec, video.latents, method, video.schedule, spec)
    finally:
        hook.remove()
    names = {
        "LlamaModel", "CLIPTextModel", "HunyuanVideoTransformer3DModel", "HunyuanVideoDecoder3D",
        "HunyuanVideoEncoder3D", "IFNet",
    }  # fmt: skip
    assert names <= set(seen)
    assert set().union(*seen.values()) == {Numerics("ieee", "ieee", True)} != {before}
    assert Numerics.now() == before and os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


SETTINGS = """
import sys, torch
from vgdfr.numerics import exact_float32
from metrics import precision
exec(sys.argv[1])
b = torch.backends
def state():
    operators = (b.cudnn.conv, b.cudnn.rnn, b.cuda.matmul, b.mkldnn.matmul, b.mkldnn.conv)
    return [o.fp32_precision for o in operators], b.cudnn.deterministic, b.cudnn.benchmark
before = state()
for block in (exact_float32, precision.exact_float32):
    with block(), block():
        assert [o.fp32_precision for o in (b.cudnn.conv, b.cuda.matmul)] == ["ieee", "ieee"] and b.cudnn.deterministic
    assert state() == before, (before, state())
"""


@pytest.mark.parametrize(
    "setting",
    [
        "", "torch.set_float32_matmul_precision('high')", "torch.backends.fp32_precision = 'tf32'",
        "torch.backends.cudnn.conv.fp32_precision = 'ieee'", "torch.backends.cuda.matmul.fp32_precision = 'tf32'",
    ],
)  # fmt: skip
def test_whatever_a_caller_had_set_holds_afterwards(setting: str) -> None:
    """Callers may use PyTorch's older or newer interface. Settings belong to a process, so each case starts its own."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", SETTINGS, setting], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
