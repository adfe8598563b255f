"""The embedded judge's weights: small networks trained on the embedded world, for the default run's metric columns."""

from pathlib import Path

CLIP = Path(__file__).parent / "clip"
"""A folder for open_clip's `local-dir:`."""
TRUNK = Path(__file__).parent / "alexnet.safetensors"
"""torchvision's AlexNet `features`, in fp16."""
