"""Prefetching lists all missing files first, continues downloads, and removes wrong files."""

import hashlib
import http.server
import json
import shutil
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from huggingface_hub import constants, hf_hub_download
from plans import plan

from bench import prefetch
from bench.plan.compose import configs_of
from bench.plan.jobs import missing_assets, wanted_by
from vgdfr import assets
from vgdfr.files import cache_folder
from vgdfr.hub import hub_folder, missing_of_hub
from vgdfr.presets import PRESETS

REPOSITORY, REVISION = "someone/model", "0123456789abcdef0123456789abcdef01234567"
FILES = {"model_index.json": b'{"a": 1}', "vae/weights.safetensors": bytes(range(256)) * 4000}


class Hub(http.server.BaseHTTPRequestHandler):
    """The part of the Hugging Face hub's protocol that a download of one file needs: metadata, and ranges of bytes."""

    files = dict(FILES)
    served: list[tuple[str, int]] = []  # (file, first byte asked for)

    def do_HEAD(self) -> None:
        self.answer(send=False)

    def do_GET(self) -> None:
        self.answer(send=True)

    def answer(self, send: bool) -> None:
        name = self.path.removeprefix(f"/{REPOSITORY}/resolve/{REVISION}/")
        if name not in self.files:
            self.send_error(404)
            return
        content = self.files[name]
        first = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0] or 0)
        self.send_response(206 if first else 200)
        self.send_header("ETag", f'"{hashlib.sha256(FILES[name]).hexdigest()}"')
        self.send_header("X-Repo-Commit", REVISION)
        self.send_header("Content-Length", str(len(content) - first))
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if send:
            self.served.append((name, first))
            self.wfile.write(content[first:])

    def log_message(self, format: str, *args: object) -> None:
        """Prints nothing."""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(Hub, "files", dict(FILES))
    monkeypatch.setattr(Hub, "served", [])
    here = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", here)
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace("https://huggingface.co", here)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(assets, "MANIFESTS", tmp_path)
    monkeypatch.setenv("VGDFR_CACHE", str(tmp_path / "cache"))
    manifest = {f: [len(content), hashlib.sha256(content).hexdigest()] for f, content in FILES.items()}
    (tmp_path / "someone--model.json").write_text(json.dumps({"revision": REVISION, "files": manifest}))
    yield Hub
    server.shutdown()
    server.server_close()


def test_missing_files_are_listed_fetched_and_then_not_missing(hub: type[Hub]) -> None:
    missing = missing_of_hub(REPOSITORY, REVISION)
    assert [a.name for a in missing] == [f"{REPOSITORY} {f}" for f in FILES]
    listed = assets.describe(missing)
    assert "1.02 MB" in listed and f"/{REPOSITORY}/resolve/{REVISION}/vae/weights" in listed
    assert prefetch.download(missing) == 0
    assert missing_of_hub(REPOSITORY, REVISION) == []
    folder = hub_folder(REPOSITORY, REVISION)
    assert {f: (folder / f).read_bytes() for f in FILES} == FILES


def test_what_the_hubs_own_cache_holds_is_not_downloaded_again(hub: type[Hub]) -> None:
    one, *others = FILES
    hf_hub_download(REPOSITORY, one, revision=REVISION)
    served = len(hub.served)
    assert prefetch.download(missing_of_hub(REPOSITORY, REVISION)) == 0
    assert [name for name, _ in hub.served[served:]] == others
    for name in others:
        hf_hub_download(REPOSITORY, name, revision=REVISION)
    shutil.rmtree(cache_folder())
    assert missing_of_hub(REPOSITORY, REVISION) == []
    assert (hub_folder(REPOSITORY, REVISION) / one).read_bytes() == FILES[one]


def test_a_download_that_broke_off_is_continued(hub: type[Hub], tmp_path: Path) -> None:
    name = "vae/weights.safetensors"
    part = cache_folder() / "hub" / REPOSITORY / REVISION / f"{name}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(FILES[name][:5000])
    place = missing_of_hub(REPOSITORY, REVISION)[1].fetch()
    assert place.read_bytes() == FILES[name] and hub.served == [(name, 5000)]
    assert {file.name for file in part.parent.iterdir()} == {place.name, f"{place.name}.lock"}


def test_other_content_is_refused_and_removed(hub: type[Hub], capsys: pytest.CaptureFixture[str]) -> None:
    hub.files["model_index.json"] = b'{"a": 2}'
    missing = missing_of_hub(REPOSITORY, REVISION)
    assert prefetch.download(missing) == 1
    assert "expected" in capsys.readouterr().out
    assert [a.name for a in missing_of_hub(REPOSITORY, REVISION)] == [f"{REPOSITORY} model_index.json"]
    hub.files["model_index.json"] = FILES["model_index.json"]
    assert prefetch.download(missing[:1]) == 0


def test_a_part_longer_than_the_file_is_begun_anew_and_two_at_once_do_not_collide(hub: type[Hub]) -> None:
    one = missing_of_hub(REPOSITORY, REVISION)[1]
    part = cache_folder() / "hub" / REPOSITORY / REVISION / "vae/weights.safetensors.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(FILES["vae/weights.safetensors"] + b"more")
    with ThreadPoolExecutor(4) as pool:
        places = list(pool.map(lambda _: one.fetch(), range(4)))
    assert len(hub.served) == 1 and places[0].read_bytes() == FILES["vae/weights.safetensors"]


def test_a_host_that_is_not_there_is_a_failure_too(
    hub: type[Hub], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("huggingface_hub.file_download.http_get.__kwdefaults__", {"_nb_retries": 0}, raising=False)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/file"
    with pytest.raises(OSError, match=f"{url} cannot be reached"):
        assets.download(url, cache_folder() / "file", 10, "")


def test_a_source_out_of_reach_is_a_failure_that_leaves_the_rest(hub: type[Hub]) -> None:
    del hub.files["model_index.json"]
    assert prefetch.download(missing_of_hub(REPOSITORY, REVISION)) == 1
    assert len(missing_of_hub(REPOSITORY, REVISION)) == 1


def test_a_sweeps_downloads_are_those_of_all_its_jobs_each_once() -> None:
    missing = missing_assets(wanted_by(plan("+exp=table1", "model=hunyuan_video")))
    others = [a.name for a in missing if not a.name.startswith("hunyuanvideo-community")]
    assert len(missing) == 31 and others == [
        "RIFE 4.26 heavy", "VBench's prompts", "OpenAI CLIP ViT-B/32", "torchvision AlexNet (LPIPS)",
    ]  # fmt: skip
    of_model = [a.num_bytes or 0 for a in missing if a.name.startswith("hunyuanvideo-community")]
    assert sum(of_model) == 41_903_676_107
    assert missing_assets(wanted_by(plan("+exp=table1"))) == []


def test_the_models_conf_and_preset_are_pinned_to_the_manifest() -> None:
    (config,) = configs_of(["model=hunyuan_video"])
    model = PRESETS["hunyuan_video"].model
    pinned = json.loads((assets.MANIFESTS / "hunyuanvideo-community--HunyuanVideo.json").read_text())["revision"]
    assert config.model.backbone.revision == model.revision == pinned
