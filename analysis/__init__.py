"""From records and scores to the paper's tables and figures. `Study(folder).samples` is one DataFrame."""
# ruff: noqa: E402  the check comes before the imports that it checks

from vgdfr_commands.surroundings import check

check(__name__, needs=("numpy", "scipy", "pandas", "pyarrow", "orjson", "jinja2"), ours=("bench", "vgdfr", "metrics"))

from analysis.study import Study, StudyError

__all__ = ["Study", "StudyError"]
