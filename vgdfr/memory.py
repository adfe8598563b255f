"""Peak memory of every stage of a model, followed tensor by tensor on the meta device: no weights, no GPU.

Every stage runs for real, on tensors that have a shape and no content; a mode sees each operation's output appear and,
when nothing refers to it any more, go. What an allocator wastes and what CUDA itself takes (about 0.5 GB) come on top.
"""

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from vgdfr.backbones.hunyuan_vae import HunyuanVideoCodec, replaced_forward
from vgdfr.backbones.hunyuan_video import HunyuanVideo
from vgdfr.dyrope import blocks_of
from vgdfr.on_meta import DEVICE, ENCODER_TOKENS, codec_of, dit_pass, meta, text_pass
from vgdfr.rife import MULTIPLE, IFNet
from vgdfr.schedule import GROUP
from vgdfr.similarity import ssim_at_lags


class LiveBytes(TorchDispatchMode):
    """Within the block `live` is how many bytes of tensors made in it exist, and `peak` the most there were.

    A convolution is taken to need its input and output once more while it runs, in a layout of its own: oneDNN does so,
    and cuDNN's workspaces are of that order. Attention is taken to be a fused kernel, which holds no scores.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._storages: dict[int, int] = {}
        self._seen: dict[tuple[Any, ...], tuple[int, Any]] = {}
        self._attention = _FusedAttention()

    def __enter__(self) -> "LiveBytes":
        super().__enter__()
        self._attention.__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        self._attention.__exit__(*raised)
        super().__exit__(*raised)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        for tensor in _tensors([args, kwargs]):
            self._follow(tensor, is_new=False)  # a view of a weight is nothing new
        before = self.live
        out = func(*args, **(kwargs or {}))
        for tensor in _tensors(out):
            self._follow(tensor, is_new=True)
        if func is torch.ops.aten.convolution.default:
            self.peak = max(self.peak, before + out.nbytes + max(args[0].nbytes, out.nbytes))
        return out

    def _follow(self, tensor: Tensor, is_new: bool) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes() if is_new else 0
        if key not in self._storages:
            self._storages[key] = size
            self.live += size
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self._gone, key)

    def _gone(self, key: int) -> None:
        self.live -= self._storages.pop(key)

    @contextmanager
    def each_once(self, modules: Iterable[nn.Module]) -> Iterator[None]:
        """Within the block those of `modules` that are equal and see equal shapes run once; the others take as much."""
        with ExitStack() as restore:
            for module in modules:
                restore.enter_context(replaced_forward(module, self._once(module, module.forward)))
            yield

    def _once(self, module: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
        kind = repr(module)

        def call(*args: Any, **kwargs: Any) -> Any:
            key = (kind, *((tuple(t.shape), t.dtype) for t in _tensors([args, kwargs])))
            if key in self._seen:
                rise, example = self._seen[key]
                self.peak = max(self.peak, self.live + rise)
                return tree_map_only(
                    _Like, lambda like: torch.empty(like.shape, dtype=like.dtype, device=DEVICE), example
                )
            highest, before = self.peak, self.live
            self.peak = before
            out = forward(*args, **kwargs)
            self._seen[key] = self.peak - before, tree_map_only(Tensor, _Like, out)
            self.peak = max(highest, self.peak)
            return out

        return call


class _Like:
    """The shape of a tensor, without the tensor."""

    def __init__(self, tensor: Tensor) -> None:
        self.shape, self.dtype = tensor.shape, tensor.dtype


class _FusedAttention(TorchFunctionMode):
    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is F.scaled_dot_product_attention:
            given = dict(zip(("query", "key", "value"), args, strict=False)) | dict(kwargs or {})
            query, value = given["query"], given["value"]
            return query.new_empty(*query.shape[:-1], value.shape[-1])
        return func(*args, **(kwargs or {}))


def _tensors(values: Any) -> list[Tensor]:
    return [value for value in tree_leaves(values) if isinstance(value, Tensor)]


@dataclass(frozen=True)
class Memory:
    """Peak bytes on the device of each stage of `model`, for videos of `num_frames` frames of `height` x `width`.

    Each stage counts what is there beside it: the weights of DiT and VAE, or of the text encoders alone; the preview
    and, for RIFE, the decoded frames that samples of one prompt share. `levels` are the spatial levels that the
    compression module leaves out. Nothing is taken to merge, which is the most that a stage can need. The latents after
    the shared steps, some tens of megabytes at 540P, are left out.
    """

    model: HunyuanVideo
    height: int
    width: int
    num_frames: int
    levels: int = 1

    def stages(self, rife: bool = True) -> dict[str, int]:
        """Peak bytes by stage, in the order in which a sample takes them; `interpolate` where `rife` does it."""
        idle, at_work, rise = self._dit()
        preview = 4 * 3 * self.num_frames * (self.height >> self.levels) * (self.width >> self.levels)
        frames = 4 * 3 * self.num_frames * self.height * self.width
        beside = _weights(self._codec().vae) + preview + frames * rife
        stages = {
            "text": self._text(),
            "denoise": beside + at_work + rise,
            "preview": beside + idle + self.rise_of("preview"),
            "similarity": beside + idle + self._similarity(),
            "encode": beside + idle + self.rise_of("encode"),
            "decode": beside + idle + self.rise_of("decode"),
        }
        if rife:
            stages["interpolate"] = beside + idle + self._rife()
        return stages

    def rise_of(self, stage: Literal["preview", "encode", "decode"]) -> int:
        """What a stage of the VAE needs at most beside its weights and its input, in bytes; its result counts."""
        codec, levels = self._codec(), 0 if stage == "decode" else self.levels
        with meta():  # what is decoded and encoded is float32; the VAE makes of it what it needs
            z = torch.empty(1, codec.vae.config.latent_channels, *self._latent)
            shown = torch.empty(self.num_frames, 3, self.height >> levels, self.width >> levels)

        def run() -> object:
            with codec.reduced(levels) if levels else nullcontext():
                return codec.encode(shown) if stage == "encode" else codec.decode(z)

        return _rise(run, [codec.vae.decoder, codec.vae.encoder])

    @property
    def _latent(self) -> tuple[int, int, int]:
        return (self.num_frames - 1) // GROUP + 1, self.height // 8, self.width // 8

    def _text(self) -> int:
        """Both encoders are loaded together and run one after the other."""
        with meta(_dtype(self.model.text_dtype or self.model.dtype)):
            passes = [text_pass(self.model.architecture(), part) for part in ENCODER_TOKENS]
        return sum(_weights(encoder) for encoder, _ in passes) + max(_rise(run) for _, run in passes)

    def _dit(self) -> tuple[int, int, int]:
        """Bytes of the DiT's weights on the device between passes and during one, and what a pass needs beside."""
        with meta(_dtype(self.model.dtype)):
            dit, run = dit_pass(self.model.architecture(), self._latent)
            execution = replace(self.model.execution, offload="none", attention="native", compile=None)
            execution.apply(dit, _dtype(self.model.dtype), DEVICE)
        blocks = blocks_of(dit)
        weights, of_blocks = _weights(dit), [_weights(block) for block in blocks]
        rise = _rise(run, blocks)
        if self.model.execution.offload == "none":
            return weights, weights, rise
        waiting = weights - sum(of_blocks)
        return waiting, waiting + 2 * max(of_blocks), rise  # a block at work, and the next one on its way

    def _codec(self) -> HunyuanVideoCodec:
        with meta(_dtype(self.model.vae_dtype or self.model.dtype)):
            return codec_of(self.model.architecture(), self.model.tiling)

    def _similarity(self) -> int:
        with meta():
            shown = torch.empty(self.num_frames, 3, self.height >> self.levels, self.width >> self.levels)
        return _rise(lambda: ssim_at_lags((shown / 2 + 0.5).clamp(0, 1), torch.float32))

    def _rife(self) -> int:
        with meta():
            network = IFNet().eval()
            sides = (side + -side % MULTIPLE for side in (self.height, self.width))
            before, after = torch.empty(2, 1, 3, *sides)
        return _weights(network) + _rise(lambda: network(before, after, 0.5))


def _dtype(name: str) -> torch.dtype:
    return getattr(torch, name)


def _weights(module: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))


def _rise(run: Callable[[], object], repeated: Iterable[nn.Module] = ()) -> int:
    """How many bytes `run` needs at most beside what is there, its result among them."""
    with meta(), LiveBytes() as live, live.each_once(repeated):
        run()
    return live.peak
