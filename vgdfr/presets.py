"""Models with their intended settings, for use without Hydra. The values equal those in `conf/model/`."""

from dataclasses import dataclass
from typing import Any

from vgdfr.backbones.hunyuan_video import HunyuanVideo
from vgdfr.backbones.tiling import Tiling
from vgdfr.embedded import CHECKPOINT


@dataclass(frozen=True, slots=True)
class Preset:
    """A model, and all fields of its `VideoSpec` except prompt and seed."""

    model: HunyuanVideo
    video: dict[str, Any]


PRESETS = {
    # tiles are longer than the clip, so that no clip is split in time
    "embedded": Preset(
        HunyuanVideo(str(CHECKPOINT), dtype="float32", device="cpu", tiling=Tiling(frames=128, frames_stride=96)),
        {
            "height": 64, "width": 64, "num_frames": 65, "num_inference_steps": 50, "guidance_scale": 1.0,
            "flow_shift": 1.0, "fps": 12,
        },
    ),
    # the paper's setting (section 4.1)
    "hunyuan_video": Preset(
        HunyuanVideo(
            "hunyuanvideo-community/HunyuanVideo", revision="e8c2aaa66fe3742a32c11a6766aecbf07c56e773",
            dtype="bfloat16", device="cuda", vae_dtype="float16", text_dtype="float16",
        ),
        {
            "height": 544, "width": 960, "num_frames": 97, "num_inference_steps": 50, "guidance_scale": 6.0,
            "flow_shift": 7.0, "fps": 24,
        },
    ),
}  # fmt: skip
