"""Make a W&B workspace for a study: `python -m bench.dashboard ENTITY/PROJECT runs/STUDY`.

Its runs are those that `bench.track` sent. Sections: the trade-off of speed-up against quality, and a bar per condition
for each metric. Doing it again updates the same workspace. With --dry-run, what would be sent is printed, and nothing
is sent.
"""

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.tracked import latencies, read, run_id
from bench.trackers import require, unreachable
from vgdfr_commands.start import run

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Workspace
    from wandb_workspaces.workspaces.internal import View

AGAINST = ("lpips", "psnr", "clipsim")  # what speed is paid with, in this order
COSTS = ("latency_s", "speedup", "token_ratio", "passes", "n", "n_failed")


def measured(study: Path) -> list[str]:
    """The summary values that the study's runs have, scores first. Raises ValueError for no study."""
    conditions, _ = read(study)
    baseline_s = latencies(conditions)
    names = {name for c in conditions for name in c.summary(baseline_s) if not name.endswith("_infinite")}
    return [*sorted(names - {*COSTS, "peak_bytes"}), *(name for name in COSTS if name in names)]


def workspace(entity: str, project: str, study: str, names: Sequence[str]) -> "Workspace":
    """The workspace of `study`, whose conditions have the summary values `names`."""
    from wandb_workspaces import expr
    from wandb_workspaces import workspaces as ws
    from wandb_workspaces.reports import v2 as wr

    paid = [next((n for n in (name, f"{name}_embedded") if n in names), None) for name in AGAINST]
    trade_off: list[Any] = [
        wr.ScatterPlot(title=f"speedup against {name}", x=wr.SummaryMetric("speedup"), y=wr.SummaryMetric(name))
        for name in paid
        if name and "speedup" in names
    ]
    bars: list[Any] = [
        wr.BarPlot(title=name, metrics=[wr.SummaryMetric(name)], groupby=wr.Config("condition"), max_bars_to_show=50)
        for name in names
    ]
    media = wr.MediaBrowser(title="schedules and similarity", media_keys=["schedules", "similarity"])
    made = ws.Workspace(
        entity=entity,
        project=project,
        name=f"study {study}",
        sections=[
            ws.Section(name="Trade-off", panels=trade_off, is_open=True),
            ws.Section(name="By condition", panels=bars, is_open=True),
            ws.Section(name="Schedules", panels=[media]),
        ],
        settings=ws.WorkspaceSettings(max_runs=50),
        runset_settings=ws.RunsetSettings(
            filters=[expr.Metric("Group") == study, expr.Metric("JobType") == "condition"],
            groupby=[expr.Metric("Group")],
            order=[expr.Ordering(expr.Metric("Name"))],
            pinned_columns=[f"summary:{name}" for name in (*filter(None, paid), *COSTS) if name in names],
        ),
    )
    made._internal_name = f"nw-{run_id(study, 'workspace')[:11]}-v"  # the same every time
    return made


def view_of(made: "Workspace") -> "View":
    """As W&B stores it. Runs are grouped by study in the list of runs; panels show each condition by itself."""
    view = made._to_model()
    view.spec.section.settings.use_runs_table_grouping_in_panels = False
    return view


def request(view: "View") -> dict[str, Any]:
    """What `save` sends, with the specification as JSON instead of text."""
    spec = json.loads(view.spec.model_dump_json(by_alias=True, exclude_none=True))
    named = {"entityName": view.entity, "projectName": view.project, "name": view.name}
    return named | {"displayName": view.display_name, "spec": spec}


def save(made: "Workspace") -> str:
    """Send it, in the place of the one sent before; its address. Raises ValueError where the project does not exist."""
    from wandb_workspaces.workspaces.internal import View, upsert_view2

    try:
        made._internal_id = View.from_name(made.entity, made.project, made._internal_name).id
    except ValueError as error:
        if "Workspace" not in str(error):  # the project is not there; a workspace that is not there is made
            raise ValueError(f"{error} Its runs are sent by: python -m bench.track") from None
    upsert_view2(view_of(made))
    return made.url


def main(arguments: argparse.Namespace) -> int:
    """The exit status. Raises ValueError for wrong input, and without a key or a server that answers."""
    entity, _, project = arguments.project.partition("/")
    if not entity or not project or "/" in project:
        raise ValueError(f"expected ENTITY/PROJECT, got {arguments.project!r}")
    study: Path = arguments.study
    if not study.is_dir():
        raise ValueError(f"there is no study at {study}")
    names = measured(study)
    require("wandb_workspaces")
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    made = workspace(entity, project, study.name, names)
    if arguments.dry_run:
        print(json.dumps(request(view_of(made)), indent=1, ensure_ascii=False))
        return 0
    if reason := unreachable():
        raise ValueError(f"W&B cannot be used: {reason}. A workspace is made online only; --dry-run prints it")
    print(save(made))
    return 0


def command() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", metavar="ENTITY/PROJECT", help="where bench.track sent the study's runs")
    parser.add_argument("study", type=Path, help="a study's folder, such as runs/table1")
    parser.add_argument("--dry-run", action="store_true", help="print the workspace, send nothing")
    return main(parser.parse_args())


if __name__ == "__main__":
    run(command)
