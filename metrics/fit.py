"""Decides whether two videos can be compared frame by frame."""

from metrics.frame_times import constant_rate, different, same_rate, uneven
from metrics.video_file import VideoFile


def misfit(reference: VideoFile, generated: VideoFile) -> str | None:
    """Returns the reason why the frames of two files cannot be compared, or None if they can be compared."""
    videos = (reference, generated)
    times = [video.times or constant_rate(len(video.frames), video.fps) for video in videos]
    same_shape = reference.frames.shape == generated.frames.shape
    if same_shape:
        for video, of_video in zip(("the reference", "the generated video"), times, strict=True):
            if where := uneven(of_video):
                return f"videos must have even frame times, and the frame times of {video} are uneven: {where}"
    if not same_shape or not same_rate(*times):
        shapes = [f"{list(v.frames.shape[:3])} at {v.fps:.7g} fps" for v in videos]
        return f"videos must be of equal length, size and fps, got {' and '.join(shapes)}"
    if where := different(*times):
        return f"videos must have equal frame times, and these differ by more than half a frame: {where}"
    if _aspects_apart(reference, generated) >= 1:
        return f"videos must have equal pixel aspect ratios, got {_aspect(reference)} and {_aspect(generated)}"
    if reference.interlaced != generated.interlaced:
        first, second = ("interlaced" if video.interlaced else "progressive" for video in videos)
        return f"videos must both be interlaced or both be progressive, got {first} and {second}; deinterlace one first"
    return None


def remarks(reference: VideoFile, generated: VideoFile) -> tuple[str, ...]:
    """Returns remarks on how the files of a comparable pair are compared."""
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
    """Returns by how many pixels the displayed widths differ.

    Scaling rounds sizes and so changes aspect ratios slightly, such as from 1920 x 1080 to 854 x 480.
    """
    low, high = sorted((one.pixel_aspect, other.pixel_aspect))
    return float((high / low - 1) * one.frames.shape[2])


def _aspect(video: VideoFile) -> str:
    return f"{video.pixel_aspect.numerator}:{video.pixel_aspect.denominator}"
