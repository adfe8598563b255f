"""The settings of HunyuanVideo: the 13B model, the embedded model, and checkpoints of the same format.

Checks need PyTorch alone. diffusers and transformers are imported where the model, its VAE or its text encoders are
made, and for FLOPs.
"""

import json
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

from vgdfr.architecture import Architecture
from vgdfr.backbones.base import class_of
from vgdfr.backbones.checkpoint import Checkpoint, architecture_of, check_parts, dit_sha256, weights_sha256
from vgdfr.backbones.execution import Execution
from vgdfr.backbones.tiling import Tiling
from vgdfr.backbones.tokenizer import check_tokenizer, tokenizer_was_misread

if TYPE_CHECKING:
    from vgdfr.backbones.hunyuan_backbone import HunyuanVideoBackbone
    from vgdfr.backbones.hunyuan_vae import HunyuanVideoCodec
    from vgdfr.backbones.text import TextEncoding
    from vgdfr.flops import Flops


@dataclass(frozen=True)
class HunyuanVideo(Checkpoint):
    """Settings of a HunyuanVideoPipeline's checkpoint and of its execution. `load` makes the backbone.

    tiling: the VAE's tiles. `Checkpoint` explains the other settings.
    """

    known_on_meta: ClassVar[bool] = True

    tiling: Tiling = Tiling()

    def check_files(self) -> None:
        """Raises FileNotFoundError for a missing part of the checkpoint.

        Raises ValueError for weights that are cut short, and for a tokenizer that does not fit the prompt template.
        """
        folder = self.folder()
        check_parts(folder)
        check_tokenizer(folder)

    def architecture(self) -> Architecture:
        """Returns the model's facts from its configuration alone. Raises FileNotFoundError if that is missing."""
        configuration = self.configuration()
        return architecture_of(configuration["transformer"], configuration["vae"])

    def identity(self, device_type: str | None = None) -> dict[str, Any]:
        """Returns all facts of the model that decide pixels on a device of the given type, for a sample's key.

        The entries "vae_attention", "tokenizer" and "float32" are there only for models that got other pixels in
        version 0.1.0 of this project. The entry "class" is there only for a class from outside this package.
        """
        device_type = device_type or self.device_type
        identity: dict[str, Any] = {
            "weights_sha256": weights_sha256(self.folder()),
            "dtype": self.dtype,
            "device_type": device_type,
            "tiling": asdict(self.tiling),
            "execution": asdict(self.execution),
        }
        for name in ("vae_dtype", "text_dtype"):
            if getattr(self, name) is not None:
                identity[name] = getattr(self, name)
        if self.configuration()["vae"].get("mid_block_add_attention", True):
            identity["vae_attention"] = "by_frame"
        if tokenizer_was_misread(self.folder()):
            identity["tokenizer"] = "tokenizer.json"
        if device_type != "cpu":
            identity["float32"] = "ieee"
        return identity | self._own_class()

    def dit_weights(self) -> str:
        """Returns the hash of the DiT's files; a class from outside this package adds itself and its own fields."""
        name, own = f"sha256:{dit_sha256(self.path, self.revision)}", self._own_class()
        return f"{name} {json.dumps(own, sort_keys=True)}" if own else name

    def _own_class(self) -> dict[str, Any]:
        """Returns the identity's entry "class", with the fields that only the own class of a user has."""
        if own := class_of(self):
            known = {f.name for f in fields(HunyuanVideo)}
            own["class"] |= {f.name: repr(getattr(self, f.name)) for f in fields(self) if f.name not in known}
        return own

    def loaded_from(self) -> dict[str, Any]:
        """Returns path, revision and device; a class that derives from this one also gives its path and its fields."""
        if type(self) is not HunyuanVideo:
            return super().loaded_from()
        return {name: getattr(self, name) for name in ("path", "revision", "device")}

    @classmethod
    def restored(cls, checkpoint: dict[str, Any], identity: dict[str, Any]) -> "HunyuanVideo":
        place = {name: value for name, value in checkpoint.items() if name != "class"}
        return cls(**place | {
            "dtype": identity["dtype"],
            "vae_dtype": identity.get("vae_dtype"),
            "text_dtype": identity.get("text_dtype"),
            "tiling": Tiling(**identity["tiling"]),
            "execution": Execution(**identity["execution"]),
        })  # fmt: skip

    def text(self) -> "TextEncoding":
        """Returns the text encoders. After `text().embed(prompts)`, the DiT and the encoders need not share memory."""
        from vgdfr.backbones.text import TextEncoding

        return TextEncoding(self.folder(), self.torch_dtype("text"), self.torch_device)

    def load(self) -> "HunyuanVideoBackbone":
        """Returns the loaded DiT and VAE. All rows of a table run on this one loader's backbone."""
        from vgdfr.backbones.hunyuan_backbone import load_backbone

        codec = self.load_codec()
        backbone = load_backbone(self.folder(), codec, self.text(), self.torch_dtype(), self.execution)
        backbone.model = self
        return backbone

    def load_codec(self) -> "HunyuanVideoCodec":
        """Returns the VAE alone, exactly as `load` loads it. Raises as `check` does: the checkpoint must be whole."""
        from vgdfr.backbones.hunyuan_vae import load_codec

        self.check()
        return load_codec(self.folder(), self.torch_dtype("vae"), self.torch_device, self.tiling)

    def flops(self, height: int, width: int, num_frames: int, text_tokens: int | None = None) -> "Flops":
        """Returns the FLOPs of each stage for videos of the given size, from the configuration alone."""
        from vgdfr.flops import TEXT_TOKENS, Flops

        tokens = TEXT_TOKENS if text_tokens is None else text_tokens
        return Flops(self.configuration(), self.tiling, height, width, num_frames, tokens)


def hide_loading_bars() -> None:
    """Switches off the progress bars of diffusers and transformers, which would disturb a program's output."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    for library in (diffusers_logging, transformers_logging):
        library.disable_progress_bar()
