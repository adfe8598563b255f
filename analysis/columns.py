"""The columns that tables and figures have."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Column:
    """A metric's or a measurement's column; `better` is 1 where high is good, -1 where low is, 0 for neither.

    A column of a study scored by the embedded judge says so in its title, and may need more digits.
    """

    name: str
    title: str
    digits: int
    better: int
    group: str
    missing: str = ""
    judge_digits: int | None = None

    @property
    def embedded(self) -> "Column":
        digits = self.judge_digits or self.digits
        return replace(self, name=f"{self.name}_embedded", title=f"{self.title}{EMBEDDED}", digits=digits)


# The paper's columns in the paper's order and groups, and after them the project's own.
COLUMNS = (
    Column("clip_temp", "CLIPT", 4, 1, "Video Quality", "a CLIP model"),
    Column("clipsim", "CLIPSIM", 4, 1, "Video Quality", "a CLIP model"),
    Column("vqa", "VQA", 2, 1, "Video Quality", "a video quality model"),
    Column("flicker", "FLICKER", 4, 1, "Video Quality"),
    Column("motion", "Motion", 3, 0, "Video Quality"),  # a frozen video does not flicker
    Column("psnr", "PSNR", 2, 1, "Difference"),
    Column("ssim", "SSIM", 3, 1, "Difference"),
    Column("lpips", "LPIPS", 3, -1, "Difference", "a perceptual network", judge_digits=4),
    Column("cosine", "Cosine", 3, 1, "Difference"),
    Column("latency_s", "Latency (s)", 2, -1, "Efficiency"),
    Column("speedup", "Speedup", 2, 1, "Efficiency"),
    Column("token_ratio", "Tokens", 2, 0, "Efficiency"),
)
EMBEDDED = "†"
