"""The files of a report: where a command writes them, and its message if it cannot."""

import argparse
import csv
import io
import math
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from analysis.flatten import as_text
from analysis.render import Sheet, markdown
from analysis.study import Study
from vgdfr_commands.atomic import atomic_file


class CannotWrite(OSError):
    """A report's folder cannot be written. The message names the folder, the reason and --out."""


def add_out(parser: argparse.ArgumentParser, default: str = "report") -> None:
    """Adds --out, which every command that writes a report has."""
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help=f"the folder to write (default: {default} in the study)"
    )


def names_in(text: str | None) -> list[str] | None:
    """Returns the names of an option such as --columns, which commas separate, or None without the option."""
    return None if text is None else [name.strip() for name in text.split(",")]


def column_and_number(text: str, called: str, example: str) -> tuple[str, float]:
    """Returns the column and the number of an option such as --min psnr=25.

    Raises ArgumentTypeError, with `called` and `example` in its message, for another form or a number that is not
    finite.
    """
    name, equals, number = text.partition("=")
    try:
        limit = float(number)
    except ValueError:
        limit = math.nan
    if not name or not equals or not math.isfinite(limit):
        raise argparse.ArgumentTypeError(
            f"{called} has the form COLUMN=NUMBER with a finite number, such as {example}, got {text!r}"
        )
    return name, limit


def file_name(text: str) -> str:
    """Returns the text as part of a file's name, with a dash for every other character."""
    return re.sub(r"[^\w.=-]+", "-", text).strip("-")


def csv_of(rows: Iterable[Mapping[str, Any]]) -> str:
    """Returns a CSV file with a column per key of any row: numbers with six significant digits, None as nothing."""
    texts = [{name: f"{v:.6g}" if isinstance(v, float) else v for name, v in row.items()} for row in rows]
    names = dict.fromkeys(name for row in texts for name in row)
    out = io.StringIO()
    writer = csv.DictWriter(out, list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(texts)
    return out.getvalue()


def samples_files(study: Study, folder: Path) -> dict[str, bytes]:
    """Returns samples.csv and samples.parquet of a study, or nothing if `folder` holds files of its present state."""
    own = {b"vgdfr": study.digest.encode()}
    with suppress(OSError, ValueError, pa.ArrowException), (folder / "samples.parquet").open("rb") as file:
        if (folder / "samples.csv").is_file() and (pq.read_schema(file).metadata or {}).get(b"vgdfr") == own[b"vgdfr"]:
            return {}
    samples = study.samples.assign(folder=study.samples["folder"].map(as_text))
    parquet, text, table = io.BytesIO(), io.BytesIO(), pa.Table.from_pandas(samples)
    pq.write_table(table.replace_schema_metadata({**(table.schema.metadata or {}), **own}), parquet)
    pyarrow.csv.write_csv(pa.Table.from_pandas(samples.reset_index(), preserve_index=False), text)
    return {"samples.csv": text.getvalue(), "samples.parquet": parquet.getvalue()}


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Makes `folder` if it is not there. An OSError within the block becomes CannotWrite."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise CannotWrite(f"{folder} cannot be written: {reason}; choose another folder with --out DIR") from error


def write(file: Path, content: str | bytes) -> Path:
    """Writes a file that is complete or missing. Text is UTF-8 with one line break at its end. Raises CannotWrite."""
    if isinstance(content, str):
        content = (content.rstrip("\n") + "\n").encode("utf-8", "backslashreplace")
    with writing(file.parent), atomic_file(file) as partial:
        partial.write_bytes(content)
    return file


@dataclass(frozen=True)
class Report:
    """A report: sheets, which are printed and written as Markdown, and further files by name.

    stem: the name of the Markdown file without ".md".
    """

    stem: str
    sheets: tuple[Sheet, ...]
    files: Mapping[str, str | bytes] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The Markdown of all sheets."""
        return "\n".join(map(markdown, self.sheets))

    @property
    def contents(self) -> dict[str, str | bytes]:
        """All files by name, the Markdown first."""
        return {f"{self.stem}.md": self.text, **self.files}


def write_and_print(report: Report, study: Path, out: Path | None) -> None:
    """Writes a report's files into `out`, or into report/ of the study if that is None, and always prints its text.

    A study that cannot be written, such as one on somebody else's disk, still has its report printed: stderr names the
    files that were not written. Raises CannotWrite if the user has chosen `out`.
    """
    refused = None
    try:
        for name, content in report.contents.items():
            write((out or study / "report") / name, content)
    except CannotWrite as error:
        refused = error
    print(report.text)
    if refused is not None and out is not None:
        raise refused
    if refused is not None:
        print(f"not written: {', '.join(report.contents)}. {refused}", file=sys.stderr)
