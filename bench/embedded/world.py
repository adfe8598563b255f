"""The embedded world: short procedural videos of one coloured shape over a textured background, with captions.

Everything is a function of the attributes and a seed, so the number of videos is unlimited and no files are needed. The
shape moves on a torus: it leaves at one side and returns at the other. So a direction keeps its meaning at any speed.
"""

import hashlib
from collections.abc import Iterator, Set
from dataclasses import asdict, dataclass
from itertools import product

import numpy as np
from jaxtyping import Float, UInt8

SIZE = 64
NUM_FRAMES = 65
FPS = 12

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (225, 45, 40),
    "green": (50, 190, 70),
    "blue": (55, 95, 235),
    "yellow": (245, 215, 50),
    "purple": (165, 60, 205),
    "white": (240, 240, 240),
}
SHAPES = ("circle", "square", "triangle", "cross")
BACKGROUNDS = ("grass", "sand", "water", "clay", "night sky")
DIRECTIONS: dict[str, tuple[int, int]] = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
SPEEDS = ("still", "slow", "fast", "accelerating", "stopping")

SLOW, FAST = 0.4, 3.5  # pixels per frame


@dataclass(frozen=True, slots=True)
class Attributes:
    """The content of a caption. `direction` is None exactly if the shape stays still."""

    colour: str
    shape: str
    background: str
    speed: str
    direction: str | None

    def __post_init__(self) -> None:
        allowed = {"colour": COLOURS, "shape": SHAPES, "background": BACKGROUNDS, "speed": SPEEDS}
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise ValueError(f"{name} must be one of {', '.join(values)}, got {getattr(self, name)!r}")
        if (self.speed == "still") != (self.direction is None) or self.direction not in (None, *DIRECTIONS):
            raise ValueError(f"direction {self.direction!r} does not fit speed {self.speed!r}")

    @property
    def caption(self) -> str:
        return self.describe({"colour", "motion", "background"})

    def describe(self, told: Set[str]) -> str:
        """Returns a caption with the shape and with the parts in `told`: colour, motion and background."""
        motion = {
            "still": "stays still",
            "slow": f"moves slowly {_towards(self.direction)}",
            "fast": f"moves fast {_towards(self.direction)}",
            "accelerating": f"starts slow then speeds up {_towards(self.direction)}",
            "stopping": f"moves fast {_towards(self.direction)} then stops",
        }[self.speed]
        words = {"colour": self.colour, "shape": self.shape, "motion": motion, "background": f"over {self.background}"}
        return " ".join(["a", *(text for part, text in words.items() if part == "shape" or part in told)])

    @property
    def held_out(self) -> bool:
        """Whether the combination of colour, shape and background is held out of training, as one in six is.

        The default prompts come from the held-out combinations.
        """
        indices = (list(COLOURS).index(self.colour), SHAPES.index(self.shape), BACKGROUNDS.index(self.background))
        return sum(indices) % 6 == 0


@dataclass(frozen=True, slots=True)
class Clip:
    """One video of the world: `frames` in uint8 RGB at `FPS`, the shape's `mask` (0 to 255), and its attributes."""

    frames: UInt8[np.ndarray, "t h w 3"]
    mask: UInt8[np.ndarray, "t h w"]
    attributes: Attributes

    @property
    def caption(self) -> str:
        return self.attributes.caption


def all_attributes() -> Iterator[Attributes]:
    """Yields every combination, in a fixed order."""
    for colour, shape, background, speed in product(COLOURS, SHAPES, BACKGROUNDS, SPEEDS):
        for direction in (None,) if speed == "still" else DIRECTIONS:
            yield Attributes(colour, shape, background, speed, direction)


def sample_attributes(rng: np.random.Generator, held_out: bool = False) -> Attributes:
    """Returns attributes, each drawn uniformly, from the trained or the held-out combinations."""
    while True:
        speed = str(rng.choice(SPEEDS))
        drawn = Attributes(
            colour=str(rng.choice(list(COLOURS))),
            shape=str(rng.choice(SHAPES)),
            background=str(rng.choice(BACKGROUNDS)),
            speed=speed,
            direction=None if speed == "still" else str(rng.choice(list(DIRECTIONS))),
        )
        if drawn.held_out == held_out:
            return drawn


def training_clip(seed: int, held_out: bool = False) -> Clip:
    """Returns the clip with the number `seed` in the unlimited training (or held-out) stream."""
    return render(*training_scene(seed, held_out))


def training_scene(seed: int, held_out: bool = False) -> tuple[Attributes, int]:
    """Returns the attributes and the rendering seed of `training_clip`."""
    rng = np.random.default_rng([seed, int(held_out)])
    return sample_attributes(rng, held_out), int(rng.integers(2**31))


