"""The scores of a sample on disk, scores.json. Imports no torch."""

import json
from collections.abc import Mapping
from typing import Any

from bench.store.place import SCORES, Place
from vgdfr_commands.atomic import atomic_file

SCHEMA = 2
NOTHING: dict[str, Any] = {
    "value": None, "reason": None, "per_frame": None, "extra": {}, "kept": None, "interpolated": None
}  # fmt: skip  # a score without a value


def scores_of(place: Place) -> dict[str, Any]:
    """Returns the stored scores by name. A damaged file, or one of another schema, counts as empty."""
    file = place.file(SCORES)
    try:
        document = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except ValueError:
        return {}
    return document["scores"] if document.get("schema") == SCHEMA else {}


def write_scores(place: Place, scores: Mapping[str, Any]) -> None:
    """Replaces the scores of a sample atomically. The caller holds the sample's claim (`bench.store.claims`)."""
    with atomic_file(place.file(SCORES)) as partial:
        document = {"schema": SCHEMA, "scores": scores}
        partial.write_text(json.dumps(document, indent=1, allow_nan=False), encoding="utf-8")
