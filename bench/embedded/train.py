"""Train the embedded checkpoint: `python -m bench.embedded.train STAGE [FOLDER]`, stages in the order below."""

import sys
from pathlib import Path

from bench.embedded.training import settings


def main(stage: str, folder: Path) -> None:
    if stage == "vae":
        from bench.embedded import train_vae

        train_vae.train(settings("vae"), folder / "vae")
    else:
        raise SystemExit(f"unknown stage {stage!r}, expected: vae")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2] if len(sys.argv) > 2 else "training"))
