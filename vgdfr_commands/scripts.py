"""The functions of the console scripts in pyproject.toml. They take no arguments."""

from functools import partial

from vgdfr_commands.start import run_script

vgdfr = partial(run_script, "vgdfr.__main__")
conform = partial(run_script, "vgdfr.conform.__main__")
metrics = partial(run_script, "metrics.__main__")

sweep = partial(run_script, "bench.sweep")
launch = partial(run_script, "bench.launch")
prefetch = partial(run_script, "bench.prefetch")
score = partial(run_script, "bench.score")
store = partial(run_script, "bench.store.__main__")

table1 = partial(run_script, "analysis.table1")
statistics = partial(run_script, "analysis.statistics.__main__")
figures = partial(run_script, "analysis.figures.__main__")
cost = partial(run_script, "analysis.cost")
gallery = partial(run_script, "analysis.gallery.__main__")
paper = partial(run_script, "analysis.paper.__main__")
rope_sensitivity = partial(run_script, "analysis.rope_sensitivity.__main__")
track = partial(run_script, "analysis.publish.track")
dashboard = partial(run_script, "analysis.publish.dashboard")
