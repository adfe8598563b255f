"""Makes a video for one prompt: `python -m vgdfr "a red circle moves fast to the left over sand" --k 5 --theta 0.7`."""

import argparse
from pathlib import Path

from vgdfr_commands.start import called, run

MODELS = ("embedded", "hunyuan_video")  # the models of `vgdfr.presets`, which takes seconds to import


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=" ".join(called("vgdfr")), description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("prompt")
    parser.add_argument("--k", type=int, default=5, help="denoising steps before compression (default: 5)")
    parser.add_argument("--theta", type=float, default=0.7, help="SSIM above which frames merge (default: 0.7)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("clip.mp4"), help="an .mp4 (default: clip.mp4)")
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--compare", action="store_true", help="baseline to the left, VGDFR to the right, in one file")
    either.add_argument("--baseline", action="store_true", help="the model as it is, without VGDFR")
    parser.add_argument("--model", choices=MODELS, default="embedded", help="default: embedded")
    parser.add_argument("--path", help="another checkpoint folder or hub repository for --model")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 or auto (default: the model's)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of the model (default: 1)")
    for name in ("height", "width", "num_frames", "num_inference_steps"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, help="default: the model's")
    return parser.parse_args(arguments)


def command() -> None:
    arguments = parse()
    from vgdfr.one_prompt import main  # imports PyTorch, which --help and a wrong option do not need

    main(arguments)


if __name__ == "__main__":
    run(command)