def render(attributes: Attributes, seed: int, num_frames: int = NUM_FRAMES, size: int = SIZE) -> Clip:
    """Returns a clip of `attributes`. The seed decides position, size and texture. Equal arguments give equal bytes."""
    text = "|".join(str(v) for v in asdict(attributes).values())
    rng = np.random.default_rng([seed, int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])])
    unit = size / 64
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / unit
    background = _background(attributes.background, x, y, rng)

    dx, dy = DIRECTIONS[attributes.direction] if attributes.direction else (0, 0)
    # the shape starts where the sides that it does not cross never cut it
    start = rng.uniform(20, 44, 2) + rng.uniform(-20, 20) * np.abs([dx, dy])
    travelled = _travelled(attributes.speed, num_frames, rng)
    radius = rng.uniform(12, 15)
    light = rng.uniform(0, 2 * np.pi)

    # position relative to the shape's centre, wrapped into [-32, 32)
    u = (x[None] - (start[0] + dx * travelled)[:, None, None] + 32) % 64 - 32
    v = (y[None] - (start[1] + dy * travelled)[:, None, None] + 32) % 64 - 32
    distance = _signed_distance(attributes.shape, u, v, radius)
    mask = np.clip(0.5 - distance * unit / 2, 0, 1)  # edges are two pixels (of 64) wide
    alpha = mask[..., None]
    shade = 0.88 + 0.12 * np.clip((np.cos(light) * u + np.sin(light) * v) / radius, -1, 1)
    fill = np.asarray(COLOURS[attributes.colour], np.float32) * shade[..., None]
    frames = background[None] * (1 - alpha) + fill * alpha
    return Clip(np.clip(frames + 0.5, 0, 255).astype(np.uint8), (255 * mask + 0.5).astype(np.uint8), attributes)


def _towards(direction: str | None) -> str:
    return {"left": "to the left", "right": "to the right", "up": "upwards", "down": "downwards", None: ""}[direction]


def _travelled(speed: str, num_frames: int, rng: np.random.Generator) -> Float[np.ndarray, " t"]:
    """Returns the distance from the first frame for each frame, in pixels (of 64)."""
    t = np.arange(num_frames) / (NUM_FRAMES - 1)
    jitter = rng.uniform(0.9, 1.1)
    if speed == "still":
        velocity = np.zeros(num_frames)
    elif speed in ("slow", "fast"):
        velocity = np.full(num_frames, SLOW if speed == "slow" else FAST)
    elif speed == "accelerating":
        velocity = SLOW / 2 + (1.2 * FAST - SLOW / 2) * np.clip((t - 0.35) / 0.4, 0, 1)
    else:
        velocity = FAST * np.clip((rng.uniform(0.4, 0.55) - t) / 0.08, 0, 1)
    return np.concatenate([[0.0], np.cumsum(velocity[1:])]) * jitter


def _signed_distance(
    shape: str, u: Float[np.ndarray, "t h w"], v: Float[np.ndarray, "t h w"], radius: float
) -> Float[np.ndarray, "t h w"]:
    """Returns each pixel's distance to the outline in pixels. It is negative inside the shape."""
    if shape == "circle":
        return np.hypot(u, v) - radius
    if shape == "square":
        return np.maximum(abs(u), abs(v)) - 0.86 * radius
    if shape == "triangle":  # points up, with the centroid at the origin
        return np.maximum(0.866 * abs(u) - 0.5 * v - 0.58 * radius, v - 0.58 * radius)
    arm = 0.38 * radius
    bar = lambda a, b: np.maximum(abs(a) - 1.05 * radius, abs(b) - arm)  # noqa: E731
    return np.minimum(bar(u, v), bar(v, u))


def _background(
    name: str, x: Float[np.ndarray, "h w"], y: Float[np.ndarray, "h w"], rng: np.random.Generator
) -> Float[np.ndarray, "h w 3"]:
    """Returns a still, smooth texture. Each background has its own palette, and the seed only moves the texture."""
    p, q = rng.uniform(0, 2 * np.pi, 2)
    if name == "grass":
        tone = 0.6 * np.sin(x * 0.26 + p) + 0.6 * np.sin(y * 0.26 + q)
        low, high = (18, 66, 26), (62, 128, 52)
    elif name == "sand":
        tone = np.sin((0.5 * x + y) * 0.26 + p)
        low, high = (158, 124, 78), (214, 186, 136)
    elif name == "water":
        tone = np.sin(y * 0.3 + 0.8 * np.sin(x * 0.1 + p) + q)
        low, high = (10, 58, 96), (64, 138, 168)
    elif name == "clay":
        tone = np.sin(x * 0.3 + 0.8 * np.sin(y * 0.12 + p) + q)
        low, high = (150, 120, 108), (104, 44, 34)
    else:  # night sky
        moon = rng.uniform(12, 52, 2)
        tone = 2 * np.exp(-(((x - moon[0]) ** 2 + (y - moon[1]) ** 2) / 90.0)) - 1 + 0.3 * np.sin(y * 0.1 + p)
        low, high = (8, 8, 32), (120, 120, 150)
    weight = np.clip(tone * 0.5 + 0.5, 0, 1)[..., None].astype(np.float32)
    return np.asarray(low, np.float32) * (1 - weight) + np.asarray(high, np.float32) * weight


def prompt_list(count: int = 65) -> list[dict[str, str]]:
    """Returns the default prompts, which are held-out scenes without repeated captions.

    The speed profiles take turns, and scenes and directions are evenly distributed.
    """
    scenes = sorted(
        {(a.colour, a.shape, a.background) for a in all_attributes() if a.held_out},
        key=lambda scene: hashlib.sha256("|".join(scene).encode()).digest(),
    )
    chosen = []
    for i in range(count):
        turn, kind = divmod(i, len(SPEEDS))
        scene = scenes[(turn + kind * len(scenes) // len(SPEEDS)) % len(scenes)]
        direction = list(DIRECTIONS)[(turn + kind) % len(DIRECTIONS)] if SPEEDS[kind] != "still" else None
        chosen.append(Attributes(*scene, SPEEDS[kind], direction))
    return [{"id": f"{i:02d}-{a.speed}", "text": a.caption} for i, a in enumerate(chosen)]
