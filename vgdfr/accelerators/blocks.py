"""The blocks of a diffusers transformer: their order, their image tokens, and a patch around each block's forward."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn

Forward = Callable[..., Any]


@dataclass(frozen=True)
class Block:
    """A block of a DiT, and the places of image and text tokens in its arguments and its result.

    image, text: the names of the arguments.
    image_index, text_index: the indices in the result, a tuple. A block without text has None, and its result is the
        image tokens alone.
    """

    module: nn.Module
    image: str
    text: str
    image_index: int
    text_index: int | None

    def argument(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Returns the argument `name` of a call. Raises ValueError if the call has no such argument."""
        names = _parameters(type(self.module))
        if name in kwargs:
            return kwargs[name]
        if name in names and names.index(name) < len(args):
            return args[names.index(name)]
        raise ValueError(f"a call of {type(self.module).__name__} has no argument {name}; this cache does not know it")

    def image_in(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """Returns the image tokens among the arguments of a call."""
        return self.argument(self.image, args, kwargs)

    def image_out(self, result: Any) -> Tensor:
        """Returns the image tokens of a call's result."""
        return result[self.image_index] if isinstance(result, tuple) else result

    def skipped(self, image: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Returns the result of a skipped call: `image`, and the text tokens as they came."""
        if self.text_index is None:
            return image
        result: list[Any] = [None] * (1 + max(self.image_index, self.text_index))
        result[self.image_index], result[self.text_index] = image, self.argument(self.text, args, kwargs)
        return tuple(result)


@cache
def _parameters(kind: type[nn.Module]) -> tuple[str, ...]:
    return tuple(inspect.signature(kind.forward).parameters)[1:]  # without self


def modules_of(transformer: nn.Module) -> list[nn.Module]:
    """Returns the blocks' modules in the order of their calls.

    Raises ValueError for a transformer without a list of blocks that diffusers' caches know.
    """
    from diffusers.hooks._common import _ALL_TRANSFORMER_BLOCK_IDENTIFIERS

    lists = [child for name, child in transformer.named_children() if name in _ALL_TRANSFORMER_BLOCK_IDENTIFIERS]
    modules = [block for child in lists if isinstance(child, nn.ModuleList) for block in child]
    if not modules:
        raise ValueError(
            f"{type(transformer).__name__} has no blocks that a cache knows; they are expected in one of "
            f"{', '.join(sorted(_ALL_TRANSFORMER_BLOCK_IDENTIFIERS))}"
        )
    return modules


def blocks_of(transformer: nn.Module) -> list[Block]:
    """Returns the blocks in the order of their calls.

    Raises ValueError for a transformer without blocks that diffusers' caches know, and for a class of blocks that is
    not registered there.
    """
    from diffusers.hooks._helpers import TransformerBlockRegistry

    blocks = []
    for module in modules_of(transformer):
        try:
            known = TransformerBlockRegistry.get(type(module))
        except ValueError:
            raise ValueError(
                f"the blocks {type(module).__name__} of {type(transformer).__name__} are not known to caches; register "
                "them: diffusers.hooks._helpers.TransformerBlockRegistry.register(...)"
            ) from None
        blocks.append(
            Block(
                module,
                known.hidden_states_argument_name,
                known.encoder_hidden_states_argument_name,
                known.return_hidden_states_index,
                known.return_encoder_hidden_states_index,
            )
        )
    return blocks


@contextmanager
def wrapped(blocks: list[Block], call: Callable[..., Any]) -> Iterator[None]:
    """Within the block, each DiT block's forward is `call(i, forward, *args, **kwargs)` with its number `i`.

    The wrapper is the innermost one: inside the hooks that load an offloaded block, so that `call` may use the block's
    weights.
    """
    places = [_innermost(block.module) for block in blocks]
    before = [getattr(owner, name) for owner, name in places]
    had = [name in vars(owner) for owner, name in places]
    for i, ((owner, name), forward) in enumerate(zip(places, before, strict=True)):
        setattr(owner, name, partial(call, i, forward))
    try:
        yield
    finally:
        for (owner, name), forward, own in zip(places, before, had, strict=True):
            if own:
                setattr(owner, name, forward)
            else:
                delattr(owner, name)


def _innermost(module: nn.Module) -> tuple[Any, str]:
    """Returns the object and the attribute that hold a module's own forward, below all of diffusers' hooks."""
    hooks = getattr(module, "_diffusers_hook", None)
    if hooks is None or not hooks._fn_refs:
        return module, "forward"
    first = hooks._fn_refs[0]
    return first, "forward" if first.original_forward is None else "original_forward"


def modulated_input(block: Block, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """Returns the input of the block's attention: the image tokens, normalised and modulated by the timestep.

    No counted layer runs here. The block computes the same value again from the same input.
    """
    return block.module.norm1(block.image_in(args, kwargs), emb=block.argument("temb", args, kwargs))[0]  # type: ignore[operator]


def check_modulated(block: Block) -> None:
    """Raises ValueError unless `modulated_input` knows the block: its `norm1` must be diffusers' AdaLayerNormZero."""
    from diffusers.models.normalization import AdaLayerNormZero

    if type(norm := getattr(block.module, "norm1", None)) is not AdaLayerNormZero:
        raise ValueError(
            f"TeaCache reads the modulated input of the first block, which must have an AdaLayerNormZero as norm1; "
            f"{type(block.module).__name__} has {type(norm).__name__}"
        )


def relative_l1(new: Tensor, old: Tensor) -> float:
    """Returns the mean absolute change over the mean absolute value of `old`; NaN or infinity if `old` is 0."""
    return ((new - old).abs().mean(dtype=torch.float32) / old.abs().mean(dtype=torch.float32)).item()
