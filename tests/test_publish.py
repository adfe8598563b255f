"""Publishes studies as real W&B runs, offline and to a server on 127.0.0.1, with the commands as processes."""

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb_server
from hydra import compose, initialize_config_dir
from processes import Finished, run

from analysis.columns import metrics_of
from analysis.publish import server as reach
from analysis.publish.runs import PREVIEW, conditions_of
from analysis.study import Study, record_in
from analysis.table import table_of
from bench.plan.command_line import CONF
from bench.plan.job import NoTracker, Wandb, require
from bench.plan.settings import job_of
from bench.store import place
from bench.store.claims import claimed
from bench.work import tracking
from bench.work.tracking import CLAIM, publishing

SMALL = ["model.video.num_frames=17", "model.video.num_inference_steps=3", "model.video.flow_shift=7.0"]


def write(study: Path, slug: str, prompt: str, scores: dict[str, Any], **other: Any) -> Path:
    """Writes a sample as a sweep does, but without a master."""
    name, _, k = slug.partition("-k")
    method: dict[str, Any] = {"name": name} | ({"k": int(k), "theta": 0.5} if k else {})
    spec = {"prompt": f"{prompt} moves", "seed": 7, "num_frames": 9, "fps": 12}
    model = {"weights_sha256": "ab" * 32, "dtype": "float32", "device_type": "cpu"}
    made: dict[str, Any] = {
        "schema": 1, "status": "done", "slug": slug, "model_name": "tiny", "method": method, "prompt_id": prompt,
        "seed_index": 0, "latency_s": 2.0, "token_ratio": 1.0, "peak_bytes": None, "notes": [], "error": None,
        "identity": {"generator_version": 1, "model": model, "method": method, "spec": spec},
        "key": f"{slug}/{prompt}", "reference_key": f"baseline/{prompt}" if k else None,
        "environment": {"commit": "c0ffee", "gpu": None, "packages": {"torch": "2"}}, "files": {"preview.mp4": "00"},
        "schedule": {"segments": [[0, 1, 1], [1, 8, 2]]} if k else None,
        "similarity": {"lag1": [0.5] * 8} if k else None,
    }  # fmt: skip
    made |= other
    folder = study / slug / prompt
    folder.mkdir(parents=True, exist_ok=True)
    if made["files"]:
        (folder / "preview.mp4").write_bytes(f"video {slug} {prompt}".encode())
    (folder / "record.json").write_text(json.dumps(made))
    values = {n: {"id": f"{n}-v1-none", "value": v, "reason": None if v else "no weights"} for n, v in scores.items()}
    (folder / "scores.json").write_text(json.dumps({"schema": 2, "scores": values}))
    return folder


def change(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Edits the record in a sample's folder."""
    record = record_in(folder)
    edit(record)
    (folder / "record.json").write_text(json.dumps(record))


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Returns a baseline and a condition over two prompts.

    One video is identical to its baseline, and a third sample has failed.
    """
    folder = tmp_path / "runs" / "mine"
    for prompt, psnr in (("a", 20.0), ("b", "inf")):
        write(folder, "baseline", prompt, {"flicker": 0.9})
        write(folder, "vgdfr-k5", prompt, {"flicker": 0.5, "psnr": psnr, "lpips": 0.1, "vqa": None}, latency_s=1.6)
    write(
        folder, "vgdfr-k5", "c", {}, status="failed", latency_s=None, token_ratio=None, schedule=None, similarity=None,
        files={}, error="Traceback\nRuntimeError: out of memory",
    )  # fmt: skip
    return folder


@pytest.fixture
def server() -> Iterator[wandb_server.Kept]:
    with wandb_server.server() as kept:
        yield kept


@pytest.fixture
def silent() -> Iterator[str]:
    """Yields the address of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def clean(environment: dict[str, str]) -> dict[str, str]:
    """Returns the environment for a command, in which the variables of W&B are only those of `environment`."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    return own | {"HOME": "/nonexistent", "WANDB_CACHE_DIR": os.devnull} | environment


def command(module: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a command as a user would, in a new interpreter, because it may start wandb's service."""
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        env=clean(environment),
        capture_output=True,
        text=True,
        timeout=1800,
    )


def forked(module: str, *arguments: object, **environment: str) -> Finished:
    """Runs a command that starts no service of wandb in a forked process."""
    with pytest.MonkeyPatch.context() as patch:
        for name in set(os.environ) - set(clean({})):
            patch.delenv(name)
        return run(module, *map(str, arguments), **clean(environment))


