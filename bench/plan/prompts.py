"""The prompts of a study: captions of the embedded world, VBench's prompts, or the prompts of a file.

A file may have any form that `metrics.prompt_entries` reads. In a text file, blank lines and lines that begin with `#`
are ignored. A prompt that occurs twice is refused.
"""

import hashlib
import json
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from metrics.prompt_entries import entries
from vgdfr.assets import Asset, download
from vgdfr.files import cache_folder

# The worlds that models know: only captions of the embedded world, or any prompt.
EMBEDDED, OPEN = "embedded", "open"

# Fields of a prompt file that are refused: if they were ignored, other videos would be made than the file asks for.
SEED_FIELDS = ("seed", "seeds")
EMBEDDED_FILE = Path(__file__).parents[1] / "embedded" / "prompts.json"
# VBench's list of version 0.1.5. GitHub and the wheel hold the same file.
VBENCH_NAME = "VBench_full_info.json"
VBENCH_URL = f"https://raw.githubusercontent.com/Vchitect/VBench/master/vbench/{VBENCH_NAME}"
VBENCH_BYTES = 228_118
VBENCH_COUNT = 944  # distinct prompts: the list has some prompts twice
VBENCH_SHA256 = "5dd2de80ee43cda750b2b72ea7023657c0b90d3702041c7e4608c65dbe50dccd"


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt for one seed. `seed` is a hash of `id` and `seed_index`, so every prompt has its own noise.

    `dimensions` are the VBench dimensions that the prompt tests.
    """

    id: str
    text: str
    seed_index: int
    dimensions: tuple[str, ...] = ()

    @property
    def seed(self) -> int:
        return int.from_bytes(hashlib.sha256(f"{self.id}:{self.seed_index}".encode()).digest()[:4])


@dataclass(frozen=True, slots=True)
class Prompts:
    """The prompts to run. `source` is "embedded" or the path of a file, see `from_file`.

    The first `skip` prompts are left out. Of the others the first `limit` are run, or all if it is None.
    """

    source: str
    limit: int | None = None
    seeds: Sequence[int] = (0,)
    skip: int = 0

    @property
    def world(self) -> str | None:
        """The world that the prompts belong to, or None for prompts from a file, which belong to every world."""
        return EMBEDDED if self.source == EMBEDDED else None

    def load(self) -> list[Prompt]:
        """Returns the prompts. Raises ValueError if there is none, and FileNotFoundError if the file is missing."""
        entries = embedded() if self.source == EMBEDDED else from_file(Path(self.source))
        return _chosen([Prompt(id, text, 0) for id, text in entries], self.skip, self.limit, self.seeds, self.source)

    def missing(self) -> list[Asset]:
        """Returns an empty list, because these prompts need no download."""
        return []

    def unused_fields(self) -> list[str]:
        """Returns the fields (columns) of the file that a sweep ignores: all but the prompt."""
        if self.source == EMBEDDED:
            return []
        return list(dict.fromkeys(name for entry in entries(Path(self.source), named=False) for name in entry.others))


@dataclass(frozen=True, slots=True)
class VBenchPrompts:
    """VBench's 944 prompts (Huang et al. 2024), or only the prompts for any of `dimensions`.

    path: a VBench_full_info.json or the vbench wheel, which is not unpacked. None means the file that `bench.prefetch`
        downloads.
    subset: the number of prompts to draw evenly with `subset_seed`, kept in VBench's order. None takes all.
    skip, limit: the number of prompts to leave out at the beginning of the result, and the number to take from there.
        A `limit` of None takes all.
    """

    path: str | None = None
    dimensions: Sequence[str] | None = None
    subset: int | None = None
    subset_seed: int = 0
    limit: int | None = None
    seeds: Sequence[int] = (0,)
    skip: int = 0

    @property
    def world(self) -> str:
        """The open world: only a model that knows any prompt can run these prompts."""
        return OPEN

    @property
    def file(self) -> Path:
        return Path(self.path) if self.path else cache_folder() / "prompts" / VBENCH_NAME

    def missing(self) -> list[Asset]:
        """Returns the list if no path is given and the list has not been downloaded yet, or else nothing."""
        if self.path or self.file.is_file():
            return []
        return [Asset("VBench's prompts", VBENCH_URL, VBENCH_BYTES, partial(_fetch, self.file))]

    def load(self) -> list[Prompt]:
        """Returns the prompts. Raises ValueError for a wrong list, an unknown dimension or no prompt.

        Raises FileNotFoundError if the list is missing.
        """
        prompts = vbench(self.file)
        if self.dimensions is not None:
            there = sorted({d for prompt in prompts for d in prompt.dimensions})
            asked = [self.dimensions] if isinstance(self.dimensions, str) else self.dimensions
            unknown = sorted(set(asked) - set(there))
            if unknown or isinstance(self.dimensions, str):
                what = f"unknown {unknown}" if unknown else f"the text {self.dimensions!r}"
                raise ValueError(f"prompts.dimensions must be a list of {', '.join(there)}; got {what}")
            prompts = [p for p in prompts if set(p.dimensions) & set(self.dimensions)]
        if self.subset is not None:
            if not 1 <= self.subset <= len(prompts):
                raise ValueError(f"prompts.subset must be between 1 and {len(prompts)}, got {self.subset}")
            order = np.random.default_rng(self.subset_seed).permutation(len(prompts))[: self.subset]
            prompts = [prompts[i] for i in sorted(order)]
        return _chosen(prompts, self.skip, self.limit, self.seeds, str(self.file))


def _chosen(prompts: Sequence[Prompt], skip: int, limit: int | None, seeds: Sequence[int], source: str) -> list[Prompt]:
    """Returns the first `limit` prompts after the first `skip`, each with every seed.

    Raises ValueError for wrong settings or no prompt.
    """
    if isinstance(seeds, str) or not isinstance(seeds, Sequence) or not seeds:
        raise ValueError(f"prompts.seeds must be a list of numbers such as [0], got {seeds!r}")
    if not all(isinstance(seed, int) and seed >= 0 for seed in seeds):
        raise ValueError(f"prompts.seeds must hold whole numbers from 0, got {list(seeds)}")
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"prompts.seeds must hold each number once, got {list(seeds)}")
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise ValueError(f"prompts.limit must be at least 1, or null for all, got {limit}")
    if not prompts:
        raise ValueError(
            f"no prompt in {source}: expected one a line; lines that begin with # are left out (or a JSON list, JSONL, "
            "or a CSV or TSV with a prompt column, with the suffix that says so)"
        )
    check_skip(skip, len(prompts), source)
    taken = prompts[skip:] if limit is None else prompts[skip : skip + limit]
    return [Prompt(p.id, p.text, seed, p.dimensions) for p in taken for seed in seeds]


def check_skip(skip: int, count: int, source: str) -> None:
    """Raises ValueError if `skip` is no whole number from 0, or leaves out all `count` prompts of `source`."""
    if type(skip) is not int or skip < 0:
        raise ValueError(f"prompts.skip must be a whole number from 0, got {skip!r}")
    if skip >= count:
        raise ValueError(f"prompts.skip must be below {count}, the number of prompts in {source}, got {skip}; "
                         "take a smaller one, or more prompts")  # fmt: skip


def embedded() -> list[tuple[str, str]]:
    """Returns (id, caption) of each prompt of the embedded world.

    The model was not trained on these combinations. The speed profiles take turns.
    """
    return [(entry["id"], entry["text"]) for entry in json.loads(EMBEDDED_FILE.read_text(encoding="utf-8"))]


def from_file(path: Path) -> list[tuple[str, str]]:
    """Returns (id, prompt) of each entry, read by the rule of `metrics.prompt_entries`.

    An id depends on the prompt's text alone, not on the order, the form of the file, or other fields. Raises ValueError
    that names the line of a repeated prompt, of a prompt that cannot be read, or of a field `seed`, which a sweep would
    not follow.
    """
    if not path.is_file():
        raise FileNotFoundError(f'prompts.source must be "embedded" or a file of prompts, got {path}, which is no file')
    seen: dict[str, int] = {}
    for entry in entries(path, named=False):
        where = f"{path}, line {entry.line}"
        if seeded := [field for field in entry.others if field.strip().lower() in SEED_FIELDS]:
            raise ValueError(
                f"{where}: expected no field {seeded[0]}: a sample's noise follows from its prompt and "
                "prompts.seeds=[0,1], which are the seeds of every prompt; remove or rename the field"
            )
        if entry.prompt in seen:
            raise ValueError(
                f"{where}: the prompt of line {seen[entry.prompt]} again, {entry.prompt[:60]!r}; remove one of them, "
                "and for several videos of each prompt say prompts.seeds=[0,1]"
            )
        seen[entry.prompt] = entry.line
    return [(id_of(prompt), prompt) for prompt in seen]


def vbench(file: Path) -> list[Prompt]:
    """Returns VBench's prompts in its order. A prompt that VBench lists twice has the dimensions of both entries.

    Raises FileNotFoundError if the file is missing, and ValueError if its content is not that of version 0.1.5.
    """
    if not file.is_file():
        raise FileNotFoundError(
            f"prompts.path must be VBench's {VBENCH_NAME} or the vbench wheel, got {file}, which is no file"
        )
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as wheel:
            data = wheel.read(f"vbench/{VBENCH_NAME}") if f"vbench/{VBENCH_NAME}" in wheel.namelist() else b""
    else:
        data = file.read_bytes()
    if (digest := hashlib.sha256(data).hexdigest()) != VBENCH_SHA256:
        raise ValueError(f"{file} must hold the {VBENCH_NAME} of VBench 0.1.5 (sha256 {VBENCH_SHA256[:12]}...), "
                         f"got {digest[:12]}...")  # fmt: skip
    dimensions: dict[str, list[str]] = {}
    for entry in json.loads(data):
        dimensions.setdefault(entry["prompt_en"], []).extend(entry["dimension"])
    return [Prompt(id_of(text), text, 0, tuple(sorted(set(of)))) for text, of in dimensions.items()]


def id_of(text: str) -> str:
    """Returns a name for files: the prompt's first words, and a hash of the prompt that makes the name unique."""
    words = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:32].strip("-")
    return f"{words}-{hashlib.sha256(text.encode()).hexdigest()[:8]}".lstrip("-")


def _fetch(file: Path) -> Path:
    download(VBENCH_URL, file, VBENCH_BYTES, VBENCH_SHA256)
    return file
