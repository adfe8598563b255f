"""Lists, verifies and cleans a study: `python -m bench.store ls`, `verify` and `gc`. Imports no torch."""

import os
import shutil
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.plan.unit_name import unit_name
from bench.store.claims import LOCKS, claimed, note_of, remove_unheld, unit_note_of
from bench.store.place import MASTER, RECORD, Place
from bench.store.record import Record
from bench.store.runs import damaged_runs, folder_of
from bench.store.study import PARTIAL, QUARANTINE, Store
from vgdfr.files import sha256

OLD_S = 3600.0  # no worker writes to a partial folder of this age any more


def samples(study: Path) -> Iterator[tuple[Place, Record | None]]:
    """Yields the place and the record of every sample. The record is None if it is damaged or of another schema.

    Raises ValueError if the study has no sample.
    """
    store = Store(study)
    places = store.places()
    if not places:
        raise ValueError(f"{study} holds no sample; a study is made by: python -m bench.sweep +exp=table1")
    for place in places:
        yield place, store.recorded(place)


def ls(study: Path) -> str:
    """Returns the list as text: the samples per condition and status, their size, and the DiT passes saved by sharing.

    The passes that were made, by whichever worker and run, are compared with those of each sample made alone. Runs
    that only timed a sample do not count.
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    sizes: Counter[str] = Counter()
    passes = passes_done = 0.0
    for place, record in samples(study):
        condition = place.condition
        if record is not None and record.passes is not None and record.passes_done is not None:
            passes, passes_done = passes + record.passes, passes_done + record.passes_done
        counts[condition][record.status if record else "unreadable"] += 1
        sizes[condition] += sum(file.stat().st_size for file in place.folder.iterdir())
    width = max(map(len, counts))
    lines = []
    for condition, statuses in counts.items():
        said = ", ".join(f"{n} {status}" for status, n in statuses.most_common())
        lines.append(f"{condition.ljust(width)}  {said}, {sizes[condition] / 1e6:.1f} MB")
    total = sum(counts.values(), Counter())
    lines.append(f"{total.total()} samples, {total['done']} done, {sum(sizes.values()) / 1e6:.1f} MB")
    if passes_done:
        lines.append(
            f"{passes_done:.0f} DiT passes instead of {passes:.0f}, {passes / passes_done:.2f} times fewer "
            "(one on a shortened latent counts as its share of the tokens)"
        )
    return "\n".join(lines)


def faults(place: Place, record: Record | None) -> list[str]:
    """Returns the faults of a sample as texts: an unreadable record, missing or changed files, missing frames."""
    if record is None:
        return ["record.json cannot be read"]
    found = []
    for name, digest in record.files.items():
        if not place.file(name).is_file():
            found.append(f"{name} is not there")
        elif sha256(place.file(name)) != digest:
            found.append(f"{name} is not what was written")
    # a file may decode in part without an error, so frames are counted even where the hash holds
    if record.status == "done" and MASTER in record.files and not found:
        expected, frames = record.identity["spec"]["num_frames"], _num_frames(place.file(MASTER))
        if frames != expected:
            found.append(f"{MASTER} has {frames} of {expected} frames")
    return found


def _num_frames(master: Path) -> int:
    from metrics.video_file import read  # loads FFmpeg, which no other command of the store needs

    return len(read(master).frames)


def verify(study: Path) -> tuple[int, list[str]]:
    """Verifies every sample and the files of its runs. Moves damaged samples into quarantine.

    Returns the number of samples, and a text per fault.

    A damaged sample stays in its place, and its text says why, if a sweep has it in hand or the study cannot be
    written.
    """
    said, count, store = [], 0, Store(study)
    for place, record in samples(study):
        count += 1
        if not (wrong := judged(place, record)):
            continue
        try:
            with unit_claimed(study, record) as mine:
                # judged again: since the record was read, a sweep may have replaced the sample or dropped its master
                wrong = judged(place, store.recorded(place))
                if wrong and mine:
                    said.append(f"{place}: {'; '.join(wrong)}; moved to {store.quarantine(place).folder}")
                elif wrong:
                    said.append(f"{place}: {'; '.join(wrong)}; a sweep is at work on its prompt, check again after it")
        except OSError as error:
            reason = error.strerror or error
            said.append(f"{place}: {'; '.join(wrong)}; not moved to {QUARANTINE}, {study} cannot be written: {reason}")
    return count, said + damaged_runs(study)


def judged(place: Place, record: Record | None) -> list[str]:
    """Returns `faults`, or an empty list if the sample is gone. A file that cannot be read is a fault, too."""
    try:
        return faults(place, record) if place.file(RECORD).is_file() else []
    except (OSError, ValueError, KeyError, TypeError) as error:  # the last two: a record without the usual fields
        return [f"{type(error).__name__}: {error}"]


@contextmanager
def unit_claimed(study: Path, record: Record | None) -> Iterator[bool]:
    """Claims the record's unit, so that no sweep changes the sample in the block. Yields False if a sweep has it."""
    try:
        name = record and unit_name(record.prompt_id, record.seed_index, record.identity)
    except (KeyError, TypeError):
        name = None
    if name is None:  # sweeps replace a sample whole if its record cannot be read
        yield True
        return
    with claimed(study, name) as mine:
        yield mine


def gc(study: Path, quarantined: bool, really: bool) -> list[str]:
    """Removes leftovers of killed workers: partial folders and files, notes, and lock files that no process holds.

    With `quarantined`, removes the quarantine, too. Of a sample it removes only files that its record lists as dropped.
    Never touches a sample that a running sweep holds. Returns the paths, and removes nothing unless `really`.
    """
    old = time.time() - OLD_S
    going = [path for path in study.glob(f"*/{PARTIAL}*") if path.stat().st_mtime < old]
    for note in (study / LOCKS).glob("at-*.json"):
        pid = int(note.stem.rpartition("-")[2])
        mine = note in (note_of(study, pid), unit_note_of(study, pid))  # other machines' processes are unknown here
        if mine and not _runs(pid) and note.stat().st_mtime < old:
            going.append(note)
    for file in (*study.glob("[!.]*/[!.]*/.*"), *folder_of(study).glob(".*")):
        if file.is_file() and file.stat().st_mtime < old:
            going.append(file)
    if quarantined and (study / QUARANTINE).is_dir():
        going.append(study / QUARANTINE)
    for path in going if really else ():
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    going += remove_unheld(study, really)
    store = Store(study)
    for place in store.places():
        record = store.recorded(place)
        if not _undropped(place, record):
            continue
        with unit_claimed(study, record) as mine:  # without the claim, a sweep may be restoring these files
            left = _undropped(place, store.recorded(place)) if mine else []
            for path in left if really else ():
                path.unlink(missing_ok=True)
            going += left
    return [str(path.relative_to(study)) for path in going]


def _undropped(place: Place, record: Record | None) -> list[Path]:
    """Returns the files that the record lists as dropped and that still exist."""
    return [place.file(name) for name in (record.dropped if record else ()) if place.file(name).is_file()]


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
