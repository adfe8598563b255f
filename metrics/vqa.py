"""Video quality without a reference."""

from metrics.base import Score, Video
from metrics.clip import ClipModel, antonyms

# What the embedded CLIP model's training captions call quality, and its opposites.
CLEAR, UNCLEAR = "a clear video", ("a blurred video", "a noisy video", "a ghosted video")


def embedded_vqa(clip: ClipModel, video: Video) -> Score:
    """100 times the embedded CLIP's probability that a frame is clear, not blurred, noisy or ghosted; in [0, 100]."""
    per_frame = 100 * antonyms(clip, video, CLEAR, UNCLEAR)
    return Score(float(per_frame.mean()), per_frame)
