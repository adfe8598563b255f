"""Prompts of a study: the embedded world's own, or a text file with one prompt a line."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

EMBEDDED_FILE = Path(__file__).parent / "embedded" / "prompts.json"


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt for one seed: `seed` comes from `id` and `seed_index`, so every prompt has noise of its own."""

    id: str
    text: str
    seed_index: int

    @property
    def seed(self) -> int:
        return int.from_bytes(hashlib.sha256(f"{self.id}:{self.seed_index}".encode()).digest()[:4])


@dataclass(frozen=True, slots=True)
class Prompts:
    """Which prompts to run: `source` is "embedded" or a text file's path; the first `limit` of them (None: all)."""

    source: str
    limit: int | None = None
    seeds: Sequence[int] = (0,)

    def load(self) -> list[Prompt]:
        """Raises ValueError when there is no prompt, FileNotFoundError when there is no such file."""
        if isinstance(self.seeds, str) or not isinstance(self.seeds, Sequence) or not self.seeds:
            raise ValueError(f"prompts.seeds must be a list of numbers such as [0], got {self.seeds!r}")
        if not all(isinstance(seed, int) and seed >= 0 for seed in self.seeds):
            raise ValueError(f"prompts.seeds must hold whole numbers from 0, got {list(self.seeds)}")
        entries = embedded() if self.source == "embedded" else from_file(Path(self.source))
        if self.limit is not None and (not isinstance(self.limit, int) or self.limit < 1):
            raise ValueError(f"prompts.limit must be at least 1, or null for all, got {self.limit}")
        if not entries:
            raise ValueError(f"no prompt in {self.source}: expected one prompt a line")
        return [Prompt(id, text, seed) for id, text in entries[: self.limit] for seed in self.seeds]


def embedded() -> list[tuple[str, str]]:
    """(id, caption) of the embedded world's prompts: combinations never trained on, speed profiles in turn."""
    return [(entry["id"], entry["text"]) for entry in json.loads(EMBEDDED_FILE.read_text())]


def from_file(path: Path) -> list[tuple[str, str]]:
    """(id, prompt) per line that is not blank; the id is a hash of the text, so it does not depend on the order."""
    if not path.is_file():
        raise FileNotFoundError(f'prompts.source must be "embedded" or a text file, got {path}, which is no file')
    lines = dict.fromkeys(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    return [(hashlib.sha256(line.encode()).hexdigest()[:12], line) for line in lines]
