"""The execution of a DiT on a machine: memory, precision of stored weights, attention kernel and compilation."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch

Offload = Literal["none", "blocks"]
Quantization = Literal["none", "float8"]
NATIVE = "native"  # PyTorch's own kernel runs everywhere; the others need `kernels`, which imports diffusers
ON_CPU = (NATIVE, "_native_math", "flex")
HALF_ONLY = ("flash", "_flash", "sage", "_sage", "_native_flash", "_native_cudnn", "aiter")


@dataclass(frozen=True, slots=True)
class Execution:
    """Settings of a DiT's execution. All of them are in a sample's key, since they decide its pixels or its latency.

    offload: "blocks" keeps the DiT in main memory and copies the next block to the GPU while one computes. The result
        is the same to the bit.
    quantization: "float8" stores the blocks' weights as float8_e4m3fn, except norms and modulation, and computes in the
        model's dtype. It takes about 0.64 of bfloat16's bytes.
    attention: diffusers' name of the attention kernel, such as "native", "_native_cudnn", "flash", "sage".
    compile: a torch.compile backend for the DiT's blocks, such as "inductor", or "eager" to capture graphs only. None
        does not compile.
    """

    offload: Offload = "none"
    quantization: Quantization = "none"
    attention: str = NATIVE
    compile: str | None = None

    def check_settings(self) -> None:
        """Raises ValueError for an unknown name and for settings that exclude each other, on any machine."""
        for name, allowed in (
            ("offload", get_args(Offload)), ("quantization", get_args(Quantization)), ("attention", self._kernels()),
            ("compile", (None, "eager", *(torch.compiler.list_backends() if self.compile else ()))),
        ):  # fmt: skip
            if getattr(self, name) not in allowed:
                known = ", ".join("null" if value is None else value for value in allowed)
                raise ValueError(f"execution.{name} must be one of {known}, got {getattr(self, name)!r}")
        if self.compile and (self.offload, self.quantization) != ("none", "none"):
            raise ValueError("execution.compile goes with neither offload nor quantization: their hooks do not compile")

    def _kernels(self) -> tuple[str, ...]:
        """Returns the names of the known attention kernels, or the native kernel alone if it is chosen."""
        if self.attention == NATIVE:
            return (NATIVE,)
        from vgdfr.backbones.kernels import ATTENTION

        return ATTENTION

    def check(self, device: torch.device, dtype: torch.dtype) -> None:
        """Raises ValueError as `check_settings` does, and for a kernel that cannot run on this machine."""
        self.check_settings()
        if self.attention != NATIVE:
            from vgdfr.backbones.kernels import refuse_unusable

            refuse_unusable(self.attention)
        if device.type == "cpu" and self.attention not in ON_CPU:
            raise ValueError(f"execution.attention={self.attention} needs a GPU; a CPU has {', '.join(ON_CPU)}")
        if self.attention.startswith(HALF_ONLY) and dtype == torch.float32:
            raise ValueError(f"execution.attention={self.attention} needs dtype bfloat16 or float16, got float32")

    def apply(self, dit: Any, dtype: torch.dtype, device: torch.device) -> None:
        """Moves a diffusers DiT, which was loaded in `dtype` on the CPU, to `device` with these settings."""
        from vgdfr.backbones.kernels import choose_attention

        if self.quantization == "float8":
            kept = (*(dit._skip_layerwise_casting_patterns or ()), "time_text_embed")
            dit.enable_layerwise_casting(torch.float8_e4m3fn, compute_dtype=dtype, skip_modules_pattern=kept)
        if self.offload == "blocks":
            dit.enable_group_offload(device, num_blocks_per_group=1, use_stream=device.type == "cuda")
        else:
            dit.to(device)
        choose_attention(dit, self.attention)
        if self.compile:
            # One graph serves every number of tokens. A failure to compile is an error, since the fallback would be
            # slow code unasked. Hooks decide the result (DyRoPE), so a graph is right only for the hooks it saw.
            torch._dynamo.config.fail_on_recompile_limit_hit = True
            torch._dynamo.config.skip_nnmodule_hook_guards = False
            torch._dynamo.config.recompile_limit = 64
            dit.compile_repeated_blocks(backend=self.compile, fullgraph=True, dynamic=True)
