"""The choice of DiT layers with Global-RoPE, and the temporal positions of each layer (paper, section 3.3)."""

import re
from collections.abc import Sequence
from typing import Any

from vgdfr.architecture import Architecture

# The paper's choice for HunyuanVideo: layers 0 to 19 are dual-stream, layers 20 to 59 single-stream (section 4.1).
PAPER_GLOBAL_LAYERS = (4, 19, 23, 31, 35, 36, 37, 40)
PAPER_NUM_LAYERS = 60

NAMED_LAYERS = re.compile(r"paper|all|none|(only|all_but)_(\d+)")
LAYERS_EXPECTED = "paper, all, none, only_N, all_but_N or a list of layer numbers such as [0,4]"


def paper_global_layers(num_layers: int) -> tuple[int, ...]:
    """Returns the paper's Global-RoPE layers for a DiT of `num_layers`, mapped by relative depth.

    A DiT of 60 layers gets the paper's own list.
    """
    scale = (num_layers - 1) / (PAPER_NUM_LAYERS - 1)
    return tuple(sorted({round(layer * scale) for layer in PAPER_GLOBAL_LAYERS}))


def global_layers_of(setting: Sequence[int] | str, num_layers: int) -> tuple[int, ...]:
    """Returns the layers that a method's `global_layers` names, in ascending order.

    "paper" is the paper's list, "all" is every layer and "none" is no layer. "only_3" is layer 3 alone and "all_but_3"
    is every other layer. Raises ValueError for another name, and for a layer that a DiT of `num_layers` lacks.
    """
    if isinstance(setting, str):
        named = NAMED_LAYERS.fullmatch(setting)
        if named is None:
            raise ValueError(f"global_layers must be {LAYERS_EXPECTED}, got {setting!r}")
        if named[1] is None:
            return {"paper": paper_global_layers(num_layers), "all": tuple(range(num_layers)), "none": ()}[setting]
        layers = (int(named[2]),)
    else:
        layers = tuple(sorted(set(setting)))
    _refuse_unknown(layers, num_layers)
    if isinstance(setting, str) and setting.startswith("all_but_"):
        return tuple(layer for layer in range(num_layers) if layer not in layers)
    return layers


def shortest_name(setting: Sequence[int] | str, num_layers: int) -> tuple[int, ...] | str:
    """Returns the one spelling of the layers that `setting` names: the first fitting name, or else the layers."""
    layers = global_layers_of(setting, num_layers)
    names = ["paper", "none", "all", *(f"{kind}_{n}" for kind in ("only", "all_but") for n in range(num_layers))]
    return next((name for name in names if global_layers_of(name, num_layers) == layers), layers)


def positions_per_layer(
    places: Sequence[float] | Sequence[int], global_layers: Sequence[int], num_layers: int
) -> tuple[tuple[float, ...], ...]:
    """Returns the temporal positions of the N' kept latent frames for each layer.

    Layers in `global_layers` see `places`, the positions in the full video (Global-RoPE). Other layers see
    0..N'-1 (Local-RoPE). Raises ValueError for a layer that a DiT of `num_layers` lacks.
    """
    _refuse_unknown(global_layers, num_layers)
    everywhere = tuple(float(position) for position in places)
    local = tuple(float(position) for position in range(len(places)))
    return tuple(everywhere if layer in global_layers else local for layer in range(num_layers))


def _refuse_unknown(layers: Sequence[int], num_layers: int) -> None:
    wrong = [layer for layer in layers if not 0 <= layer < num_layers]
    if wrong:
        raise ValueError(
            f"global_layers must be between 0 and {num_layers - 1} for this model, got {wrong} "
            "(dual-stream blocks come first, then single-stream)"
        )


def layers_of_record(architecture: Architecture, global_layers: Sequence[int] | None) -> dict[str, Any]:
    """Returns a record's field `layers`: the DiT's layers by kind, the global ones, and the paper's list on this model.

    `global_layers` is None for a method that tries several choices.
    """
    count = architecture.num_layers
    return {
        "dual": architecture.num_dual_layers,
        "single": count - architecture.num_dual_layers,
        "global": None if global_layers is None else list(global_layers),
        "paper": list(paper_global_layers(count)),
    }
