"""A small W&B server on 127.0.0.1. It keeps the data that it receives: runs by id, their history by line, and files."""

import gzip
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "0123456789" * 4


@dataclass
class Kept:
    """The data that the server received.

    runs: variables of UpsertBucket by run id.
    streams: each run's files by line number.
    """

    url: str = ""
    requests: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    streams: dict[str, dict[str, dict[int, Any]]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)

    def history(self, run: str) -> list[Any]:
        return list(self.streams[run].get("wandb-history.jsonl", {}).values())

    def summary(self, run: str) -> dict[str, Any]:
        return self.streams[run]["wandb-summary.json"][0]


def answer(kept: Kept, operation: str, given: dict[str, Any]) -> dict[str, Any]:
    """Returns the data of a GraphQL response for the operations that sending runs and saving views need."""
    entity = {"id": "e", "name": "someone"}
    if operation in ("GetViewer", "Viewer"):
        empty = {"edges": []}
        named = {"name": "someone", "username": "someone", "email": "", "admin": False, "flags": "{}"}
        return {"viewer": {"id": "u", "entity": "someone", "deletedAt": None, "apiKeys": empty, "teams": empty} | named}
    if operation == "RunResumeStatus":
        there = {"id": "b", "name": given["name"], "historyLineCount": 1} if given["name"] in kept.runs else None
        return {"model": {"id": "p", "name": given["project"], "entity": entity, "bucket": there}}
    if operation == "UpsertBucket":
        kept.runs[given["name"]] = {
            **kept.runs.get(given["name"], {}),
            **{k: v for k, v in given.items() if v is not None},
        }
        project = {"id": "p", "name": given["project"], "entity": entity}
        bucket = {"id": "b", "name": given["name"], "displayName": given["name"], "project": project, "config": "{}"}
        return {"upsertBucket": {"bucket": bucket | {"historyLineCount": 0}, "inserted": True}}
    if operation == "CreateArtifact":
        state = {"id": given["input"]["artifactCollectionName"], "state": "PENDING"}
        return {"createArtifact": {"artifact": state | {"artifactSequence": {"latestArtifact": None}}}}
    if operation in ("CreateArtifactManifest", "UpdateArtifactManifest"):
        place = given.get("artifactID") or given["artifactManifestID"]
        file = _file(kept, place, "manifest.json")
        name = operation[0].lower() + operation[1:]
        return {name: {"artifactManifest": {"id": place, "file": file}}}
    if operation == "CreateArtifactFiles":
        files = [_file(kept, f["artifactID"], f["name"]) for f in given["input"]["artifactFiles"]]
        return {"createArtifactFiles": {"files": {"edges": [{"node": file} for file in files]}}}
    if operation == "CommitArtifact":
        return {"commitArtifact": {"artifact": {"id": given["artifactID"], "digest": ""}}}
    if operation == "CreateRunFiles":
        files = [{"name": n, "uploadUrl": f"{kept.url}/up/{given['run']}/{n}"} for n in given["files"]]
        return {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": files}}
    if operation == "View":
        return {"project": {"allViews": {"edges": []}}}
    if operation == "UpsertView2":
        return {"upsertView": {"view": {"id": "v", "name": given["name"]}, "inserted": True}}
    if operation == "ServerFeaturesQuery":
        return {"serverInfo": {"features": []}}
    return {}


def _file(kept: Kept, artifact: str, name: str) -> dict[str, Any]:
    place = {"uploadUrl": f"{kept.url}/up/{artifact}/{name}", "uploadHeaders": [], "uploadMultipartUrls": None}
    return {"id": name, "name": name, "displayName": name, "storagePath": name, "artifact": {"id": artifact}} | place


@contextmanager
def server() -> Iterator[Kept]:
    """Yields the kept data. The server listens within the block."""
    kept, lock = Kept(), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def _body(self) -> bytes:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

        def _reply(self, value: Any) -> None:
            body = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_PUT(self) -> None:
            with lock:
                kept.files[self.path.removeprefix("/up/")] = self._body()
            self._reply({})

        def do_GET(self) -> None:
            self._reply({})

        def do_POST(self) -> None:
            sent = json.loads(self._body() or b"{}")
            with lock:
                if self.path == "/graphql":
                    operation = re.findall(r"(?:query|mutation)\s+(\w+)", sent["query"])[0]
                    kept.requests.append((operation, sent.get("variables") or {}))
                    self._reply({"data": answer(kept, operation, sent.get("variables") or {})})
                    return
                # the path is /files/ENTITY/PROJECT/RUN/file_stream
                stream = kept.streams.setdefault(self.path.split("/")[-2], {})
                for name, part in (sent.get("files") or {}).items():
                    for i, line in enumerate(part["content"]):
                        at = part["offset"] + i if name.endswith(".jsonl") else 0
                        stream.setdefault(name, {})[at] = json.loads(line) if name.startswith("wandb-") else line
            self._reply({})

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    kept.url = f"http://127.0.0.1:{listening.server_port}"
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield kept
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join()
