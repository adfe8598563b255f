"""Train the embedded checkpoint: `python -m bench.embedded.train STAGE [FOLDER]`.

Stages, in order: vae, text, latents, dit, assemble. Each continues where it was stopped; its state and curve are in
FOLDER (default `training`), its settings in settings.yaml. `assemble` writes the checkpoint into the package.
"""

import argparse
import shutil
from pathlib import Path

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, HunyuanVideoPipeline

from bench.embedded import train_dit, train_text, train_vae
from bench.embedded.training import settings
from vgdfr.embedded import CHECKPOINT

STAGES = ("vae", "text", "latents", "dit", "assemble")
CURVES = Path(__file__).parent / "curves"


def main(stage: str, folder: Path) -> None:
    if stage == "vae":
        train_vae.train(settings("vae"), folder / "vae")
        return
    if stage == "text":
        train_text.train(settings("text"), folder / "text")
        return
    # a finished stage, called again, loads its last state and does no step
    vae = train_vae.train(settings("vae"), folder / "vae")
    if stage == "latents":
        train_dit.encode(settings("latents"), vae, folder / "latents")
        return
    text = train_text.train(settings("text"), folder / "text").eval()
    dit = train_dit.train(settings("dit"), text, folder / "latents", folder / "dit")
    if stage == "assemble":
        shards = [torch.load(f, weights_only=True)["latents"] for f in sorted((folder / "latents").glob("*.pt"))]
        vae.register_to_config(scaling_factor=train_dit.scaling_factor(torch.cat(shards).float()))
        pipeline = HunyuanVideoPipeline(
            text_encoder=text.llama,
            tokenizer=text.tokenizer,  # type: ignore[arg-type]  # a fast one is what it needs
            transformer=dit,
            vae=vae,
            scheduler=FlowMatchEulerDiscreteScheduler(shift=settings("dit")["sampling_shift"]),
            text_encoder_2=text.clip,
            tokenizer_2=text.tokenizer_2,  # type: ignore[arg-type]
        )
        pipeline.to("cpu", torch.float16).save_pretrained(CHECKPOINT)
        CURVES.mkdir(exist_ok=True)
        for name in ("vae", "text", "dit"):
            shutil.copy(folder / name / "curve.jsonl", CURVES / f"{name}.jsonl")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("training"))
    arguments = parser.parse_args()
    main(arguments.stage, arguments.folder)
