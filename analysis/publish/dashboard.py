"""Makes a W&B workspace for a study: `python -m analysis.publish.dashboard ENTITY/PROJECT runs/STUDY`.

The workspace shows the runs that `analysis.publish.track` sent. Its sections are the trade-off of speed-up against
quality, and a bar per condition for each metric. Doing it again updates the same workspace. --dry-run prints the
workspace and sends nothing.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.columns import metrics_of
from analysis.publish.runs import conditions_of, group_of, run_id
from analysis.publish.server import quiet, unreachable
from analysis.study import Study
from bench.plan.job import require
from bench.work.tracking import PUBLISHER
from vgdfr_commands.start import called, run

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Workspace
    from wandb_workspaces.workspaces.internal import View

AGAINST = ("lpips", "psnr", "clipsim")  # the metrics that are plotted against the speed-up, in this order
COSTS = ("latency_s", "speedup", "token_ratio", "passes", "n", "n_failed")


def measured(folder: Path) -> list[str]:
    """Returns the names of the summary values of the study's runs, scores first. Raises StudyError for no study."""
    study = Study(folder, skip_unreadable=True)
    metrics = metrics_of(study.samples)
    names = {name for c in conditions_of(study) for name in c.summary(metrics) if not name.endswith("_infinite")}
    return [*sorted(names - {*COSTS, "peak_bytes"}), *(name for name in COSTS if name in names)]


def workspace(entity: str, project: str, study: str, names: Sequence[str]) -> "Workspace":
    """Returns the workspace of the group `study`. The summary values of its runs are `names`."""
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
    """Returns the workspace as W&B stores it. The list of runs is grouped by study; panels show each condition."""
    view = made._to_model()
    view.spec.section.settings.use_runs_table_grouping_in_panels = False
    return view


def save(made: "Workspace") -> str:
    """Saves the workspace in place of the earlier workspace. Returns its address.

    Raises ValueError if the project does not exist.
    """
    from wandb_workspaces.workspaces.internal import View, upsert_view2

    try:
        made._internal_id = View.from_name(made.entity, made.project, made._internal_name).id
    except ValueError as error:
        if "Workspace" not in str(error):  # the project does not exist; a missing workspace is made
            raise ValueError(f"{error} Its runs are sent by: {' '.join(called(PUBLISHER))}") from None
    upsert_view2(view_of(made))
    return made.url


def main(arguments: argparse.Namespace) -> int:
    """Returns the exit status. Raises ValueError for wrong input, and without a key or a server that answers."""
    entity, _, project = arguments.project.partition("/")
    if not entity or not project or "/" in project:
        raise ValueError(f"expected ENTITY/PROJECT, got {arguments.project!r}")
    study: Path = arguments.study
    if not study.is_dir():
        raise ValueError(f"there is no study at {study}")
    names = measured(study)
    require("wandb_workspaces")
    quiet()
    made = workspace(entity, project, group_of(study), names)
    if arguments.dry_run:
        view = view_of(made)
        spec = json.loads(view.spec.model_dump_json(by_alias=True, exclude_none=True))  # sent as text in JSON
        place = {"entityName": entity, "projectName": project, "name": view.name, "displayName": view.display_name}
        print(json.dumps(place | {"spec": spec}, indent=1, ensure_ascii=False))
        return 0
    if reason := unreachable():
        raise ValueError(f"W&B cannot be used: {reason}. A workspace is made online only; --dry-run prints it")
    print(save(made))
    return 0


def command() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", metavar="ENTITY/PROJECT", help="where the study's runs were sent")
    parser.add_argument("study", type=Path, help="a study's folder, such as runs/table1")
    parser.add_argument("--dry-run", action="store_true", help="print the workspace and send nothing")
    return main(parser.parse_args())


if __name__ == "__main__":
    run(command)