def offline_runs(study: Path) -> list[str]:
    """Returns the ids of the runs in the study's folder."""
    return sorted(folder.name.rpartition("-")[2] for folder in (study / "wandb").glob("offline-run-*"))


def uploaded(kept: wandb_server.Kept, run: str, kind: str) -> list[bytes]:
    return [content for name, content in kept.files.items() if name.startswith(f"{run}/media/{kind}/")]


def test_the_preview_is_the_file_that_the_store_writes() -> None:
    assert PREVIEW == place.PREVIEW


def test_a_condition_is_summarised_over_its_finished_samples(study: Path) -> None:
    whole = Study(study)
    conditions = conditions_of(whole)
    assert [c.name for c in conditions] == ["baseline", "vgdfr-k5"]
    summary = conditions[1].summary(metrics_of(whole.samples))
    assert summary == {
        "n": 2, "n_failed": 1, "flicker": 0.5, "psnr": 20.0, "psnr_infinite": 1, "lpips": 0.1, "latency_s": 1.6,
        "token_ratio": 1.0, "speedup": 1.25,
    }  # fmt: skip
    config = conditions[1].config("mine")
    assert config["method"]["k"] == 5 and config["video"] == {"num_frames": 9, "fps": 12}
    assert config["provenance"] == {
        "commit": "c0ffee", "gpu": None, "packages": {"torch": "2"}, "weights_sha256": "ab" * 32,
    }  # fmt: skip


def test_latencies_of_different_runs_give_no_speed_up_as_in_table_1(study: Path) -> None:
    for prompt in "ab":
        change(study / "vgdfr-k5" / prompt, lambda r: r["environment"].update(cpu="another machine"))
    assert "speedup" not in conditions_of(Study(study))[1].summary(())
    (row,) = (row for row in table_of(Study(study), allow_mixed=True).rows if row.slug == "vgdfr-k5")
    assert row.mean("speedup").value is None


def test_every_sample_is_a_row_and_what_is_no_number_is_said(study: Path) -> None:
    change(study / "vgdfr-k5" / "b", lambda r: r.update(notes=["one", "two"]))
    table = conditions_of(Study(study))[1].table(["psnr", "vqa"])
    a, b, c = table.to_dict("records")
    assert (a["psnr"], a["preview"], a["notes"]) == (20.0, "vgdfr-k5/a/preview.mp4", "vqa: no weights")
    assert b["psnr"] is None and b["notes"] == "one; two; psnr: inf; vqa: no weights"
    assert (c["status"], c["error"], c["preview"]) == ("failed", "RuntimeError: out of memory", None)
    json.dumps(table.to_numpy().tolist(), allow_nan=False)


def test_differing_machines_and_contents_are_told_apart_and_damage_is_named(study: Path) -> None:
    folder = write(study, "vgdfr-k5", "d", {}, environment={"commit": "beef", "gpu": "H100", "packages": {}})
    assert conditions_of(Study(study))[1].config("mine")["provenance"]["commit"] == ["beef", "c0ffee"]
    change(folder, lambda r: r["identity"]["model"].update(dtype="bfloat16"))
    assert [c.name for c in conditions_of(Study(study))] == [
        "baseline", "vgdfr-k5 dtype=bfloat16", "vgdfr-k5 dtype=float32",
    ]  # fmt: skip
    change(folder, lambda r: r["identity"]["spec"].update(num_frames=17))
    (study / "baseline" / "a" / "record.json").write_text("{")
    (study / "baseline" / "b" / "scores.json").write_text("{")
    whole = Study(study, skip_unreadable=True)
    assert [c.name for c in conditions_of(whole)] == ["vgdfr-k5 num_frames=17", "vgdfr-k5 num_frames=9"]
    assert list(whole.unreadable) == [str(study / "baseline" / prompt) for prompt in "ab"]
    record, scores = whole.unreadable.values()
    assert "baseline/a/record.json is damaged" in record and "baseline/b/scores.json is damaged" in scores


def test_the_reference_comes_first_whatever_its_name(study: Path) -> None:
    facts = {"role": "reference", "title": "Plain", "family": "Plain", "settings": [], "makes_video": True}
    for prompt in "ab":
        change(study / "baseline" / prompt, lambda r: r.update(facts, slug="zero", method={"name": "zero"}))
    reference, other = conditions_of(Study(study))
    assert (reference.name, other.name) == ("zero", "vgdfr-k5")
    assert "speedup" not in reference.summary(()) and other.summary(())["speedup"] == 1.25


