"""The rule that chooses a method's schedule: a frozen group of settings that checks itself."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

from vgdfr.method import refuse_wrong_kind
from vgdfr.schedule import (
    FACTORS,
    SIMILARITY_FACTORS,
    FrameSchedule,
    Similarity,
    by_threshold,
    by_token_ratio,
    by_token_ratio_as_released,
    latents_of,
    least_error,
    possible_blocks,
    uniform,
)

RuleName = Literal["threshold", "token_ratio", "uniform"]
Search = Literal["exact", "released"]
Placement = Literal["aligned", "least_error"]


def refuse_other(name: str, value: object, annotation: Any) -> None:
    """Raises ValueError unless the Literal `annotation` lists `value`."""
    if value not in get_args(annotation):
        raise ValueError(f"{name} must be one of {', '.join(map(str, get_args(annotation)))}, got {value!r}")


@dataclass(frozen=True)
class Rule:
    """The settings that choose the blocks to merge. `Vgdfr` has fields of the same names and explains them.

    Raises ValueError for an unknown value, for a value out of range, and for settings that exclude each other.
    """

    schedule: RuleName
    theta: float | None
    token_ratio: float | None
    search: Search
    max_merge: int
    placement: Placement

    def __post_init__(self) -> None:
        refuse_wrong_kind("max_merge", self.max_merge, int)
        refuse_other("schedule", self.schedule, RuleName)
        refuse_other("search", self.search, Search)
        refuse_other("placement", self.placement, Placement)
        for name in ("theta", "token_ratio"):
            self._check_share(name, needed=self.schedule == {"theta": "threshold"}.get(name, name))
        if self.max_merge not in (SIMILARITY_FACTORS if self.placement == "aligned" else FACTORS):
            eight = "" if self.is_uniform or self.search == "released" else ", or 8 with placement=least_error"
            raise ValueError(f"max_merge must be 2 or 4{eight}, got {self.max_merge}")
        if self.search != "exact" and self.schedule != "token_ratio":
            raise ValueError(f"search belongs to the token_ratio schedule, got search={self.search}, {self.schedule}")
        if self.search == "released" and self.max_merge != 4:
            raise ValueError(
                f"search=released has its own rule for factor 4; max_merge must be 4, got {self.max_merge}"
            )
        if self.placement != "aligned" and (self.is_uniform or self.search == "released"):
            does = (
                "merges every block" if self.is_uniform else "with search=released places blocks as the released code"
            )
            raise ValueError(
                f"the {self.schedule} schedule {does}; leave out placement={self.placement}, or take another schedule"
            )

    def _check_share(self, name: str, needed: bool) -> None:
        value = getattr(self, name)
        if needed and value is None:
            raise ValueError(f"the {self.schedule} schedule needs {name}, in (0, 1]")
        if not needed and value is not None:
            raise ValueError(f"the {self.schedule} schedule has no {name}, got {value!r}; set {name} to null")
        if value is None:
            return
        refuse_wrong_kind(name, value, (int, float))
        if not 0 < value <= 1:
            raise ValueError(f"{name} must be in (0, 1], got {value}")

    @property
    def is_uniform(self) -> bool:
        """Returns whether every block merges, whatever its content."""
        return self.schedule == "uniform"

    @property
    def _similar(self) -> int:
        """Returns the largest merge for which there are similarities, for the number of latent frames to keep."""
        return min(self.max_merge, max(SIMILARITY_FACTORS))

    def uniform(self, num_frames: int, frames_per_latent: int) -> FrameSchedule:
        """Returns the schedule that merges every block."""
        return uniform(num_frames, self._similar, frames_per_latent=frames_per_latent)

    def by_similarity(self, similarity: Similarity, frames_per_latent: int) -> FrameSchedule:
        """Returns the schedule with aligned blocks for a preview's similarities (paper, equation 4).

        The rule must not be uniform.
        """
        if self.theta is not None:
            return by_threshold(similarity, self.theta, self._similar, frames_per_latent=frames_per_latent)
        assert self.token_ratio is not None
        if self.search == "released":
            return by_token_ratio_as_released(similarity, self.token_ratio, frames_per_latent=frames_per_latent)
        return by_token_ratio(similarity, self.token_ratio, self._similar, frames_per_latent=frames_per_latent)

    def num_kept(self, similarity: Similarity, frames_per_latent: int) -> int:
        """Returns how many latent frames to keep of a video with a preview of this similarity.

        A threshold keeps as many as with aligned blocks up to `max_merge`, and to 4 for 8. A token ratio may ask for
        fewer than blocks can reach. The rule must not be uniform.
        """
        if self.token_ratio is None:
            return len(self.by_similarity(similarity, frames_per_latent).kept_latents)
        return latents_of(self.token_ratio, (similarity.num_frames - 1) // frames_per_latent + 1)

    def notes(self, schedule: FrameSchedule) -> tuple[str, ...]:
        """Returns a note if the schedule keeps more tokens than `token_ratio` asks for."""
        asked = self.token_ratio if self.search == "exact" else None
        if asked is None or schedule.token_ratio <= asked + 1 / schedule.num_latents:
            return ()
        return (f"asked for {asked:g} of the tokens, kept {schedule.token_ratio:.2f}: all blocks merged",)

    def kept(self, num_frames: int, frames_per_latent: int, token_ratio: float) -> tuple[int, int]:
        """Returns the expected and the greatest number of kept latent frames, for plans.

        A threshold or released search is expected to keep `token_ratio` of the latent frames.
        """
        fewest = len(self.uniform(num_frames, frames_per_latent).kept_latents)
        most = (num_frames - 1) // frames_per_latent + 1
        if self.is_uniform:
            return fewest, fewest
        if self.placement == "least_error" and self.token_ratio is not None:
            blocks = possible_blocks(num_frames, self.max_merge, frames_per_latent=frames_per_latent, step=1)
            merged = least_error(dict.fromkeys(blocks, 0.0), 1, num_frames, frames_per_latent=frames_per_latent)
            fewest = len(merged.kept_latents)
        if self.token_ratio is not None and self.search == "exact":
            kept = max(fewest, latents_of(self.token_ratio, most))
            return kept, kept
        return max(fewest, round(token_ratio * most)), most
