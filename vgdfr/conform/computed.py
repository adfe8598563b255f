"""The costs of a sample as text: DiT passes, DiT work, the counts of accelerators, and the stages of the latency."""

from vgdfr.conform.trial import Trial, described
from vgdfr.method import Method
from vgdfr.passes import Pass, to_rows
from vgdfr.video import GeneratedVideo


def computed(trial: Trial) -> str:
    """Returns one line, with the costs of each method's sample below."""
    lines = ["its costs are"]
    for method, video in zip(trial.methods, trial.alone, strict=True):
        if len(trial.methods) > 1:
            lines.append(f"with {described(method)}:")
        lines += [*_passes(trial, method, video), *_accelerated(video), *_stages(video)]
    return "\n".join(lines)


def _passes(trial: Trial, method: Method, video: GeneratedVideo) -> list[str]:
    rows = to_rows(video.dit_passes)
    if not any(row[3] for row in rows):
        return ["warning: no DiT pass was made, so the sample does not come from the model"]
    lines = []
    for *entries, count in rows:
        one = Pass(*entries)  # type: ignore[arg-type]
        lines.append(
            f"{count} x {one.forwards} DiT pass on {one.frames}x{one.height}x{one.width} latents, computing "
            f"{one.attention:.0%} of attention and {one.feed_forward:.0%} of feed-forward"
        )
    spec = trial.ground.spec
    tokens = trial.ground.backbone.velocity(spec).text_tokens
    flops = trial.ground.model.flops(spec.height, spec.width, spec.num_frames, tokens)
    if flops is None:
        return [*lines, "the model does not know its FLOPs, so DiT work is not known"]
    work = flops.dit_work(rows, spec.num_inference_steps * trial.ground.backbone.architecture.forwards_per_step)
    lines.append(f"DiT work: {work:.2f} of the baseline's, in FLOPs")
    if work >= 1 and method.role != "reference" and method.makes_video and method.has_cost:
        lines.append("warning: no DiT work was saved")
    return lines


def _accelerated(video: GeneratedVideo) -> list[str]:
    return [
        f"{name}: {', '.join(f'{count} {value:g}' for count, value in measured.items())}"
        for name, measured in video.accelerated.items()
    ]


def _stages(video: GeneratedVideo) -> list[str]:
    latency = [f"{name} {s:.2f} s" for name, s in video.seconds.items() if name not in video.outside_latency]
    return [
        f"latency {video.latency_s:.2f} s: {', '.join(latency)}",
        f"not in the latency: {', '.join(sorted(video.outside_latency))}",
    ]
