"""Facts of a model that methods, schedules and checks need. They are known without its weights."""

from dataclasses import dataclass

from vgdfr.video import VideoSpec, nearest


@dataclass(frozen=True)
class Architecture:
    """Facts that a model's configuration states.

    num_layers: all DiT layers, dual-stream and single-stream.
    num_dual_layers: dual-stream layers, which come first; 0 if all layers are equal.
    frames_per_latent: video frames per latent frame of the VAE. The first frame has a latent frame of its own.
    num_spatial_levels: the number of times that the VAE halves height and width.
    patch_size: latent pixels per token, in height and in width.
    latent_channels: channels of a latent.
    forwards_per_step: forwards of the DiT in one evaluation of the velocity; 2 with classifier-free guidance. A cache
        that keeps one state for both must refuse that (`Accelerator.check`).
    """

    num_layers: int
    frames_per_latent: int
    num_spatial_levels: int
    patch_size: int
    latent_channels: int
    num_dual_layers: int = 0
    forwards_per_step: int = 1

    def num_latents(self, num_frames: int) -> int:
        """Returns the number of latent frames of a video with `num_frames` frames."""
        return (num_frames - 1) // self.frames_per_latent + 1

    def latent_shape(self, spec: VideoSpec) -> tuple[int, int, int, int, int]:
        """Returns the shape of the uncompressed latents of `spec`: batch, channels, frames, height, width."""
        space = 2**self.num_spatial_levels
        size = (spec.height // space, spec.width // space)
        return 1, self.latent_channels, self.num_latents(spec.num_frames), *size

    def check(self, spec: VideoSpec) -> None:
        """Raises ValueError if the model makes no video of this size or length."""
        multiple, group = 2**self.num_spatial_levels * self.patch_size, self.frames_per_latent
        for name in ("height", "width"):
            value = getattr(spec, name)
            if value % multiple:
                around = nearest(value, multiple, 0)
                raise ValueError(f"{name} must be divisible by {multiple}, got {value}; nearest are {around}")
        if spec.num_frames % group != 1 % group:
            around = nearest(spec.num_frames, group, 1)
            raise ValueError(f"num_frames must be {group}n+1 for this VAE, got {spec.num_frames}; nearest are {around}")
