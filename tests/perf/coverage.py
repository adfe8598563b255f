"""Simulates how often the 95 % intervals hold the truth. `python tests/perf/coverage.py` prints the table of the docs.

Each study has a number of prompts whose values are drawn from one law. The interval function of the reports makes each
interval. A speed-up is a ratio of means of paired latencies. Both are lognormal, and most of their spread is common.
"""

import argparse
from collections.abc import Callable

import numpy as np

from analysis.statistics import half_width

LAWS: dict[str, tuple[Callable[[np.random.Generator, tuple[int, int]], np.ndarray], float]] = {
    "normal": (lambda draw, shape: draw.normal(size=shape), 0.0),
    "t3": (lambda draw, shape: draw.standard_t(3, size=shape), 0.0),
    "exponential": (lambda draw, shape: draw.exponential(size=shape), 1.0),
    "lognormal(0.5)": (lambda draw, shape: draw.lognormal(sigma=0.5, size=shape), float(np.exp(0.125))),
    "lognormal(1)": (lambda draw, shape: draw.lognormal(sigma=1.0, size=shape), float(np.exp(0.5))),
}
# for each law of latencies, the standard deviations of the logarithm: common to both sides, and of each side alone
SPEEDUPS = {"speed-up, latencies of 10 %": (0.07, 0.07), "speed-up, latencies of 50 %": (0.4, 0.3)}
PROMPTS = (5, 6, 8, 10, 15, 20, 40, 100)


def coverage(law: str, prompts: int, studies: int, seed: int = 0) -> float:
    """Returns the share of simulated studies with a 95 % interval that holds the truth."""
    draw = np.random.default_rng([seed, prompts])
    shape = (studies, prompts)
    if law in SPEEDUPS:
        common, own = SPEEDUPS[law]
        shared = draw.lognormal(sigma=common, size=shape)
        above, below = (shared * draw.lognormal(sigma=own, size=shape) for _ in range(2))
        above, truth = 2.0 * above, 2.0
    else:
        drawn, truth = LAWS[law]
        above, below = drawn(draw, shape), np.ones(shape)
    value = above.sum(axis=1) / below.sum(axis=1)
    return float((np.abs(value - truth) <= half_width(above, below, value)).mean())


def table(studies: int) -> str:
    """Returns the Markdown table of all laws and numbers of prompts, in percent."""
    lines = ["| law | " + " | ".join(f"n={n}" for n in PROMPTS) + " |", "|---|" + "---:|" * len(PROMPTS)]
    for law in (*LAWS, *SPEEDUPS):
        lines.append(f"| {law} | " + " | ".join(f"{100 * coverage(law, n, studies):.1f}" for n in PROMPTS) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=100_000, help="simulated studies per number (default: 100000)")
    print(table(parser.parse_args().studies))
