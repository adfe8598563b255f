"""Whether two videos can be compared frame by frame."""

from metrics.frame_times import constant_rate, different, same_rate, uneven
from metrics.video_file import VideoFile


def misfit(reference: VideoFile, generated: VideoFile) -> str | None:
    """Why frames of two files cannot be compared; None where they can."""
    videos = (reference, generated)
    times = [video.times or constant_rate(len(video.frames), video.fps) for video in videos]
    same_shape = reference.frames.shape == generated.frames.shape
    if same_shape:
        for which, own in zip(("the reference", "the generated video"), times, strict=True):
            if where := uneven(own):
                return f"videos must have even frame times, and those of {which} are uneven: {where}"
    if not same_shape or not same_rate(*times):
        shapes = [f"{list(v.frames.shape[:3])} at {v.fps:.7g} fps" for v in videos]
        return f"videos must be of equal length, size and fps, got {' and '.join(shapes)}"
    if where := different(*times):
        return f"videos must have equal frame times, and they differ by more than half a frame: {where}"
    if _aspects_apart(reference, generated) >= 1:
        return f"videos must have equal pixel aspect ratios, got {_aspect(reference)} and {_aspect(generated)}"
    if reference.interlaced != generated.interlaced:
        one, other = ("interlaced" if video.interlaced else "progressive" for video in videos)
        return f"videos must both be interlaced or neither, got {one} and {other}; deinterlace one first"
    return None


def remarks(reference: VideoFile, generated: VideoFile) -> tuple[str, ...]:
    """What is to be said of a pair that fits."""
    said = []
    if reference.pixel_aspect != generated.pixel_aspect:
        apart = f"{_aspects_apart(reference, generated):.2g} pixels of the width"
        said.append(f"pixels are of {_aspect(reference)} and of {_aspect(generated)}, which is {apart} and is ignored")
    elif reference.pixel_aspect != 1:
        said.append(f"both have pixels of {_aspect(reference)}, which are compared as they are stored")
    if reference.interlaced:
        said.append("both are interlaced, and a frame's two fields are compared as one picture")
    return tuple(said)


def _aspects_apart(one: VideoFile, other: VideoFile) -> float:
    """By how many pixels the two widths as shown differ: scaled sizes are rounded, as 1080 lines to 854 x 480."""
    low, high = sorted((one.pixel_aspect, other.pixel_aspect))
    return float((high / low - 1) * one.frames.shape[2])


def _aspect(video: VideoFile) -> str:
    return f"{video.pixel_aspect.numerator}:{video.pixel_aspect.denominator}"
