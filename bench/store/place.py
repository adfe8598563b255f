"""The place of a sample on disk, and the names of a sample's files."""

from dataclasses import dataclass
from pathlib import Path

RECORD, SCORES, MASTER, PREVIEW = "record.json", "scores.json", "master.mkv", "preview.mp4"
LATENTS = "latents.safetensors"


@dataclass(frozen=True, slots=True)
class Place:
    """The folder of one sample: `study` is the study's folder, and `name` the sample's folder relative to `study`.

    A name is CONDITION/PROMPT-sSEED-KEY, such as "vgdfr-k5-theta0.7/00-still-s0-1a2b3c4d".
    """

    study: Path
    name: str

    def __str__(self) -> str:
        return self.name

    @property
    def folder(self) -> Path:
        return self.study / self.name

    @property
    def condition(self) -> str:
        """Returns the folder of the sample's condition, relative to the study."""
        return self.name.rpartition("/")[0]

    @property
    def claim(self) -> str:
        """Returns the name under which a process claims this sample alone."""
        return self.name.replace("/", "--")

    def file(self, name: str) -> Path:
        return self.folder / name
