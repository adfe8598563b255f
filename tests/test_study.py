"""A study as one DataFrame and its index: refreshed samples, refusals and messages."""

import csv
import json
import math
import os
import random
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from test_table1 import rewrite, write

from analysis import Study, StudyError, index, statistics
from analysis.output import samples_files
from analysis.table import table_of

SLUG = "vgdfr-k5-theta0.5"
A_GPU = {"gpu": "A GPU", "packages": {"torch": "2.15"}, "code_sha256": "0" * 64}


@pytest.fixture
def study(tmp_path: Path) -> Path:
    for prompt, seconds in (("a", 10.0), ("b", 20.0)):
        write(tmp_path / "study", "baseline", prompt, seconds, {"flicker": 0.9}, environment=A_GPU)
        write(tmp_path / "study", SLUG, prompt, seconds / 2, {"psnr": 30.0, "lpips": None}, environment=A_GPU)
    return tmp_path / "study"


def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Returns a list to which the places of all samples that are read from now on are added."""
    read, row = [], index.row_of

    def counted(study: Path, sample: str) -> dict[str, Any] | None:
        read.append(sample)
        return row(study, sample)

    monkeypatch.setattr(index, "row_of", counted)
    return read


def age(study: Path, seconds: float = 60.0) -> None:
    """Makes all files older, so that they are not read again as files that have just changed."""
    for file in study.rglob("*.json"):
        stat = file.stat()
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns - int(seconds * 1e9)))


def test_samples_are_one_tidy_row_each(study: Path) -> None:
    write(study, "vgdfr-k5-theta0.9", "a", 10.0, {"psnr": "inf"}, environment=A_GPU, seconds={"denoise": 9.5})
    write(study, "vgdfr-k5-theta0.9", "b", 0.0, {}, status="failed", error="Traceback\nMemoryError: too large\n")
    samples: Any = Study(study).samples
    assert samples.index.names == ["condition", "prompt", "seed"] and samples.index.is_unique
    own = samples.loc[(SLUG, "b", 0)]
    assert (own["method.k"], own["method.theta"], own["latency_s"], own["psnr"]) == (5, 0.5, 10.0, 30.0)
    assert (own["speedup"], own["video.fps"], own["device"]) == (2.0, 12, "A GPU")
    other = samples.loc["vgdfr-k5-theta0.9"]
    assert math.isinf(other.loc[("a", 0), "psnr"]) and other.loc[("a", 0), "seconds.denoise"] == 9.5
    assert other.loc[("b", 0), "status"] == "failed" and other.loc[("b", 0), "error"] == "MemoryError: too large"
    assert pd.isna(samples.loc[("baseline", "a", 0), "speedup"]), "a reference is not compared with itself"


def test_the_reason_for_a_missing_score_is_in_missing(study: Path) -> None:
    made = Study(study)
    assert made.samples["lpips"].isna().all()
    rows = made.missing.to_dict("records")
    assert rows[0] == {"condition": SLUG, "prompt": "a", "seed": 0, "metric": "lpips", "reason": "no baseline"}
    assert len(rows) == 2


def test_fields_that_nobody_knows_are_columns_whatever_they_hold(study: Path) -> None:
    rewrite(study / SLUG / "a", "record.json", {"new": {"watts": 300.0, "name": "x"}, "mixed": 1, "many": [1, 2]})
    rewrite(study / SLUG / "b", "record.json", {"mixed": "two"})
    samples = Study(study).samples.loc[SLUG]
    assert list(samples["mixed"]) == ["1", "two"] and samples["new.watts"].iloc[0] == 300.0
    assert samples["many"].iloc[0] == "[1,2]" and samples["new.name"].iloc[0] == "x"


def test_only_what_changed_is_read_again(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    age(study)
    before, read = Study(study).samples, reads(monkeypatch)
    assert Study(study).samples.equals(before) and not read
    rewrite(study / SLUG / "a", "record.json", {"latency_s": 2.5})
    (study / SLUG / "b" / "scores.json").unlink()
    shutil.rmtree(study / "baseline" / "b")
    write(study, "vgdfr-k5-theta0.9", "a", 10.0, {})
    after: Any = Study(study).samples
    assert sorted(read) == [f"{SLUG}/a", f"{SLUG}/b", "vgdfr-k5-theta0.9/a"]
    assert after.loc[(SLUG, "a", 0), "latency_s"] == 2.5 and pd.isna(after.loc[(SLUG, "b", 0), "psnr"])
    assert ("baseline", "b", 0) not in after.index and pd.isna(after.loc[(SLUG, "b", 0), "speedup"])
    (study / index.FILE).unlink()
    assert Study(study).samples.equals(after), "a refreshed index equals a new index"


def test_a_file_that_changes_twice_within_a_tick_of_the_clock_is_not_missed(study: Path) -> None:
    """A change in place, with equal size and time, cannot be seen. So young files are always read again."""
    file = study / SLUG / "a" / "record.json"
    assert Study(study).samples.loc[(SLUG, "a", 0), "latency_s"] == 5.0
    stat = file.stat()
    file.write_text(file.read_text().replace('"latency_s": 5.0', '"latency_s": 4.0'))
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert Study(study).samples.loc[(SLUG, "a", 0), "latency_s"] == 4.0


@pytest.mark.parametrize("damage", ["cut", "schema", "columns", "text"])
def test_an_index_that_is_damaged_or_of_another_version_is_made_anew(
    study: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, file = Study(study).samples, study / index.FILE
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-40])
    elif damage == "text":
        file.write_text("no parquet")
    elif damage == "columns":
        pd.DataFrame({"sample": ["x"]}).to_parquet(file)
    else:
        monkeypatch.setattr(index, "_METADATA", index._METADATA | {b"vgdfr": b"another"})
    assert Study(study).samples.equals(before)
    assert file.read_bytes()[:4] == b"PAR1"


def test_a_study_that_cannot_be_written_is_read_all_the_same(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise OSError("read-only file system")

    monkeypatch.setattr(Path, "write_bytes", refused)
    assert len(Study(study).samples) == 4 and not (study / index.FILE).exists()


def test_many_readers_and_a_writer_at_once(study: Path) -> None:
    def look(_: int) -> int:
        return len(Study(study).samples)

    with ThreadPoolExecutor(4) as pool:
        looks = pool.map(look, range(12))
        for i in range(6):  # the file is replaced as a whole, as the store does
            write(study / ".partial", "vgdfr-k5-theta0.9", f"c{i}", 1.0, {})
            (study / "vgdfr-k5-theta0.9").mkdir(exist_ok=True)
            (study / ".partial" / "vgdfr-k5-theta0.9" / f"c{i}").rename(study / "vgdfr-k5-theta0.9" / f"c{i}")
        assert all(4 <= n <= 10 for n in looks)
    assert look(0) == 10 and not list(study.glob(".index*"))


def test_damaged_files_are_refused_or_named(study: Path) -> None:
    file = study / SLUG / "a" / "record.json"
    file.write_text(file.read_text()[:50])
    rewrite(study / SLUG / "b", "scores.json", {"schema": 1})
    made = Study(study, skip_unreadable=True)
    assert len(made.samples) == 2 and set(made.unreadable) == {f"{study}/{SLUG}/a", f"{study}/{SLUG}/b"}
    with pytest.raises(StudyError, match="record.json is damaged.*this moves the sample away: python -m bench.store"):
        _ = Study(study).samples
    file.unlink()
    with pytest.raises(StudyError, match="expected scores of schema 2, got 1; score the study again"):
        _ = Study(study).samples
    scores = {"psnr": {"id": "psnr-v1-rgb-no-weights", "value": "nan", "reason": None}}
    rewrite(study / SLUG / "b", "scores.json", {"schema": 2, "scores": scores})
    with pytest.raises(StudyError, match="psnr is no number"):
        _ = Study(study).samples


def test_curves_are_the_values_per_frame(study: Path) -> None:
    schedule = {"segments": [[0, 1, 1], [1, 4, 4]], "kept_frames": [0, 1], "kept_latents": [0, 1]}
    rewrite(study / SLUG / "a", "record.json", {"schedule": schedule, "similarity": {"lag1": [0.9, 0.8, 0.7, 0.6]}})
    scores = json.loads((study / SLUG / "a" / "scores.json").read_text())
    scores["scores"]["psnr"]["per_frame"] = [30.0, "inf", 31.0, 32.0, 33.0]
    rewrite(study / SLUG / "a", "scores.json", scores)
    curves = Study(study).curves(SLUG, "a", 0)
    assert list(curves["factor"]) == [1, 4, 4, 4, 4] and list(curves["kept"]) == [True, True, False, False, False]
    assert math.isinf(curves["psnr"][1]) and pd.isna(curves["lag1"][4]) and curves["lag1"][0] == 0.9
    with pytest.raises(StudyError, match="no sample of condition nothing.*conditions: baseline, vgdfr"):
        Study(study).curves("nothing", "a", 0)


def test_studies_together_share_rows_and_never_speedups_of_other_runs(study: Path, tmp_path: Path) -> None:
    """The second study repeats the baseline of prompt a on another machine, which is ten times slower."""
    slower = A_GPU | {"gpu": "A slow GPU"}
    for slug, seconds in (("baseline", 100.0), ("vgdfr-k5-theta0.9", 80.0)):
        key: dict[str, Any] = {"key": "of the baseline"} if slug == "baseline" else {}
        write(tmp_path / "other", slug, "a", seconds, {}, environment=slower, **key)
    rewrite(study / "baseline" / "a", "record.json", {"key": "of the baseline"})
    both = Study(study, tmp_path / "other")
    assert both.name == "study + other" and len(both.samples) == 6
    with pytest.raises(StudyError, match="mixes 2 devices"):
        table_of(both)
    table = table_of(both, allow_mixed=True)
    assert [(row.title, row.n) for row in table.rows] == [
        ("Original", 2), ("VGDFR (k=5, θ=0.5)", 2), ("VGDFR (k=5, θ=0.9)", 1),
    ]  # fmt: skip
    assert [row.mean("speedup").value for row in table.rows] == [None, 2.0, 1.25]
    (tmp_path / "other" / "baseline" / "a" / "record.json").unlink()
    alone = table_of(Study(study, tmp_path / "other"), allow_mixed=True)
    assert alone.rows[2].mean("speedup").value is None, "10 s on one machine over 80 s on another is no speed-up"
    with pytest.raises(StudyError, match="each once"):
        Study(study, study)


def test_a_baseline_of_another_run_gives_no_speedup_and_the_table_says_so(study: Path) -> None:
    from analysis.table1 import table_sheet

    rewrite(study / SLUG / "b", "record.json", {"environment": A_GPU | {"packages": {"torch": "2.16"}}})
    table = table_of(Study(study))
    assert table.rows[1].mean("speedup")[::3] == (2.0, 1)
    notes = table_sheet(table).notes
    assert any("1 sample has no speed-up: its baseline was timed in another run." in note for note in notes)


def test_dit_work_is_tokens_times_layers_over_the_references(study: Path) -> None:
    full, short = [9, 16, 16, 1, 1, 1, 50], [5, 16, 16, 1, 1, 1, 40]
    for prompt in "ab":
        rewrite(study / "baseline" / prompt, "record.json", {"dit_passes": [full]})
    rewrite(study / SLUG / "a", "record.json", {"dit_passes": [[*full[:6], 10], short]})
    rewrite(study / SLUG / "b", "record.json", {"dit_passes": [[*full[:4], 0.5, 0.0, 50]]})
    work = Study(study).samples["dit_work"]
    assert work[SLUG, "a", 0] == pytest.approx((9 * 10 + 5 * 40) / (9 * 50)) and work[SLUG, "b", 0] == 0.25
    assert work["baseline", "a", 0] == 1.0


def test_samples_are_files_for_plain_pandas_and_written_again_only_after_a_change(study: Path, tmp_path: Path) -> None:
    age(study)
    made = Study(study)
    for name, content in samples_files(made, tmp_path).items():
        (tmp_path / name).write_bytes(content)
    read = pd.read_parquet(tmp_path / "samples.parquet")
    assert read.index.equals(made.samples.index) and read["psnr"].equals(made.samples["psnr"])
    assert len(pd.read_csv(tmp_path / "samples.csv")) == 4
    assert samples_files(Study(study), tmp_path) == {}
    time.sleep(0.02)
    rewrite(study / SLUG / "a", "record.json", {"latency_s": 2.5})
    assert set(samples_files(Study(study), tmp_path)) == {"samples.csv", "samples.parquet"}


def test_it_imports_no_torch() -> None:
    code = "import sys; from analysis import Study; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_notebook_of_the_docs_runs_and_says_what_table_1_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import runpy

    import goldens

    table1 = goldens.unpacked(tmp_path) / "table1"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["dataframe.py", str(table1)])
    runpy.run_path(str(Path(__file__).parents[1] / "docs" / "dataframe.py"))
    assert (tmp_path / "own_plot.png").stat().st_size > 10_000
    said = capsys.readouterr().out
    with (goldens.REPORTS / "table1" / "table1.csv").open(newline="", encoding="utf-8") as file:
        row = next(
            row for row in csv.DictReader(file) if (row["method"], row["k"], row["theta"]) == ("VGDFR", "4", "0.5")
        )
    found = next(line for line in said.splitlines() if line.startswith("vgdfr-k4-theta0.5: PSNR"))
    assert f"PSNR {float(row['psnr']):.2f} dB" in found and f"speed-up {float(row['speedup']):.2f}" in found


def test_the_lines_of_the_readme_run(study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    code = next(block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "import Study" in block)
    monkeypatch.chdir(tmp_path)
    write(study, "vgdfr-k5-theta0.9", "a", 10.0, {"psnr": "inf"})
    rewrite(study / "vgdfr-k5-theta0.9" / "a", "record.json", {"token_ratio": 0.5})
    scores = {"lpips_embedded": {"id": "lpips_embedded-v1-rgb-no-weights", "value": 0.5, "reason": None}}
    rewrite(study / "baseline" / "a", "scores.json", {"scores": scores})
    exec(code.replace("runs/table1", str(study)), {})
    assert (tmp_path / "plot.png").is_file()


def test_studies_of_one_machine_never_lend_each_other_a_baseline(study: Path, tmp_path: Path) -> None:
    """A run is a process. Yesterday's run of a machine is no reference for today's run."""
    for slug, seconds in (("baseline", 30.0), (SLUG, 20.0)):
        write(tmp_path / "other", slug, "a", seconds, {}, environment=A_GPU)
    for studies in ((study, tmp_path / "other"), (tmp_path / "other", study)):
        speedups = Study(*studies).samples.set_index("study", append=True)["speedup"].dropna()
        assert sorted(speedups.xs("other", level="study")) == [1.5]
        assert sorted(speedups.xs("study", level="study")) == [2.0, 2.0]
    both = Study(study, tmp_path / "other")
    samples: Any = both.samples
    with pytest.raises(StudyError, match="vgdfr-k5-theta0.5, prompt a, seed 0 is there 2 times: .*study.*other"):
        both.curves(SLUG, "a", 0)
    with pytest.raises(ValueError, match="is there twice; samples of several studies are compared study by study"):
        statistics.paired(samples.loc[SLUG, "flicker"], samples.loc["baseline", "flicker"])


def test_two_prompts_of_one_text_have_a_baseline_each(tmp_path: Path) -> None:
    spec = {"prompt": "the same", "seed": 1, "fps": 12}
    identity = {"generator_version": 1, "model": {"dtype": "float32"}, "spec": spec}
    for prompt, seconds in (("a", 10.0), ("b", 30.0)):
        write(tmp_path, "baseline", prompt, seconds, {}, identity=identity)
        write(tmp_path, SLUG, prompt, 10.0, {}, identity=identity)
    samples: Any = Study(tmp_path).samples
    assert list(samples.loc[SLUG, "speedup"]) == [1.0, 3.0]


def test_an_index_with_a_flipped_bit_is_made_anew(study: Path) -> None:
    age(study)
    before, file = Study(study).samples, study / index.FILE
    content, draw = file.read_bytes(), random.Random(0)
    for _ in range(60):
        damaged = bytearray(content)
        damaged[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        file.write_bytes(damaged)
        assert Study(study).samples.equals(before)


def test_another_process_does_not_read_again_what_has_no_scores(study: Path) -> None:
    (study / SLUG / "a" / "scores.json").unlink()
    age(study)
    Study(study)
    before = (study / index.FILE).stat().st_mtime_ns
    code = f"from analysis import Study; Study({str(study)!r})"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    assert (study / index.FILE).stat().st_mtime_ns == before


def test_settings_of_any_kind_stop_no_report(study: Path) -> None:
    odd = {"name": "own", "k": "auto", "theta": [0.5, 0.7], "id": "x", "seed": 2**70, "fps": {"a": 1}}
    write(study, "own", "a", 5.0, {"psnr": 20.0}, method=odd, environment=A_GPU)
    table = table_of(Study(study))
    assert [row.k for row in table.rows] == [None, 5, None] and table.rows[2].mean("psnr").value == 20.0


def test_unknown_fields_do_not_take_the_place_of_our_columns(study: Path) -> None:
    before: Any = Study(study).samples
    fields = {"sample": "elsewhere", "seed": 7, "clock": "mine", "unreadable": "no", "speedup": 99.0, "video": "x"}
    for file in study.glob("*/*/record.json"):
        rewrite(file.parent, "record.json", fields)
    after: Any = Study(study).samples
    assert after[before.columns].equals(before) and set(after["record.speedup"]) == {99.0}


def test_names_that_are_not_unicode_are_read(study: Path) -> None:
    file = study / SLUG / "a" / "record.json"
    file.write_text(file.read_text()[:-1] + ', "checkpoint": {"path": "/caf\\udce9"}}')
    samples: Any = Study(study).samples
    assert samples.loc[(SLUG, "a", 0), "checkpoint.path"] == "/caf\\udce9"


def test_damaged_samples_that_are_skipped_change_no_type(study: Path) -> None:
    before = Study(study).samples.dtypes
    (study / SLUG / "a" / "record.json").write_text("{")
    made = Study(study, skip_unreadable=True)
    assert made.samples.index.get_level_values("seed").dtype == "int64" and before["makes_video"] == "bool"
    assert made.samples["makes_video"].dtype == "bool" and len(table_of(made).rows) == 2


def test_studies_whose_fields_differ_in_type_can_be_written_together(study: Path, tmp_path: Path) -> None:
    other = shutil.copytree(study, tmp_path / "other")
    for number, folder in enumerate((study, other)):
        rewrite(folder / SLUG / "a", "record.json", {"new": "text" if number else 5})
    Study(study, other).samples.drop(columns="folder").to_parquet(tmp_path / "both.parquet")
    assert len(pd.read_parquet(tmp_path / "both.parquet")) == 8


def test_damaged_scores_are_to_be_scored_again(study: Path) -> None:
    (study / SLUG / "a" / "scores.json").write_text('{"schema": 2}')
    with pytest.raises(StudyError, match="scores.json is damaged .*scores.*writes it again: python -m bench.score"):
        _ = Study(study).samples
    rewrite(study / SLUG / "a", "record.json", {"latency_s": "long"})
    with pytest.raises(StudyError, match="record.json is damaged .*latency_s must be a number, got 'long'.*verify"):
        _ = Study(study).samples


def test_samples_of_another_study_in_the_same_folder_are_replaced(study: Path, tmp_path: Path) -> None:
    other = shutil.copytree(study, tmp_path / "other")
    for folder in (study, other):
        for name, content in samples_files(Study(folder), tmp_path).items():
            (tmp_path / name).write_bytes(content)
        assert set(pd.read_parquet(tmp_path / "samples.parquet")["study"]) == {folder.name}


def test_a_sample_without_a_video_does_not_rename_the_others(study: Path) -> None:
    identity = json.loads((study / "baseline" / "a" / "record.json").read_text())["identity"]
    identity["spec"]["fps"] = 99
    write(study, "ropeproxy-k5", "a", 1.0, {}, identity=identity, method={"name": "ropeproxy"})
    assert [row.title for row in table_of(Study(study)).rows] == ["Original", "VGDFR (k=5, θ=0.5)"]
