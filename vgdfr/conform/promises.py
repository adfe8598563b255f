"""The promises of a method or an accelerator. Each promise is a function of a trial.

The function returns its observation as text. It raises Broken if the promise is broken and NotChecked if the promise
cannot be examined.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, get_args

from vgdfr.accelerator import Accelerator
from vgdfr.account import Shared
from vgdfr.conform.computed import computed
from vgdfr.conform.trial import (
    SHOWN,
    Trial,
    described,
    difference,
    in_new_process,
    interrupted_dit,
    interrupted_vae,
    made_first,
    rebuilt,
    recorded,
)
from vgdfr.conform.videos import Broken, fits_or_refuses, refusal_of
from vgdfr.generation import generate
from vgdfr.method import Method, Role, check_method, facts_of
from vgdfr.methods import method_of
from vgdfr.naming import check_class

Verdict = Literal["ok", "BROKEN", "not checked"]


class NotChecked(Exception):
    """A promise cannot be examined. The message gives the reason, and the option that would allow it."""


class Finding(NamedTuple):
    """The result of examining one promise. `said` is the observation, with details in further lines."""

    promise: str
    verdict: Verdict
    said: str


@dataclass(frozen=True)
class Promise:
    """A promise and the function that examines it.

    name: the promise, in words.
    advice: the remedy that a message names if the promise is broken.
    """

    name: str
    look: Callable[[Trial], str]
    advice: str


def well_formed(trial: Trial) -> str:
    """Examines the class and its record. Makes no sample."""
    kind = trial.kind
    if not issubclass(kind, Method | Accelerator):
        raise Broken(f"{trial.path} derives neither from vgdfr.Method nor from vgdfr.Accelerator")
    check_class("the path", kind, Method if issubclass(kind, Method) else Accelerator)
    if "__dataclass_params__" not in vars(kind):
        raise Broken(f"{trial.path} is no dataclass of its own, so its values can be changed")
    for method in trial.methods:
        check_method(method)
        try:
            written = json.dumps(method.settings(), allow_nan=False)
            json.dumps(method.identity(trial.ground.spec), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise Broken(f"its settings or its identity cannot be written as JSON: {error}") from error
        again = method_of(json.loads(written))
        if again != method or again.settings() != method.settings():
            raise Broken(f"the record's settings {written} make {again}, which does not equal {method}")
        hash(method)
        facts = json.loads(json.dumps(facts_of(method)))
        if facts["role"] not in get_args(Role):
            raise Broken(f"its role must be one of {', '.join(get_args(Role))}, got {facts['role']!r}")
    return f"{'a method' if issubclass(kind, Method) else 'an accelerator'}; its record makes an equal value again"


def makes_a_sample(trial: Trial) -> str:
    """Makes the samples that later promises compare with, and returns their costs."""
    _ = trial.ground.others, trial.ground.untouched  # before the class has made any sample
    for method in trial.methods:
        if refusal := refusal_of(trial, method, trial.ground.spec):
            raise Broken(f"check refuses the video: {refusal}; take other settings, or another size, length or steps")
    _ = trial.alone  # generate refuses a wrong video
    return computed(trial)


def leaves_the_backbone(trial: Trial) -> str:
    """Examines the backbone after a sample, and after exceptions in the VAE and in three DiT passes."""

    def refuse_changes(method: Method, when: str) -> None:
        if changes := trial.ground.changes():
            more = f" and {len(changes) - SHOWN} more" if len(changes) > SHOWN else ""
            raise Broken(f"after {when} of {described(method)} these are changed: {', '.join(changes[:SHOWN])}{more}")

    for method, alone, video in zip(trial.methods, trial.outcomes, trial.alone, strict=True):
        refuse_changes(method, "a sample")
        passes = max(1, sum(p.forwards * count for p, count in video.dit_passes.items()))
        for at in sorted({1, passes // 2 + 1, passes}):
            with interrupted_dit(trial.ground.backbone, at):
                generate(trial.ground.backbone, trial.ground.spec, method)
            refuse_changes(method, f"an exception in DiT pass {at} of {passes}")
        with interrupted_vae(trial.ground.backbone):
            generate(trial.ground.backbone, trial.ground.spec, method)
        refuse_changes(method, "an exception in the VAE")
        if found := difference(alone[1], trial.ground.made(method)):
            raise Broken(f"a sample of {described(method)} made after an exception differs: {found}")
    baseline, before = trial.ground.others[0]
    if found := difference(before, trial.ground.made(baseline)):
        raise Broken(f"the baseline's sample differs from the one before: {found}")
    return "also after exceptions in the DiT and in the VAE"


def repeats(trial: Trial) -> str:
    """Makes the samples again after samples of another seed, and makes that other seed's samples in a new process."""
    between = [trial.ground.made(method, trial.ground.other_seed) for method in trial.methods]
    for method, alone in trial.outcomes:
        if found := difference(alone, trial.ground.made(method)):
            raise Broken(f"two samples of {described(method)} differ: {found}")
        canonical = method.canonical(trial.ground.spec, trial.ground.backbone.architecture)
        if canonical != method and (found := difference(alone, trial.ground.made(canonical))):
            raise Broken(f"{described(method)} and its canonical settings {described(canonical)} differ: {found}")
    written = [json.dumps(method.settings()) for method in trial.methods]
    first = in_new_process(made_first, trial.ground.model, trial.ground.other_seed, written)
    for method, here, there in zip(trial.methods, between, first, strict=True):
        if found := difference(here, there):
            raise Broken(
                f"a sample of {described(method)} made after one of another seed differs from the same sample made "
                f"first in a new process: {found}"
            )
    return "made twice, and in a new process"


