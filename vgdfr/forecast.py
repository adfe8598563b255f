"""The expected work of a sample, from its settings alone. Plans use it before a model is loaded."""

from collections.abc import Hashable
from typing import Literal, NamedTuple


class Work(NamedTuple):
    """`times` equal calls of the DiT, or of the VAE's decoder or encoder.

    about, most: the expected and the greatest number of latent frames of a call. A latent of less height or width
        counts as the frames of full size that have as many tokens, which need not be a whole number.
    levels: the spatial levels that the VAE leaves out.
    shared: a name for work that samples of one prompt share and do once; None for a sample's own work.
    """

    kind: Literal["dit", "decode", "encode"]
    about: float
    most: float
    times: int = 1
    levels: int = 0
    shared: Hashable = None


def baseline_steps(first: int, last: int, latents: int) -> list[Work]:
    """Returns the baseline's steps from `first` to `last` (excluded), which samples of one prompt share."""
    return [Work("dit", latents, latents, shared=("baseline", step)) for step in range(first, last)]
