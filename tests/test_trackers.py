"""Trackers: real W&B runs, offline and to a server on 127.0.0.1; the processes are the commands themselves."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb_server
from hydra import compose, initialize_config_dir

from bench import record, score, tracked, trackers
from bench.claims import claimed
from bench.config import CONF, job_of
from bench.track import send
from bench.trackers import CLAIM, NoTracker, Wandb, require, unreachable
from bench.trackers import tracked as tracked_by

SMALL = ["model.video.num_frames=17", "model.video.num_inference_steps=3", "model.video.flow_shift=7.0"]


def write(study: Path, slug: str, prompt: str, scores: dict[str, Any], **other: Any) -> Path:
    """A sample as a sweep leaves it, but for its master."""
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


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A baseline and a condition over two prompts; one video identical to its baseline, a third sample failed."""
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
    """The address of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def command(module: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run it as a user would whose environment says nothing of W&B but `environment`."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        env=clean | {"HOME": "/nonexistent", "WANDB_CACHE_DIR": os.devnull} | environment,
        capture_output=True,
        text=True,
        timeout=1800,
    )


def offline_runs(study: Path) -> list[str]:
    """Ids of the runs that lie in the study's folder."""
    return sorted(folder.name.rpartition("-")[2] for folder in (study / "wandb").glob("offline-run-*"))


def uploaded(kept: wandb_server.Kept, run: str, kind: str) -> list[bytes]:
    return [content for name, content in kept.files.items() if name.startswith(f"{run}/media/{kind}/")]


def test_the_schemas_are_those_that_records_and_scores_are_written_in() -> None:
    assert (tracked.RECORD_SCHEMA, tracked.SCORES_SCHEMA) == (record.SCHEMA, score.SCHEMA)


def test_a_condition_is_summarised_over_its_finished_samples(study: Path) -> None:
    conditions, unreadable = tracked.read(study)
    assert [c.name for c in conditions] == ["baseline", "vgdfr-k5"] and not unreadable
    summary = conditions[1].summary(tracked.latencies(conditions))
    assert summary == {
        "n": 2, "n_failed": 1, "flicker": 0.5, "psnr": 20.0, "psnr_infinite": 1, "lpips": 0.1, "latency_s": 1.6,
        "token_ratio": 1.0, "speedup": 1.25,
    }  # fmt: skip
    config = conditions[1].config("mine")
    assert config["method"]["k"] == 5 and config["video"] == {"num_frames": 9, "fps": 12}
    assert config["provenance"] == {
        "commit": "c0ffee", "gpu": None, "packages": {"torch": "2"}, "weights_sha256": "ab" * 32,
    }  # fmt: skip


def test_every_sample_is_a_row_and_what_is_no_number_is_said(study: Path) -> None:
    conditions, _ = tracked.read(study)
    columns, rows = conditions[1].table(study, ["psnr", "vqa"])
    a, b, c = (dict(zip(columns, row, strict=True)) for row in rows)
    assert (a["psnr"], a["preview"], a["notes"]) == (20.0, "vgdfr-k5/a/preview.mp4", "vqa: no weights")
    assert b["psnr"] is None and b["notes"] == "psnr: inf; vqa: no weights"
    assert (c["status"], c["error"], c["preview"]) == ("failed", "RuntimeError: out of memory", None)
    json.dumps(rows, allow_nan=False)


def test_differing_machines_and_videos_are_told_apart_and_damage_is_named(study: Path) -> None:
    folder = write(study, "vgdfr-k5", "d", {}, environment={"commit": "beef", "gpu": "H100", "packages": {}})
    conditions, _ = tracked.read(study)
    assert conditions[1].config("mine")["provenance"]["commit"] == ["beef", "c0ffee"]
    other = json.loads((folder / "record.json").read_text())
    other["identity"]["spec"]["num_frames"] = 17
    (folder / "record.json").write_text(json.dumps(other))
    (study / "baseline" / "a" / "record.json").write_text("{")
    (study / "baseline" / "b" / "scores.json").write_text("{")
    conditions, unreadable = tracked.read(study)
    assert [c.name for c in conditions] == ["baseline", "vgdfr-k5 num_frames=9", "vgdfr-k5 num_frames=17"]
    assert len(unreadable) == 1 and unreadable[0].startswith("baseline/a: JSONDecodeError")
    assert conditions[0].samples[0].reasons["scores"].startswith("scores.json is damaged")


