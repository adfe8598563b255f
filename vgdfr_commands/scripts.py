"""The functions of the console scripts in pyproject.toml. They take no arguments."""

from functools import partial

from vgdfr_commands.start import run_script

vgdfr = partial(run_script, "vgdfr.__main__")
conform = partial(run_script, "vgdfr.conform.__main__")
metrics = partial(run_script, "metrics.__main__")

sweep = partial(run_script, "bench.sweep")
launch = partial(run_script, "bench.launch")
prefetch = partial(run_script, "bench.prefetch")
calibrate = partial(run_script, "bench.calibrate")
score = partial(run_script, "bench.score")
store = partial(run_script, "bench.store.__main__")
export = partial(run_script, "bench.export")
import_scores = partial(run_script, "bench.import_scores")

table1 = partial(run_script, "analysis.table1")
statistics = partial(run_script, "analysis.statistics.__main__")
figures = partial(run_script, "analysis.figures.__main__")
cost = partial(run_script, "analysis.cost")
gallery = partial(run_script, "analysis.gallery.__main__")
rivals = partial(run_script, "analysis.rivals")
twins = partial(run_script, "analysis.twins")
gate = partial(run_script, "analysis.gate")
paper = partial(run_script, "analysis.paper.__main__")
rope_sensitivity = partial(run_script, "analysis.rope_sensitivity.__main__")
track = partial(run_script, "analysis.publish.track")
dashboard = partial(run_script, "analysis.publish.dashboard")