def shares(trial: Trial) -> str:
    """Makes samples before and after samples of other methods that share parts with them."""
    others = trial.ground.others + [(m, trial.ground.made(m)) for m in trial.neutral_methods if m not in trial.methods]
    for method, alone in trial.outcomes:
        for order in ([(method, alone), *others, (method, alone)], [*others, (method, alone), *others]):
            stops = frozenset().union(*(each.stops() for each, _ in order))
            shared = Shared(trial.ground.spec, set(stops))
            before: list[str] = []
            for each, expected in order:
                if found := difference(expected, trial.ground.made(each, shared=shared)):
                    raise Broken(f"after {', '.join(before)} the sample of {described(each)} differs: {found}")
                before.append(described(each))
    return f"before and after {', '.join(described(each) for each, _ in others)}"


def neutral_is_plain(trial: Trial) -> str:
    """Compares the samples of the neutral settings with the baseline's, or with the plain method's samples."""
    if not all(method.makes_video for method in trial.methods):
        raise NotChecked("it makes no video, so there is none to compare")
    neutral = trial.neutral_methods
    if not neutral:
        raise NotChecked("give --neutral KEY=VALUE, the settings with which nothing is merged or skipped")
    for method in neutral:
        plain = replace(method, accelerators=()) if method.accelerators else trial.ground.others[0][0]
        sample, expected = (trial.ground.made(each)._replace(schedule=None) for each in (method, plain))
        if found := difference(sample, expected):
            raise Broken(f"the sample of {described(method)} differs from the sample of {described(plain)}: {found}")
    return ", ".join(described(method) for method in neutral)


def rebuilds(trial: Trial) -> str:
    """Rebuilds the frames from the latents in a new process, which has made no sample."""
    if not all(method.makes_video for method in trial.methods):
        raise NotChecked("it makes no video, so there is no master to drop")
    outcomes = trial.outcomes
    records = [(alone.latents, recorded(method, alone.schedule, trial.ground.spec)) for method, alone in outcomes]
    made_again = in_new_process(rebuilt, trial.ground.model, records)
    for (method, alone), frames in zip(outcomes, made_again, strict=True):
        if found := difference(alone, alone._replace(frames=frames)):
            raise Broken(f"frames made again from the latents of {described(method)} are others: {found}")
    return "from latents, settings and schedule alone"


PROMISES = (
    Promise("a class of settings", well_formed, "Write a frozen dataclass whose fields are numbers, words, or tuples."),
    Promise("makes a sample", makes_a_sample, "Mend this first: the other promises are of samples."),
    Promise(
        "the backbone is as before",
        leaves_the_backbone,
        "Undo every patch in a finally or an ExitStack, and change no weight and no tensor that is not yours.",
    ),
    Promise(
        "same bits twice",
        repeats,
        "Draw random numbers from a torch.Generator seeded by the spec, and keep nothing between samples.",
    ),
    Promise(
        "same bits with what other samples share",
        shares,
        "Change no shared tensor in place, and name in the key of run.once all that decides the value.",
    ),
    Promise("nothing merged or skipped is the baseline", neutral_is_plain, "Hand on run.baseline(run.steps) there."),
    Promise(
        "a dropped master is rebuilt from its latents",
        rebuilds,
        "Let fill depend on its arguments and the settings alone.",
    ),
    Promise(
        "other sizes, lengths and steps",
        fits_or_refuses,
        "Take sizes from run.noise and run.steps, or refuse the video in check with a ValueError.",
    ),
)
FIRST = 2  # promises without which there is no sample


def examine(trial: Trial, promises: tuple[Promise, ...] = PROMISES) -> Iterator[Finding]:
    """Examines the promises in order. If no sample can be made, the later promises are not checked."""
    possible = True
    for promise in promises:
        finding = look_at(trial, promise) if possible else Finding(promise.name, "not checked", "no sample can be made")
        possible = possible and not (finding.verdict == "BROKEN" and promise in PROMISES[:FIRST])
        yield finding


def look_at(trial: Trial, promise: Promise) -> Finding:
    """Examines one promise. Any exception that the class raises breaks the promise."""
    try:
        return Finding(promise.name, "ok", promise.look(trial))
    except NotChecked as error:
        return Finding(promise.name, "not checked", str(error))
    except Broken as error:
        return Finding(promise.name, "BROKEN", f"{error}\n{promise.advice}")
    except Exception as error:
        return Finding(promise.name, "BROKEN", f"raised {trial.describe_error(error)}\n{promise.advice}")