def test_runs_keep_the_ids_that_they_always_had(study: Path) -> None:
    """The id is a hash of the study's name, the slug, and the identity without prompt and seed."""
    other = shutil.copytree(study / "vgdfr-k5" / "a", study / "vgdfr-k5" / "a2")
    change(other, lambda r: r["identity"]["model"].update(device_type="cuda"))  # another condition with the same name
    expected = set()
    for record in map(record_in, {file.parent for file in study.glob("*/*/record.json")}):
        spec = {name: value for name, value in record["identity"]["spec"].items() if name not in ("prompt", "seed")}
        told = json.dumps(["mine", [record["slug"], record["identity"] | {"spec": spec}]], sort_keys=True)
        expected.add(hashlib.sha256(told.encode()).hexdigest()[:16])
    ids = [c.run_id("mine") for c in conditions_of(Study(study))]
    assert len(ids) == 3 and set(ids) == expected
    assert [c.name for c in conditions_of(Study(study))][1:] == [
        "vgdfr-k5 device_type=cpu",
        "vgdfr-k5 device_type=cuda",
    ]
    assert "7ed350d77f2b9ad0" in ids  # an id of the first version that could publish


def test_the_old_commands_say_the_new_ones(study: Path) -> None:
    for name in ("track", "dashboard"):
        result = forked(f"bench.{name}", "a b", study, "--x")
        assert result.returncode == 2 and not result.stdout
        assert f"python -m analysis.publish.{name} 'a b' {study} --x\n" in result.stderr


def test_a_study_of_damaged_samples_alone_is_shown_without_conditions(study: Path) -> None:
    for file in study.rglob("record.json"):
        file.write_text("{")
    result = command("analysis.publish.track", study, WANDB_MODE="offline")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("not shown: ") == 5 and "1 runs of 0 samples written to" in result.stdout


