"""The gallery's folder: page, script, style, data, and the videos if they are to be copied."""

import json
import os
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from analysis.gallery.data import PREVIEW, gallery_data
from analysis.load import Row, StudyError, load

HERE = Path(__file__).parent
DATA, PAGE, VIDEOS = "data.js", "index.html", "videos"
ASSETS = ("gallery.js", "gallery.css")


def write_gallery(study: Path, out: Path | None = None, copy: bool = False) -> Path:
    """Write the gallery of `study` into `out` (by default report/gallery in it); returns the page to open.

    A gallery that is there is replaced; of the study itself nothing changes. With `copy` the videos are copied, too.
    Raises StudyError if the study cannot be shown, or `out` holds something that is no gallery.
    """
    rows = load(study)
    out = (out or study / "report" / "gallery").resolve()
    if out.exists() and not out.is_dir():
        raise StudyError(f"{out} is a file; --out must be a folder that is empty, new or a gallery")
    if out.is_dir() and any(out.iterdir()) and not (out / DATA).is_file():
        raise StudyError(f"{out} holds something that is no gallery; --out must be a folder that is empty, new or one")

    def copied(row: Row) -> Path:
        return out / VIDEOS / row.record["slug"] / f"{row.folder.name}.mp4"

    def source(row: Row) -> str | None:
        file = (row.folder / PREVIEW).resolve()
        if not file.is_file():
            return None
        return quote(os.path.relpath(copied(row) if copy else file, out).replace(os.sep, "/"))

    document = gallery_data(rows, study.resolve().name, source)
    texts = {name: (HERE / name).read_text() for name in ASSETS}
    texts |= {DATA: script(document), PAGE: page(document)}
    out.mkdir(parents=True, exist_ok=True)
    kept = set()
    for row in rows if copy else ():
        if (file := row.folder / PREVIEW).is_file() and row.record["status"] == "done":
            _put(file, copied(row))
            kept.add(copied(row))
    for name, text in texts.items():
        partial = out / f".{name}"
        partial.write_text(text)
        partial.replace(out / name)
    for file in (out / VIDEOS).glob("*/*.mp4"):  # of the gallery that was there before
        if file not in kept:
            file.unlink()
    return out / PAGE


def script(document: dict[str, Any]) -> str:
    """The document as a script; no text in it can end a script element or a line of JavaScript."""
    text = json.dumps(document, allow_nan=False, ensure_ascii=True, separators=(",", ":"))
    text = text.replace("<", "\\u003c")
    return f'"use strict";\nconst GALLERY = {text};\n'


def page(document: dict[str, Any]) -> str:
    """The HTML, every text in it escaped."""
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    samples = [sample for prompt in document["prompts"] for sample in prompt["samples"] if sample]
    return environment.get_template(PAGE).render(
        study=document["study"],
        models=", ".join(document["models"]),
        conditions=len(document["conditions"]),
        prompts=len(document["prompts"]),
        videos=sum("video" in sample for sample in samples),
        failed=sum("failed" in sample for sample in samples),
        embedded=any(column["title"].endswith("†") for column in document["columns"]),
    )


def _put(file: Path, to: Path) -> None:
    """A copy that is there whole or not at all."""
    to.parent.mkdir(parents=True, exist_ok=True)
    partial = to.with_name(f".{to.name}")
    shutil.copyfile(file, partial)
    partial.replace(to)
