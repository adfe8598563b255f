"""The name of a unit. This module imports nothing of a model, so the store can name a record's unit without torch."""

import hashlib
import json
from typing import Any


def unit_name(prompt_id: str, seed_index: int, identity: dict[str, Any]) -> str:
    """Returns the name under which a worker claims all samples of one prompt, seed, model and video setting."""
    decides = json.dumps([identity["model"], identity["spec"]], sort_keys=True)
    return f"{prompt_id}-s{seed_index}-{hashlib.sha256(decides.encode()).hexdigest()[:8]}"
