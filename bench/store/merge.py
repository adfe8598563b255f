"""Copies the samples of one study into another: `python -m bench.store merge SOURCE INTO`.

Every sample of SOURCE is verified. A damaged or failed sample is named and not copied. SOURCE is only read. INTO may be
new. In INTO a failed sample is replaced, a damaged one goes into quarantine, and every other finished sample stays as
it is. Records, scores, files that records list, and the prices of runs are copied, and no others: no logs, reports or
hidden files. A damaged file of prices is named and not copied. The plan of SOURCE is added to the plan of INTO. An
interrupted merge continues when the same command runs again. It may run beside sweeps and other merges.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from bench.store.place import RECORD, SCORES, Place
from bench.store.record import Record
from bench.store.runs import copy_runs
from bench.store.study import QUARANTINE, Store, is_full
from bench.store.upkeep import judged, samples, unit_claimed

Kind = Literal["copied", "already there", "failed", "damaged", "another sample there", "in hand", "not written"]
PROBLEMS: tuple[Kind, ...] = ("damaged", "another sample there", "in hand", "not written")  # the exit status is then 1


class Outcome(NamedTuple):
    """What became of the sample `place` of the source. `said` is None for a sample that was already in `into`."""

    place: Place
    kind: Kind
    said: str | None


def merge(source: Path, into: Path, really: bool) -> Iterator[Outcome]:
    """Copies the samples of `source` into `into`, or only yields what would happen. Yields an outcome per sample.

    Raises ValueError if there is no `source`, if one folder lies within the other, or if their models differ. Raises
    OSError if `into` cannot be written or the disk is full; samples that were copied before stay.
    """
    _require_two_studies(source, into)
    store = Store(into)
    _require_one_model(source, into)
    places = [place for place, _ in samples(source)]
    if really:
        store.require_writable()
        store.plan(Store(source).planned())
        copy_runs(source, into)  # before their samples
    for place in places:
        yield _outcome(Store(source), store, place, really)


def summary(counts: Mapping[str, int], dry_run: bool) -> str:
    """Returns one line with the number of samples per outcome."""
    said = [f"{counts.get('copied', 0)} {'would be ' if dry_run else ''}copied"]
    return ", ".join([*said, *(f"{count} {kind}" for kind, count in counts.items() if kind != "copied")])


def _require_two_studies(source: Path, into: Path) -> None:
    if not source.is_dir():
        raise ValueError(f"there is no study at {source}; name the study to copy from first: merge SOURCE INTO")
    a, b = source.resolve(), into.resolve()
    if a == b or a in b.parents or b in a.parents:
        raise ValueError(f"expected two studies, neither within the other, got {source} and {into}; name another INTO")


def _require_one_model(source: Path, into: Path) -> None:
    """Raises ValueError if the studies are of different models, which no report takes together."""
    models: dict[str, str] = {}
    for study in (source, into):
        store = Store(study)
        for place in store.places():
            record = store.recorded(place)
            model = record.identity.get("model", {}) if record else None
            if model is not None:
                own = {name: value for name, value in model.items() if name != "device_type"}
                models.setdefault(json.dumps(own, sort_keys=True), str(place.folder))
    if len(models) > 1:
        raise ValueError(
            f"the studies are of different models or precisions, such as {' and '.join([*models.values()][:2])}, which "
            "no table takes together; name another INTO"
        )


def _outcome(source: Store, store: Store, place: Place, really: bool) -> Outcome:
    record, wrong = _verified(source, place)
    if record is None or wrong:
        return Outcome(place, "damaged", f"not copied: {'; '.join(wrong) or f'{RECORD} is gone'}")
    if record.status != "done":
        return Outcome(place, "failed", f"not copied: its status is {record.status}")
    try:
        if not really:
            return _compared(place, record, store) or Outcome(place, "copied", "would be copied")
        with unit_claimed(store.folder, record) as mine:
            if not mine:
                return Outcome(place, "in hand", "not copied: a sweep is at work on its prompt in the study copied "
                               "into, run the same command again after it")  # fmt: skip
            return _compared(place, record, store) or _copied(place, record, store)
    except OSError as error:
        if is_full(error):
            said = f"{error.strerror}: {store.folder}; make room, then the same command continues"
            raise OSError(error.errno, said) from error
        return Outcome(place, "not written", f"not copied: {error}")


def _verified(source: Store, place: Place) -> tuple[Record | None, list[str]]:
    """Returns the record and the faults of a sample, judged again if there are any: a sweep may just drop a file."""
    record = source.recorded(place)
    if wrong := judged(place, record):
        record = source.recorded(place)
        wrong = judged(place, record)
    return record, wrong


def _compared(place: Place, record: Record, store: Store) -> Outcome | None:
    """Returns the outcome if `store` has a finished sample that stays, or None if the sample is to be copied."""
    there = store.at(place.name)
    before = store.recorded(there)
    if before is None or before.status != "done":
        return None
    if before.key != record.key:
        said = f"not copied: a finished sample of another key, {before.key[:8]}, is there; move it away"
        return Outcome(place, "another sample there", said)
    return Outcome(place, "already there", None) if store.get(there, record.key) else None


def _copied(place: Place, record: Record, store: Store) -> Outcome:
    """Copies the sample, the record first. Hashes show if a sweep drops or restores files at `place` meanwhile."""
    target = store.at(place.name)
    before = store.recorded(target)
    damaged = target.folder.exists() and (before is None or before.status == "done")
    try:
        with store.replacing(target) as new:
            shutil.copyfile(place.file(RECORD), new.file(RECORD))
            copy = Store.read(new)
            for name in copy.files if copy else ():
                if Path(name).name != name:
                    raise ValueError(f"{name} does not lie in the sample's folder")
                shutil.copyfile(place.file(name), new.file(name))
            if place.file(SCORES).is_file():
                shutil.copyfile(place.file(SCORES), new.file(SCORES))
            if store.get(new, record.key) is None:
                raise ValueError("its files do not fit its record")
    except (ValueError, FileNotFoundError) as error:
        why = f"not copied: it changed while it was copied ({error}), run the same command again"
        return Outcome(place, "damaged", why)
    aside = f"; the damaged sample that was there is in {store.folder / QUARANTINE}"
    return Outcome(place, "copied", f"copied{aside if damaged else ''}")
