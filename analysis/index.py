"""Keeps one row per sample of a study in `index.parquet`, and refreshes the rows of changed files.

The index is a cache of record.json and scores.json: it can be removed at any time. Several processes may refresh it at
once, because each replaces it as a whole, and the next process reads outdated rows again. Lists of values per frame are
not in it; `analysis.study.Study.curves` reads them.
"""

import gc
import json
import os
import time
import uuid
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from analysis.flatten import NUMBERS, TEXTS, as_text, row_of

FILE = "index.parquet"
SCHEMA = 3  # the version of the index; it rises when the meaning of a column changes
# A file that changed this shortly before it was read may change again within one clock tick, so it is read again.
_RACY_NS = 2_000_000_000
# Columns that every index has, whatever the records hold.
_TYPES = {
    **dict.fromkeys(TEXTS, pa.string()), **dict.fromkeys(NUMBERS, pa.float64()), "makes_video": pa.bool_(),
    **dict.fromkeys(("seed", "stamp", "changed_ns", "read_ns"), pa.int64()),
}  # fmt: skip
_CHECK = b"crc32=00000000"  # the checksum's place while it is computed; Parquet checks only parts of a file
_METADATA = {b"vgdfr": str(SCHEMA).encode(), b"check": _CHECK}
_AT_ONCE = 5000  # samples whose rows are in memory before they become a table
_DAMAGES = (OSError, ValueError, KeyError, TypeError, pa.ArrowException)  # the exceptions of reading a damaged index


