"""The gallery's folder: page, script, style, data, and the videos if they are to be copied."""

import json
import os
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from analysis.gallery.data import PREVIEW, gallery_data
from analysis.output import write, writing
from analysis.study import StudyError
from analysis.table import Table

HERE = Path(__file__).parent
DATA, PAGE, VIDEOS = "data.js", "index.html", "videos"
ASSETS = ("gallery.js", "gallery.css")
BEGINS = '"use strict";\nconst GALLERY = '  # the start of data.js, which marks a folder as a gallery


def write_gallery(table: Table, out: Path, copy: bool = False) -> Path:
    """Writes the gallery of `table` into `out` and returns the page to open.

    Replaces an earlier gallery, also an interrupted one, and removes the videos that it copied and that are no longer
    needed. The study does not change. With `copy` the videos are copied, too. Raises StudyError if `out` holds
    something else than a gallery, and CannotWrite if the gallery cannot be written there.
    """
    out = out.resolve()
    if out.exists() and not out.is_dir():
        raise StudyError(f"{out} is a file; --out must be a folder that is empty, new or a gallery")
    before = _copies(out)

    def copied(folder: Path) -> Path:
        return out / VIDEOS / folder.parent.name / f"{folder.name}.mp4"

    def source(folder: Path) -> str | None:
        file = (folder / PREVIEW).resolve()
        if not file.is_file():
            return None
        return _link(copied(folder) if copy else file, out)

    document = gallery_data(table, source)
    texts = {name: (HERE / name).read_text(encoding="utf-8") for name in ASSETS}
    texts |= {DATA: script(document), PAGE: page(document)}
    done = [Path(folder) for folder in table.samples["folder"] if copy and (Path(folder) / PREVIEW).is_file()]
    kept = {copied(folder) for folder in done}
    # names the old and the new copies until all is done, so that a run after an interruption knows its own files
    begun = {"prompts": [], "copies": sorted(_link(f, out) for f in before | kept)}
    write(out / DATA, script(begun))
    for folder in done:
        _put(folder / PREVIEW, copied(folder))
    for file in before:
        _partial(file).unlink(missing_ok=True)
        if file not in kept:
            file.unlink(missing_ok=True)
    for name, text in texts.items():
        write(out / name, text)
    return out / PAGE


def _copies(out: Path) -> set[Path]:
    """Returns the videos that the gallery in `out` copied. Raises StudyError for a folder that holds something else."""
    if not out.is_dir() or not any(out.iterdir()):
        return set()
    data = out / DATA
    try:
        text = data.read_text(encoding="utf-8") if _begins(data) else "null"
        document = json.loads(text.removeprefix(BEGINS).rstrip(";\n"))
    except ValueError:
        document = None
    if not isinstance(document, dict) or "prompts" not in document:
        raise StudyError(f"{out} holds something that is no gallery; --out must be a folder that is empty, new or one")
    samples = [sample for prompt in document["prompts"] for sample in prompt["samples"] if sample]
    named = [*document.get("copies", ()), *(sample["video"] for sample in samples if "video" in sample)]
    return {out / own for name in named if (own := _unquoted(name)).startswith(f"{VIDEOS}/") and ".." not in own}


def _begins(data: Path) -> bool:
    if not data.is_file():
        return False
    with data.open("rb") as file:
        return file.read(len(BEGINS)) == BEGINS.encode()


def script(document: dict[str, Any]) -> str:
    """Returns the document as a script. No text in it can end a script element or a line of JavaScript."""
    text = json.dumps(document, allow_nan=False, ensure_ascii=True, separators=(",", ":"))
    text = text.replace("<", "\\u003c")
    return f"{BEGINS}{text};\n"


def page(document: dict[str, Any]) -> str:
    """Returns the HTML with every text escaped."""
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    samples = [sample for prompt in document["prompts"] for sample in prompt["samples"] if sample]
    return environment.get_template(PAGE).render(
        study=document["study"],
        models=", ".join(document["models"]),
        mixture=document["mixture"],
        conditions=len(document["conditions"]),
        prompts=len(document["prompts"]),
        videos=sum("video" in sample for sample in samples),
        failed=sum("failed" in sample for sample in samples),
        embedded=any(column["title"].endswith("†") for column in document["columns"]),
    )


def _link(file: Path, folder: Path) -> str:
    """Returns the URL of `file` relative to a page in `folder`. It is made of the name's bytes, in any locale."""
    return quote(os.fsencode(os.path.relpath(file, folder).replace(os.sep, "/")))


def _unquoted(link: str) -> str:
    return os.fsdecode(unquote_to_bytes(link))


def _put(file: Path, to: Path) -> None:
    """Copies a file. The copy is complete or missing."""
    with file.open("rb"), writing(to.parent):  # a video that cannot be read is no fault of the folder
        shutil.copyfile(file, _partial(to))
        _partial(to).replace(to)


def _partial(to: Path) -> Path:
    return to.with_name(f".{to.name}")
