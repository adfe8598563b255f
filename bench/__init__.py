"""The harness: sweeps, records, the store."""

from vgdfr_commands.surroundings import check

check(__name__, needs=("torch", "diffusers", "transformers", "hydra", "rich", "numpy", "av"), ours=("vgdfr", "metrics"))
