"""From records and scores to the paper's tables and figures."""

from vgdfr_commands.surroundings import check

check(__name__, needs=("numpy", "scipy", "jinja2"), ours=("bench", "vgdfr", "metrics"))
