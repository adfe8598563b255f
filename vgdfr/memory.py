"""Peak memory of every stage of a model, counted on the meta device. It needs neither weights nor a GPU.

Every stage runs its real code on tensors that have a shape and no content. A dispatch mode sees when each tensor is
made and when nothing refers to it any more. Waste of the allocator and CUDA's own 0.5 GB or so come on top.
"""

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from vgdfr.backbones.base import Model
from vgdfr.backbones.checkpoint import compression_of
from vgdfr.backbones.hunyuan_dit import blocks_of
from vgdfr.backbones.hunyuan_vae import HunyuanVideoCodec, replaced_forward
from vgdfr.backbones.hunyuan_video import HunyuanVideo
from vgdfr.methods.rife import MULTIPLE, IFNet
from vgdfr.methods.similarity import ssim_at_lags
from vgdfr.on_meta import DEVICE, ENCODER_TOKENS, codec_of, dit_pass, meta, text_pass


class LiveBytes(TorchDispatchMode):
    """Counts bytes of the tensors that are made in the block: `live` exist now, `peak` existed at most.

    While a convolution in half precision runs, a copy of its input and a copy of its output count too, since cuDNN
    converts the layout of both. In float32 the larger copy counts, as oneDNN makes it; cuDNN makes none there.
    Attention counts as a fused kernel, which holds no scores.
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
            self._follow(tensor, is_new=False)  # a view of a weight takes no memory
        before = self.live
        out = func(*args, **(kwargs or {}))
        for tensor in _tensors(out):
            self._follow(tensor, is_new=True)
        if func is torch.ops.aten.convolution.default:
            copies = (sum if out.itemsize == 2 else max)([args[0].nbytes, out.nbytes])
            self.peak = max(self.peak, before + out.nbytes + copies)
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
    def equal_modules_once(self, modules: Iterable[nn.Module]) -> Iterator[None]:
        """Within the block, equal `modules` that see equal shapes run once. Its rise stands for the others."""
        with ExitStack() as restore:
            for module in modules:
                restore.enter_context(replaced_forward(module, self._remembered(module, module.forward)))
            yield

    def _remembered(self, module: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
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
    """The shape and dtype of a tensor, without the tensor."""

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
    """Peak bytes on the device in each stage of `model`, for videos of `num_frames` frames of `height` x `width`.

    The text stage counts the text encoders alone. Every other stage counts the weights of DiT and VAE, and the preview
    and decoded float frames of the latest sample, which stay for other samples of the prompt. `levels` are the spatial
    levels that the compression module leaves out. No frames merge here, because that is the most a stage can need. The
    latents after the shared steps, some tens of megabytes at 540P, are left out.
    """

    model: HunyuanVideo
    height: int
    width: int
    num_frames: int
    levels: int = 1

    def stages(self, rife: bool = True, lengthens: bool = False) -> dict[str, int]:
        """Returns peak bytes by stage, in a sample's order.

        The stage `interpolate` is there only with `rife`, and the stage `lengthen`, which encodes the video before
        steps on the full length, only with `lengthens`. There the decoded kept frames stay alive with the filled video.
        RIFE and the decoder in that stage need no more than later.
        """
        idle, at_work, rise = self._dit()
        preview = 4 * 3 * self.num_frames * (self.height >> self.levels) * (self.width >> self.levels)
        frames = 4 * 3 * self.num_frames * self.height * self.width
        resident = _weights(self._codec().vae) + preview + frames
        stages = {
            "text": self._text(),
            "denoise": resident + at_work + rise,
            "preview": resident + idle + self.rise_of("preview"),
            "similarity": resident + idle + self._similarity(),
            "encode": resident + idle + self.rise_of("encode"),
            **({"lengthen": resident + idle + 2 * frames + self.rise_of("lengthen")} if lengthens else {}),
            "decode": resident + idle + self.rise_of("decode"),
        }
        if rife:
            stages["interpolate"] = resident + idle + self._rife()
        return stages

    def rise_of(self, stage: Literal["preview", "encode", "lengthen", "decode"]) -> int:
        """Returns the peak bytes of a VAE stage without its weights and input, and with its result."""
        codec, levels = self._codec(), 0 if stage in ("lengthen", "decode") else self.levels
        with meta():  # latents and frames are float32; the VAE converts them to its own dtype
            z = torch.empty(1, codec.vae.config.latent_channels, *self._latent)
            shown = torch.empty(self.num_frames, 3, self.height >> levels, self.width >> levels)

        def run() -> object:
            with codec.reduced(levels) if levels else nullcontext():
                return codec.encode(shown) if stage in ("encode", "lengthen") else codec.decode(z)

        return _rise(run, [codec.vae.decoder, codec.vae.encoder])

    @property
    def _latent(self) -> tuple[int, int, int]:
        time, space = compression_of(self.model.configuration())
        return (self.num_frames - 1) // time + 1, self.height // space, self.width // space

    def _text(self) -> int:
        """Returns the bytes of both encoders, which are loaded together, and of the larger of their passes."""
        with meta(_dtype(self.model.text_dtype or self.model.dtype)):
            passes = [text_pass(self.model.configuration(), part) for part in ENCODER_TOKENS]
        return sum(_weights(encoder) for encoder, _ in passes) + max(_rise(run) for _, run in passes)

    def _dit(self) -> tuple[int, int, int]:
        """Returns bytes: the DiT's weights on the device between passes and in a pass, and the tensors of a pass."""
        with meta(_dtype(self.model.dtype)):
            dit, run = dit_pass(self.model.configuration(), self._latent)
            execution = replace(self.model.execution, offload="none", attention="native", compile=None)
            execution.apply(dit, _dtype(self.model.dtype), DEVICE)
        blocks = blocks_of(dit)
        weights, of_blocks = _weights(dit), [_weights(block) for block in blocks]
        rise = _rise(run, blocks)
        if self.model.execution.offload == "none":
            return weights, weights, rise
        waiting = weights - sum(of_blocks)
        return waiting, waiting + 2 * max(of_blocks), rise  # one block computes while the next one arrives

    def _codec(self) -> HunyuanVideoCodec:
        with meta(_dtype(self.model.vae_dtype or self.model.dtype)):
            return codec_of(self.model.configuration(), self.model.tiling)

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


def memory_of(model: Model, height: int, width: int, num_frames: int, levels: int = 1) -> Memory | None:
    """Returns the peak memory of a model's stages, or None if its configuration is not enough to build the model."""
    if not model.known_on_meta:
        return None
    return Memory(cast(HunyuanVideo, model), height, width, num_frames, levels)


def _dtype(name: str) -> torch.dtype:
    return getattr(torch, name)


def _weights(module: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))


def _rise(run: Callable[[], object], repeated: Iterable[nn.Module] = ()) -> int:
    """Returns the peak bytes of the tensors that `run` makes, its result included."""
    with meta(), LiveBytes() as live, live.equal_modules_once(repeated):
        run()
    return live.peak
