"""Trains the embedded checkpoint: `python -m bench.embedded.train STAGE [FOLDER]`.

The stages of the checkpoint are vae, text, latents, dit and assemble, in this order. The stages of the judge are clip,
trunk and reader, in any order. A stopped stage continues when it is called again. Its state and curve are in FOLDER
(default `training`), and its settings are in settings.yaml. `assemble` writes the checkpoint's weights into the
package, and each stage of the judge writes its own at its end.

With --shipped, everything starts from the shipped checkpoint. The stage vae trains the VAE further (settings under
`tune_vae`) and writes it into the package. The stages latents, dit and assemble train the DiT further (settings under
`tune`), which is needed after the VAE's encoder has changed. The result is the new shipped checkpoint: move FOLDER/tune
and FOLDER/tune_vae away before another round.
"""

import argparse
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKLHunyuanVideo, FlowMatchEulerDiscreteScheduler, HunyuanVideoPipeline

from bench.embedded import reader, train_clip, train_dit, train_reader, train_text, train_trunk, train_vae
from bench.embedded.training import save_half, settings
from metrics.embedded import CLIP, TRUNK
from vgdfr.embedded import CHECKPOINT
from vgdfr_commands.start import run

STAGES = ("vae", "text", "latents", "dit", "assemble", "clip", "trunk", "reader")
CURVES = Path(__file__).parent / "curves"


def main(stage: str, folder: Path, shipped: bool) -> None:
    if stage == "vae" and shipped:
        start = AutoencoderKLHunyuanVideo.from_pretrained(CHECKPOINT / "vae", torch_dtype=torch.float32)
        vae = train_vae.train(settings("tune_vae"), folder / "tune_vae", start)
        save_half(vae, CHECKPOINT / "vae" / "diffusion_pytorch_model.safetensors")
        keep_curve(folder, "tune_vae")
    elif stage == "vae":
        train_vae.train(settings("vae"), folder / "vae")
    elif stage == "text":
        train_text.train(settings("text"), folder / "text")
    elif stage == "clip":
        train_clip.save(train_clip.train(settings("clip"), folder / "clip"), CLIP)
    elif stage == "trunk":
        save_half(train_trunk.train(settings("trunk"), folder / "trunk").features, TRUNK)
    elif stage == "reader":
        save_half(train_reader.train(settings("reader"), folder / "reader"), reader.WEIGHTS)
    else:
        train_from_latents(stage, folder, shipped)
    if stage in ("clip", "trunk", "reader"):
        keep_curve(folder, stage)


def keep_curve(folder: Path, name: str) -> None:
    CURVES.mkdir(exist_ok=True)
    shutil.copy(folder / name / "curve.jsonl", CURVES / f"{name}.jsonl")


def train_from_latents(stage: str, folder: Path, shipped: bool) -> None:
    """Runs the stages that need a finished VAE and finished text encoders."""
    start = None
    if shipped:
        pipeline = HunyuanVideoPipeline.from_pretrained(CHECKPOINT, dtype=torch.float32)
        vae, start = pipeline.vae, pipeline.transformer
        text = train_dit.TextParts(
            pipeline.tokenizer, pipeline.text_encoder, pipeline.tokenizer_2, pipeline.text_encoder_2
        )
    else:  # if the stage is finished, this loads its last state and takes no step
        vae = train_vae.train(settings("vae"), folder / "vae")
        t = train_text.train(settings("text"), folder / "text").eval()
        text = train_dit.TextParts(t.tokenizer, t.llama, t.tokenizer_2, t.clip)
    name = "tune" if shipped else "dit"
    encoded = folder / f"latents-{name}"
    if stage == "latents":
        train_dit.encode(settings("latents"), vae, encoded)
        return
    clips = train_dit.stored(settings("latents"), vae, encoded)
    if not shipped:
        vae.register_to_config(scaling_factor=train_dit.scaling_factor(clips.videos))
    s = settings(name)
    dit = train_dit.train(s, text, clips, vae.config.scaling_factor, folder / name, start)
    if stage == "assemble" and shipped:  # the other parts are in the package and do not change
        dit.to("cpu", torch.float16).save_pretrained(CHECKPOINT / "transformer")  # type: ignore[arg-type]
    elif stage == "assemble":
        pipeline = HunyuanVideoPipeline(
            transformer=dit,
            vae=vae,
            scheduler=FlowMatchEulerDiscreteScheduler(shift=s["sampling_shift"]),
            **{name: getattr(text, name) for name in text.__dataclass_fields__},
        )
        pipeline.to("cpu", torch.float16).save_pretrained(CHECKPOINT)
    if stage == "assemble":
        for name in ("tune",) if shipped else ("vae", "text", "dit"):
            keep_curve(folder, name)


def command() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("training"))
    parser.add_argument("--shipped", action="store_true", help="continue from the shipped checkpoint")
    arguments = parser.parse_args()
    if arguments.shipped and arguments.stage not in ("vae", "latents", "dit", "assemble"):
        parser.error(f"--shipped goes with the stages vae, latents, dit, assemble, got {arguments.stage}")
    main(arguments.stage, arguments.folder, arguments.shipped)


if __name__ == "__main__":
    run(command)
