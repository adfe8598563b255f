"""Prompts with words that the embedded model does not know give a warning before a model loads, and never an error."""

import re
from pathlib import Path

import processes
import pytest
from plans import dry_run

from bench.embedded.world import all_attributes
from bench.plan import mismatch
from bench.plan.prompts import Prompts, VBenchPrompts, embedded
from vgdfr import HunyuanVideo
from vgdfr.__main__ import parse
from vgdfr.embedded import CHECKPOINT, known_words, remark
from vgdfr.one_prompt import main

SMALL = ["model.video.num_frames=17", "model.video.num_inference_steps=2", "metrics=pixel", "method=baseline"]


def test_the_known_words_are_those_of_the_worlds_captions() -> None:
    captions = [attributes.caption for attributes in all_attributes()]
    assert known_words() == {word for caption in captions for word in caption.split()}
    assert remark(captions) is None and remark([text for _, text in embedded()]) is None


@pytest.mark.parametrize(
    ("prompts", "said"),
    [
        (["a dog runs over sand"], "the prompt has words that the embedded model does not know: dog, runs;"),
        (["a red circle", "A red circle", "a red circle"], "1 of 2 prompts has words .*: A;"),
        (["a cat, a cow", "a red dog", "sand"], "2 of 3 prompts have words .*: cat, cow, dog;"),
        ([" ".join("bcdefghijkl")], "the prompt has words .*: b, c, d, e, f, g, h, i and 3 more;"),
        (["ein Kreis über Sand"], "the prompt has words .*: ein, Kreis, über, Sand;"),
        (["!?"], "the prompt has words .*: !.;"),
    ],
)
def test_words_are_named_and_prompts_counted(prompts: list[str], said: str) -> None:
    assert re.match(f"warning: {said} its videos show its own world only", str(remark(prompts)))


def test_a_sweep_says_it_before_the_model_loads_and_so_does_a_dry_run(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("id,prompt\n1,a dog over sand\n2,a red circle stays still over sand\n")
    arguments = [*SMALL, f"root={tmp_path}", "prompts=file", f"prompts.source={tmp_path / 'p.csv'}", "prompts.limit=1"]
    said = (
        f"{tmp_path / 'p.csv'}: these fields are ignored: id\n"
        "warning: the prompt has words that the embedded model does not know: dog;"
    )
    assert said in dry_run(*arguments) and "warning" not in dry_run(*SMALL, f"root={tmp_path}")
    done = processes.run("bench.sweep", *arguments)
    assert done.returncode == 0, done.stderr
    assert said in done.stdout.partition("\nloading ")[0] and "1 made, 0 found, 0 failed" in done.stdout


def test_other_models_and_a_list_that_is_not_there_yet_are_not_remarked_on(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("a dog\n")
    own = HunyuanVideo(str(CHECKPOINT), dtype="float32", device="cpu")
    assert len(mismatch.remarks(own, Prompts(str(tmp_path / "p.txt")))) == 1
    assert mismatch.remarks(own, VBenchPrompts()) == mismatch.remarks(own, Prompts("embedded")) == []
    assert mismatch.remarks(HunyuanVideo("other"), Prompts(str(tmp_path / "p.txt"))) == []


def test_one_video_of_the_command_line_is_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--num-frames", "17", "--num-inference-steps", "2", "--baseline", "--out", str(tmp_path / "a.mp4")]
    main(parse(["a dog over sand", *small]))
    assert capsys.readouterr().err.startswith(
        "warning: the prompt has words that the embedded model does not know: dog"
    )
    main(parse(["a cross over sand", *small]))
    assert capsys.readouterr().err == ""