@contextmanager
def _no_collection() -> Iterator[None]:
    """Turns the garbage collector off in the block, because parsed JSON has no reference cycles.

    For 100,000 samples the search for cycles takes a third of the time.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@_no_collection()
def refreshed(study: Path) -> pd.DataFrame:
    """Returns the index of `study`, one row per sample, after reading the samples that are new or have changed.

    Damaged files are no error here: their sample has the reason in the column `unreadable`. A study that cannot be
    written is indexed in memory alone.
    """
    states = _states(study)
    try:
        return _updated(study, states, _stored(study / FILE))
    except _DAMAGES:
        return _updated(study, states, None)


def _updated(study: Path, states: Mapping[str, "_State"], table: pa.Table | None) -> pd.DataFrame:
    """Returns `table` as a frame after reading the samples that are out of date in it, or all samples if it is None."""
    known = {} if table is None else _known(table)
    stale = [sample for sample, state in states.items() if known.get(sample) != state.stamp]
    gone = known.keys() - states.keys()
    if not states:
        return _read(study, [], states).to_pandas()
    if table is None or stale or gone:
        kept = [] if table is None else [_without(table, [*stale, *gone])]
        some = (stale[i : i + _AT_ONCE] for i in range(0, len(stale), _AT_ONCE))
        table = _joined([*kept, *(_read(study, samples, states) for samples in some)]).sort_by("sample")
        frame = table.to_pandas()
        _write(table, study / FILE)
        return frame
    return table.to_pandas()


class _State(NamedTuple):
    """The state of a sample's files: a hash of their times, sizes and inodes, the newest time, and the folder's name.

    The key of a state is the same name as valid Unicode, in any locale.
    """

    stamp: int
    changed_ns: int
    place: str


def _states(study: Path) -> dict[str, _State]:
    """Returns the state of each sample, by its place in the study."""
    found = {}
    with os.scandir(study) as conditions:
        folders = [c for c in conditions if c.is_dir() and not c.name.startswith(".")]
    for condition in folders:
        with os.scandir(condition.path) as samples:
            for sample in samples:
                record = _MISSING if sample.name.startswith(".") else _stat(f"{sample.path}/record.json")
                if record != _MISSING:
                    place, scores = f"{condition.name}/{sample.name}", _stat(f"{sample.path}/scores.json")
                    stamp, newest = hash((record, scores)), max(record[0], scores[0])
                    found[place if place.isascii() else as_text(place)] = _State(stamp, newest, place)
    return found


_MISSING = (0, 0, 0)


def _stat(file: str) -> tuple[int, int, int]:
    try:
        s = os.stat(file)
    except (FileNotFoundError, NotADirectoryError):
        return _MISSING
    return s.st_mtime_ns, s.st_size, s.st_ino


def _stored(file: Path) -> pa.Table | None:
    """Returns the stored index, or None if it is missing or of another schema. Raises one of _DAMAGES if damaged."""
    if not file.is_file():
        return None
    content = bytearray(file.read_bytes())
    at = content.rindex(_CHECK[:6])
    told, content[at : at + len(_CHECK)] = bytes(content[at : at + len(_CHECK)]), _CHECK
    if told != _checked(content):
        raise ValueError(f"{file} is damaged")
    table = pq.read_table(pa.BufferReader(content))
    current = (table.schema.metadata or {}).get(b"vgdfr") == _METADATA[b"vgdfr"]
    return table if current and _TYPES.keys() <= {*table.column_names} else None


def _checked(content: bytearray) -> bytes:
    return b"crc32=%08x" % zlib.crc32(content)


def _known(table: pa.Table) -> dict[str, int]:
    """Returns the stamp of each indexed sample, without those that were read too soon after a change."""
    names = ("sample", "stamp", "changed_ns", "read_ns")
    rows = zip(*(table[name].to_pylist() for name in names), strict=True)
    return {sample: stamp if changed < read - _RACY_NS else 0 for sample, stamp, changed, read in rows}


def _without(table: pa.Table, samples: Sequence[str]) -> pa.Table:
    return table.filter(pc.invert(pc.is_in(table["sample"], pa.array(samples, pa.string()))))


def _write(table: pa.Table, file: Path) -> None:
    partial = file.with_name(f".{FILE}-{uuid.uuid4().hex}.partial")
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    content = bytearray(sink.getvalue())
    at = content.rindex(_CHECK)
    content[at : at + len(_CHECK)] = _checked(content)
    try:
        partial.write_bytes(content)
        partial.replace(file)
    except OSError:  # a read-only study, a full disk: the index is a cache
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def _read(study: Path, samples: Iterable[str], states: Mapping[str, _State]) -> pa.Table:
    """Returns the rows of some samples, with the columns that every index has and all others that any row has."""
    now, rows = time.time_ns(), []
    for sample in samples:
        state = states[sample]
        if row := row_of(study, state.place):
            rows.append(row | {"sample": sample, "stamp": state.stamp, "changed_ns": state.changed_ns, "read_ns": now})
    names = dict.fromkeys((*_TYPES, *(name for row in rows for name in row)))
    return pa.table({name: _array(name, [row.get(name) for row in rows]) for name in names})


def _array(name: str, values: list[Any]) -> pa.Array:
    """Returns a column: numbers, truth values or texts. A mixture of these becomes JSON texts."""
    try:
        return pa.array(values, _TYPES.get(name))
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return pa.array([v if v is None or isinstance(v, str) else json.dumps(v) for v in values], pa.string())


def _joined(tables: Sequence[pa.Table]) -> pa.Table:
    """Returns the rows of all tables. A column of numbers in one table and of texts in another becomes text."""
    for name in dict.fromkeys(name for table in tables for name in table.column_names):
        types = {table.schema.field(name).type for table in tables if name in table.column_names} - {pa.null()}
        if len(types) > 1:
            numeric = all(pa.types.is_integer(t) or pa.types.is_floating(t) for t in types)
            tables = [_cast(table, name, pa.float64() if numeric else pa.string()) for table in tables]
        if not types:  # a column without any value
            tables = [_cast(table, name, pa.float64()) for table in tables]
    return pa.concat_tables(tables, promote_options="default").replace_schema_metadata(_METADATA)


def _cast(table: pa.Table, name: str, to: pa.DataType) -> pa.Table:
    if name not in table.column_names:
        return table
    return table.set_column(table.column_names.index(name), name, table[name].cast(to))