def test_runs_are_sent_whole_and_sending_them_again_duplicates_nothing(study: Path, server: wandb_server.Kept) -> None:
    online = {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": wandb_server.KEY}
    project = "failed-errors"  # W&B's own lines contain these words, too
    first = command("analysis.publish.track", study, "--project", project, **online)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "3 runs of 5 samples written to" in first.stdout
    assert f"and sent to {project}, group mine" in first.stdout, first.stdout
    by_name = {run["displayName"]: name for name, run in server.runs.items()}
    assert set(by_name) == {"baseline", "vgdfr-k5", "mine"}
    assert {run["groupName"] for run in server.runs.values()} == {"mine"}
    own, whole = by_name["vgdfr-k5"], by_name["mine"]
    config = json.loads(server.runs[own]["config"])
    assert config["method"]["value"]["k"] == 5 and config["provenance"]["value"]["commit"] == "c0ffee"
    summary = server.summary(own)
    assert (summary["n"], summary["n_failed"], summary["speedup"], summary["psnr"]) == (2, 1, 1.25, 20.0)
    (table,) = map(json.loads, uploaded(server, own, "table"))
    assert [row[2] for row in table["data"]] == ["done", "done", "failed"]
    assert len(uploaded(server, own, "images")) == 2, "schedules and similarity"
    assert "Speedup" in server.runs[whole]["notes"] and "table1" in server.history(whole)[0]

    ids, history = set(server.runs), {name: len(server.history(name)) for name in server.runs}
    # a repeated sweep makes the failed sample
    write(study, "vgdfr-k5", "c", {"flicker": 0.5, "psnr": 40.0, "lpips": 0.1}, latency_s=1.6)
    assert command("analysis.publish.track", study, "--project", project, **online).returncode == 0
    assert set(server.runs) == ids and {name: len(server.history(name)) for name in ids} == history
    assert set(history.values()) == {1}
    assert (server.summary(own)["n"], server.summary(own)["n_failed"], server.summary(own)["psnr"]) == (3, 0, 30.0)
    assert len(offline_runs(study)) == 3, "the first runs are replaced"


def test_without_network_runs_stay_in_the_folder_and_can_be_sent_later(
    study: Path, server: wandb_server.Kept, silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (study / "baseline" / "a" / "record.json").unlink()  # this sample is not made yet, as in a sweep that is not done
    result = command(
        "analysis.publish.track", study, WANDB_BASE_URL="http://127.0.0.1:9", WANDB_API_KEY=wandb_server.KEY
    )
    assert (
        result.returncode == 0 and "not sent: http://127.0.0.1:9 cannot be reached: Connection refused" in result.stdout
    ), result.stderr
    assert f"later: wandb sync {study}/wandb, or python -m analysis.publish.track {study}" in result.stdout
    folders = sorted((study / "wandb").glob("offline-run-*"))
    monkeypatch.setenv("WANDB_API_KEY", wandb_server.KEY)
    monkeypatch.setenv("WANDB_BASE_URL", silent)  # a server that no longer answers when sending has begun
    assert reach.send(folders, timeout_s=3) == "not sent within 3 s"
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    monkeypatch.setenv("WANDB_API_KEY", "short")
    assert reach.send(folders, timeout_s=120) == "WANDB_API_KEY invalid: API key must have 40+ characters, has 5."
    online = {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": wandb_server.KEY, "WANDB_DIR": str(study)}
    by_hand = command("wandb", "sync", study / "wandb", **online)
    assert by_hand.returncode == 0, by_hand.stdout + by_hand.stderr
    assert sorted(server.runs) == sorted(folder.name.rpartition("-")[2] for folder in folders) and len(folders) == 3


def test_why_a_server_cannot_be_used_is_said_in_time(silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", silent)
    monkeypatch.setenv("HOME", "/nonexistent")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    assert reach.unreachable() == "No API key configured. Use `wandb login` to log in"
    monkeypatch.setenv("WANDB_API_KEY", "short")
    assert reach.unreachable() == "WANDB_API_KEY invalid: API key must have 40+ characters, has 5"
    monkeypatch.setenv("WANDB_API_KEY", wandb_server.KEY)
    monkeypatch.setattr(reach, "SILENT_S", 1)
    assert reach.unreachable() == "no answer within 1 s"


def test_the_wait_for_the_server_does_not_count_the_work_of_a_slow_machine(
    server: wandb_server.Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import time; time.sleep(3)")  # Python needs time to start
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    monkeypatch.setenv("WANDB_API_KEY", wandb_server.KEY)
    monkeypatch.setattr(reach, "SILENT_S", 2)
    assert reach.unreachable() is None


def test_previews_are_uploaded_when_asked_for_and_a_study_without_a_table_is_shown(
    study: Path, server: wandb_server.Kept
) -> None:
    for file in (study / "baseline").rglob("record.json"):
        file.unlink()
    online = {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": wandb_server.KEY}
    result = command("analysis.publish.track", study, "--previews", "upload", **online)
    assert result.returncode == 0 and "without Table 1: the study has no finished baseline" in result.stdout
    own = next(name for name, run in server.runs.items() if run["displayName"] == "vgdfr-k5")
    sent = [content for name, content in server.files.items() if name.startswith(f"run-{own}-samples/media/videos/")]
    assert sorted(sent) == [b"video vgdfr-k5 a", b"video vgdfr-k5 b"]


def test_a_background_process_waits_for_another_and_skips_what_is_shown(study: Path, server: wandb_server.Kept) -> None:
    arguments = ("analysis.publish.track", study, "--background")
    assert "WANDB_MODE is offline" in command(*arguments, WANDB_MODE="offline").stdout
    assert command(*arguments, WANDB_MODE="offline").stdout == "nothing new to show\n"
    assert "not sent: No API key configured" in command(*arguments).stdout
    online = {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": wandb_server.KEY}
    assert "and sent to vgdfr, group mine" in command(*arguments, **online).stdout, "the written runs were never sent"
    assert command(*arguments, **online).stdout == "nothing new to show\n" and len(server.runs) == 3
    with claimed(study, CLAIM):
        result = command("analysis.publish.track", study, WANDB_MODE="offline")
    assert result.returncode == 1 and "another process shows" in result.stderr


def test_a_sweep_ends_with_its_study_shown(tiny_checkpoint: Path, tmp_path: Path) -> None:
    arguments = ["method=baseline", f"root={tmp_path}", "study=tiny", f"model.backbone.path={tiny_checkpoint}", *SMALL]
    arguments += ["prompts.limit=1", "metrics.names=[flicker]", "tracking=wandb"]
    result = forked(
        "bench.sweep", *arguments, WANDB_MODE="offline", HOME=os.environ["HOME"], VGDFR_CACHE=str(tmp_path / "cache")
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "tracking: 2 runs of 1 samples written to" in result.stdout and "1 made" in result.stdout
    assert len(offline_runs(tmp_path / "tiny")) == 2


def test_a_sweep_waits_no_longer_than_it_says_and_survives_its_tracker(
    study: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    with claimed(study, CLAIM):  # the tracker's process waits
        began = time.monotonic()
        with publishing(study, Wandb("p"), wait_s=0.1):
            pass
        assert time.monotonic() - began < 30 and "tracking goes on in the background" in capsys.readouterr().out
    tracking._left_running[-1].wait(120)
    with claimed(study, CLAIM, timeout_s=120) as free:
        assert free
    with pytest.raises(OSError, match="disk"), publishing(study, Wandb("p")):
        raise OSError("a full disk")
    assert f"by hand: python -m analysis.publish.track {study} --project p" in capsys.readouterr().out
    with publishing(study / "nowhere", Wandb("p"), wait_s=240):
        pass
    assert "tracking failed: error: " in capsys.readouterr().out
    with publishing(study, NoTracker()):
        pass
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("tracking.previews=none", "tracking.previews must be path or upload, got 'none'"),
        ("tracking.project=me/p", "tracking.project must be a project's name, without its entity, got 'me/p'"),
    ],
)
def test_wrong_settings_are_refused_before_a_model_loads(setting: str, message: str, tiny_checkpoint: Path) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(
            "config", ["tracking=wandb", setting, f"model.backbone.path={tiny_checkpoint}", *SMALL, "method=baseline"]
        )
    with pytest.raises(ValueError) as caught:
        job_of(config)
    assert str(caught.value) == message


def test_wandb_is_imported_only_when_chosen_and_missing_it_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"package no-such-package is missing; .* pip install 'vgdfr\[wandb\]'"):
        require("no_such_package")
    code = (
        "import sys, bench.sweep, analysis.publish.track, analysis.publish.dashboard; sys.exit('wandb' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-W", "error::DeprecationWarning:bench", "-c", code]).returncode == 0


def test_a_workspace_is_saved_under_one_name_with_a_panel_for_every_metric(
    study: Path, server: wandb_server.Kept
) -> None:
    dry = forked("analysis.publish.dashboard", "someone/p", study, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    spec = json.loads(dry.stdout)["spec"]["section"]
    sections = {section["name"]: section["panels"] for section in spec["panelBankConfig"]["sections"]}
    axes = [(p["config"]["xAxis"], p["config"]["yAxis"]) for p in sections["Trade-off"]]
    assert axes == [("summary:speedup", "summary:lpips"), ("summary:speedup", "summary:psnr")]
    bars = [panel["config"]["metrics"][0] for panel in sections["By condition"]]
    assert bars == [f"summary_metrics.{n}" for n in (
        "flicker", "lpips", "psnr", "latency_s", "speedup", "token_ratio", "n", "n_failed"
    )]  # fmt: skip
    assert spec["runSets"][0]["grouping"] == [{"section": "run", "name": "group"}]
    assert spec["settings"]["useRunsTableGroupingInPanels"] is False
    assert ("group", "mine") in [(f["key"]["name"], f["value"]) for f in spec["runSets"][0]["filters"]["filters"]]

    online = {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": wandb_server.KEY}
    saved = forked("analysis.publish.dashboard", "someone/p", study, **online)
    assert saved.returncode == 0 and saved.stdout.startswith(f"{server.url}/someone/p?nw="), saved.stderr
    (sent,) = [variables for operation, variables in server.requests if operation == "UpsertView2"]
    assert (sent["entityName"], sent["projectName"], sent["displayName"]) == ("someone", "p", "study mine")
    assert sent["name"] == json.loads(dry.stdout)["name"]
    assert json.loads(sent["spec"])["section"]["runSets"][0]["filters"] == spec["runSets"][0]["filters"]


def test_a_workspace_needs_a_key_and_a_study(study: Path) -> None:
    result = forked("analysis.publish.dashboard", "someone/p", study)
    assert result.returncode == 1 and "W&B cannot be used: No API key configured" in result.stderr
    assert "--dry-run" in result.stderr and "Traceback" not in result.stderr
    assert "expected ENTITY/PROJECT, got 'p'" in forked("analysis.publish.dashboard", "p", study).stderr
    assert "there is no study at" in forked("analysis.publish.dashboard", "a/p", study / "nowhere").stderr
    assert "there is no study at" in forked("analysis.publish.track", study / "nowhere").stderr
