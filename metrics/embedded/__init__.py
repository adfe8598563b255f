"""Names the weights of the embedded judge: small networks trained on the embedded world."""

from pathlib import Path

CLIP = Path(__file__).parent / "clip"
"""The folder of the CLIP model, in open_clip's local-dir format."""
TRUNK = Path(__file__).parent / "alexnet.safetensors"
"""The weights of torchvision's AlexNet `features`, in float16."""