def test_runs_are_sent_whole_and_sending_them_again_duplicates_nothing(study: Path, server: wandb_server.Kept) -> None:
    online = {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": wandb_server.KEY}
    project = "failed-errors"  # which is what W&B's lines say, too
    first = command("bench.track", study, "--project", project, **online)
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
    write(study, "vgdfr-k5", "c", {"flicker": 0.5, "psnr": 40.0, "lpips": 0.1}, latency_s=1.6)  # made the next time
    assert command("bench.track", study, "--project", project, **online).returncode == 0
    assert set(server.runs) == ids and {name: len(server.history(name)) for name in ids} == history
    assert set(history.values()) == {1}
    assert (server.summary(own)["n"], server.summary(own)["n_failed"], server.summary(own)["psnr"]) == (3, 0, 30.0)
    assert len(offline_runs(study)) == 3, "those of the first time are replaced"


def test_without_network_runs_stay_in_the_folder_and_can_be_sent_later(
    study: Path, server: wandb_server.Kept, silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (study / "baseline" / "a" / "record.json").unlink()  # as in a study whose sweep is not done
    result = command("bench.track", study, WANDB_BASE_URL="http://127.0.0.1:9", WANDB_API_KEY=wandb_server.KEY)
    assert result.returncode == 0 and "not sent: Failed to verify credentials" in result.stdout, result.stderr
    assert f"later: wandb sync {study}/wandb, or python -m bench.track {study}" in result.stdout
    folders = sorted((study / "wandb").glob("offline-run-*"))
    monkeypatch.setenv("WANDB_API_KEY", wandb_server.KEY)
    monkeypatch.setenv("WANDB_BASE_URL", silent)  # one that no longer answers once sending has begun
    assert send(folders, timeout_s=3) == "not sent within 3 s"
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    monkeypatch.setenv("WANDB_API_KEY", "short")
    assert send(folders, timeout_s=120) == "WANDB_API_KEY invalid: API key must have 40+ characters, has 5."
    online = {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": wandb_server.KEY, "WANDB_DIR": str(study)}
    by_hand = command("wandb", "sync", study / "wandb", **online)
    assert by_hand.returncode == 0, by_hand.stdout + by_hand.stderr
    assert sorted(server.runs) == sorted(folder.name.rpartition("-")[2] for folder in folders) and len(folders) == 3


def test_why_a_server_cannot_be_used_is_said_in_time(silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", silent)
    monkeypatch.setenv("HOME", "/nonexistent")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    assert unreachable() == "No API key configured. Use `wandb login` to log in"
    monkeypatch.setenv("WANDB_API_KEY", "short")
    assert unreachable() == "WANDB_API_KEY invalid: API key must have 40+ characters, has 5"
    monkeypatch.setenv("WANDB_API_KEY", wandb_server.KEY)
    monkeypatch.setattr(trackers, "PROBE_S", 1)
    assert unreachable() == "no answer within 1 s"


def test_previews_are_uploaded_when_asked_for_and_a_study_without_a_table_is_shown(
    study: Path, server: wandb_server.Kept
) -> None:
    for file in (study / "baseline").rglob("record.json"):
        file.unlink()
    online = {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": wandb_server.KEY}
    result = command("bench.track", study, "--previews", "upload", **online)
    assert result.returncode == 0 and "without Table 1: error: the study has no finished baseline" in result.stdout
    own = next(name for name, run in server.runs.items() if run["displayName"] == "vgdfr-k5")
    sent = [content for name, content in server.files.items() if name.startswith(f"run-{own}-samples/media/videos/")]
    assert sorted(sent) == [b"video vgdfr-k5 a", b"video vgdfr-k5 b"]


def test_a_background_process_waits_for_another_and_skips_what_is_shown(study: Path, server: wandb_server.Kept) -> None:
    arguments = ("bench.track", study, "--background")
    assert "WANDB_MODE is offline" in command(*arguments, WANDB_MODE="offline").stdout
    assert command(*arguments, WANDB_MODE="offline").stdout == "nothing new to show\n"
    assert "not sent: No API key configured" in command(*arguments).stdout
    online = {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": wandb_server.KEY}
    assert "and sent to vgdfr, group mine" in command(*arguments, **online).stdout, "what was written was never sent"
    assert command(*arguments, **online).stdout == "nothing new to show\n" and len(server.runs) == 3
    with claimed(study, CLAIM):
        result = command("bench.track", study, WANDB_MODE="offline")
    assert result.returncode == 1 and "another process shows" in result.stderr


def test_a_sweep_ends_with_its_study_shown(tiny_checkpoint: Path, tmp_path: Path) -> None:
    arguments = ["method=baseline", f"root={tmp_path}", "study=tiny", f"model.backbone.path={tiny_checkpoint}", *SMALL]
    arguments += ["prompts.limit=1", "metrics.names=[flicker]", "tracking=wandb"]
    result = command(
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
        with tracked_by(study, Wandb("p"), wait_s=0.1):
            pass
        assert time.monotonic() - began < 30 and "tracking goes on beside this" in capsys.readouterr().out
    trackers._beside[-1].wait(120)
    with claimed(study, CLAIM, timeout_s=120) as free:
        assert free
    with pytest.raises(OSError, match="disk"), tracked_by(study, Wandb("p")):
        raise OSError("a full disk")
    assert f"by hand: python -m bench.track {study} --project p" in capsys.readouterr().out
    with tracked_by(study / "nowhere", Wandb("p"), wait_s=240):
        pass
    assert "tracking failed: error: " in capsys.readouterr().out
    with tracked_by(study, NoTracker()):
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
    with initialize_config_dir(CONF, version_base="1.3"):
        config = compose(
            "config", ["tracking=wandb", setting, f"model.backbone.path={tiny_checkpoint}", *SMALL, "method=baseline"]
        )
    with pytest.raises(ValueError) as caught:
        job_of(config)
    assert str(caught.value) == message


def test_wandb_is_imported_only_when_chosen_and_missing_it_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"package no-such-package is missing; .* pip install 'vgdfr\[wandb\]'"):
        require("no_such_package")
    code = "import sys, bench.sweep, bench.track, bench.dashboard; sys.exit('wandb' in sys.modules)"
    assert subprocess.run([sys.executable, "-W", "error::DeprecationWarning:bench", "-c", code]).returncode == 0


def test_a_workspace_is_saved_under_one_name_with_a_panel_for_every_metric(
    study: Path, server: wandb_server.Kept
) -> None:
    dry = command("bench.dashboard", "someone/p", study, "--dry-run")
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
    saved = command("bench.dashboard", "someone/p", study, **online)
    assert saved.returncode == 0 and saved.stdout.startswith(f"{server.url}/someone/p?nw="), saved.stderr
    (sent,) = [variables for operation, variables in server.requests if operation == "UpsertView2"]
    assert (sent["entityName"], sent["projectName"], sent["displayName"]) == ("someone", "p", "study mine")
    assert sent["name"] == json.loads(dry.stdout)["name"]
    assert json.loads(sent["spec"])["section"]["runSets"][0]["filters"] == spec["runSets"][0]["filters"]


def test_a_workspace_needs_a_key_and_a_study(study: Path) -> None:
    result = command("bench.dashboard", "someone/p", study)
    assert result.returncode == 1 and "W&B cannot be used: No API key configured" in result.stderr
    assert "--dry-run" in result.stderr and "Traceback" not in result.stderr
    assert "expected ENTITY/PROJECT, got 'p'" in command("bench.dashboard", "p", study).stderr
    assert "there is no study at" in command("bench.dashboard", "a/p", study / "nowhere").stderr
    assert "there is no study at" in command("bench.track", study / "nowhere").stderr
