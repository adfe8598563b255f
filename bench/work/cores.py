"""The cores and the GPU of each worker of a launch."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

CORES = Path("/sys/devices/system/cpu")
TOPOLOGY = ("physical_package_id", "core_id")


@dataclass(frozen=True)
class Place:
    """The cores of a worker and the number of its GPU. None: all models run on the CPU."""

    cores: frozenset[int]
    gpu: int | None = None


def places(count: int | None, cores: str | None, gpus: int, there: Sequence[int]) -> list[Place]:
    """Gives worker i set i of `cores`, or else an even share of the usable cores `there`, and GPU i unless `gpus` is 0.

    The cores of a share are neighbours in `there`. Raises ValueError if the machine lacks the cores or GPUs asked for.
    """
    if cores is not None:
        sets = [_range(part) for part in cores.split(",")]
        if count not in (None, len(sets)):
            raise ValueError(f"-n {count} does not fit the {len(sets)} sets of --cores {cores}")
        if missing := frozenset().union(*sets) - frozenset(there):
            raise ValueError(f"--cores names cores that are not to be had here: {sorted(missing)}")
        asked = f"--cores {cores}"
    elif count is None:
        raise ValueError("say how many workers: -n N, or --cores with a set for each")
    elif count < 1:
        raise ValueError(f"-n must be at least 1, got {count}")
    else:
        sets, asked = _shares(there, count), f"-n {count}"
    if gpus and len(sets) > gpus:
        raise ValueError(
            f"{asked} asks for more workers than this machine has GPUs ({gpus}), and a planned model runs on a GPU; "
            "ask for fewer, or choose model.backbone.device=cpu"
        )
    return [Place(each, i if gpus else None) for i, each in enumerate(sets)]


def by_socket(cores: Iterable[int], folder: Path = CORES) -> list[int]:
    """Sorts `cores` so that a socket's are neighbours, and so are the hardware threads of one physical core.

    Their numbers alone do not: Linux often numbers the first thread of every physical core before any second thread.
    """

    def position(core: int) -> tuple[int, int, int]:
        try:
            socket, number = (
                int((folder / f"cpu{core}/topology/{name}").read_text(encoding="utf-8")) for name in TOPOLOGY
            )
        except (OSError, ValueError):  # some containers hide the topology
            return 0, core, core
        return socket, number, core

    return sorted(cores, key=position)


def _shares(there: Sequence[int], count: int) -> list[frozenset[int]]:
    """Splits the cores evenly. If there are fewer cores than shares, each share is one core and some share it."""
    if count > len(there):
        return [frozenset([there[i % len(there)]]) for i in range(count)]
    edges = [i * len(there) // count for i in range(count + 1)]
    return [frozenset(there[first:last]) for first, last in pairwise(edges)]


def _range(text: str) -> frozenset[int]:
    first, _, last = text.partition("-")
    with suppress(ValueError):
        if cores := frozenset(range(int(first), int(last or first) + 1)):
            return cores
    raise ValueError(f"--cores must be sets such as 0-3,4-7, got {text!r}")


def environment_at(place: Place, given: Mapping[str, str]) -> dict[str, str]:
    """The environment `given`, changed for a worker at `place`.

    Libraries start one thread per core, or fewer if OMP_NUM_THREADS in `given` says so; the sweep's setting `threads`
    is the number for a model on the CPU. A GPU worker sees one of the GPUs that CUDA_VISIBLE_DEVICES in `given` allows.
    """
    environment = {**given, "OMP_NUM_THREADS": str(len(place.cores))}
    asked = given.get("OMP_NUM_THREADS", "")
    first = asked.split(",")[0].strip()  # the variable may list one number per level of nesting
    if first.isdecimal() and 0 < int(first) < len(place.cores):
        environment["OMP_NUM_THREADS"] = asked
    if place.gpu is not None:
        visible = given.get("CUDA_VISIBLE_DEVICES", "").split(",")
        environment["CUDA_VISIBLE_DEVICES"] = visible[place.gpu] if visible != [""] else str(place.gpu)
    return environment
