"""The small trained HunyuanVideo that ships with the package, in diffusers' own folder format."""

from pathlib import Path

CHECKPOINT = Path(__file__).parent / "checkpoint"
