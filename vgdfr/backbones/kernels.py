"""diffusers' attention kernels: their names, whether a kernel can run on this machine, and its choice for a DiT."""

from typing import Any

from diffusers.models.attention_dispatch import AttentionBackendName, _check_attention_backend_requirements
from diffusers.utils import logging as diffusers_logging

# the kernels with "hub" in their name are left out, since diffusers would download them unasked
ATTENTION = tuple(b.value for b in AttentionBackendName if "hub" not in b.value)


def refuse_unusable(attention: str) -> None:
    """Raises ValueError if the package of the kernel `attention` is missing here or too old."""
    try:
        _check_attention_backend_requirements(AttentionBackendName(attention))
    except (RuntimeError, ImportError) as error:
        raise ValueError(f"execution.attention={attention} cannot run here: {error}") from error


def choose_attention(dit: Any, attention: str) -> None:
    """Lets the attention of a diffusers DiT run on the kernel `attention`, without diffusers' warning.

    The warning would say that diffusers' interface is experimental.
    """
    verbosity = diffusers_logging.get_verbosity()
    diffusers_logging.set_verbosity_error()
    dit.set_attention_backend(attention)
    diffusers_logging.set_verbosity(verbosity)
