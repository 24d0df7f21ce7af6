"""A stand-in for W&B's server, as far as its client asks when a run begins, goes on or is synced: runs, and their history line by line."""

from __future__ import annotations

import gzip
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Kept:
    """What the server has of a run."""

    name: str
    config: dict[str, Any] = field(default_factory=dict)
    summary: str = "{}"
    lines: list[str] = field(default_factory=list)
    sweep: str | None = None

    @property
    def history(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]


class Server:
    """``url`` is what WANDB_BASE_URL says; ``runs``: by id."""

    def __init__(self) -> None:
        self.runs: dict[str, Kept] = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None: ...

            def give(self, value: object) -> None:
                out = json.dumps(value).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(out)))
                self.end_headers()
                self.wfile.write(out)

            def body(self) -> bytes:
                raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                return gzip.decompress(raw) if self.headers.get("Content-Encoding") == "gzip" else raw

            def do_GET(self) -> None:
                self.give({})

            def do_PUT(self) -> None:
                self.body()
                self.give({})

            def do_POST(self) -> None:
                raw = self.body()
                if self.path.endswith("/graphql"):
                    said = json.loads(raw)
                    self.give({"data": outer.answer(said["query"], said.get("variables") or {})})
                    return
                if self.path.endswith("/file_stream"):
                    outer.stream(outer.runs[self.path.split("/")[-2]], json.loads(raw).get("files") or {})
                self.give({})

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None: ...  # a client that leaves

        self.http = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def answer(self, query: str, said: dict[str, Any]) -> dict[str, Any]:
        if "upsertBucket(" in query:
            name = said.get("name") or said["id"]
            new = name not in self.runs
            run = self.runs.setdefault(name, Kept(name))
            run.config = json.loads(said["config"]) if said.get("config") else run.config
            run.sweep = said.get("sweep") or run.sweep
            project = {"id": "p", "name": said.get("project") or "p", "entity": {"id": "e", "name": "me"}}
            bucket = {
                **{"id": name, "name": name, "displayName": name, "description": "", "config": json.dumps(run.config)},
                **{"sweepName": run.sweep, "project": project, "historyLineCount": len(run.lines)},
            }
            return {"upsertBucket": {"bucket": bucket, "inserted": new}}
        if "bucket(" in query:
            found = self.runs.get(said["name"])
            bucket = found and {
                **{"id": found.name, "name": found.name, "summaryMetrics": found.summary, "displayName": found.name},
                **{"logLineCount": 0, "historyLineCount": len(found.lines), "eventsLineCount": 0, "eventsTail": "[]"},
                **{"historyTail": json.dumps(found.lines[-1:]), "config": json.dumps(found.config), "tags": [], "notes": ""},
                "wandbConfig": json.dumps({"t": 1}),
            }
            return {"model": {"id": "p", "name": "p", "entity": {"id": "e", "name": "me"}, "bucket": bucket}}
        if "createRunFiles(" in query:
            files = [{"name": n, "uploadUrl": f"{self.url}/storage/{i}"} for i, n in enumerate(said["files"])]
            return {"createRunFiles": {"runID": said["run"], "uploadHeaders": [], "files": files}}
        if "viewer" in query:
            return {"viewer": {"id": "u", "entity": "me", "username": "me", "email": "", "flags": "{}", "teams": {"edges": []}}}
        return {"serverInfo": {"features": []}} if "serverInfo" in query else {}

    def stream(self, run: Kept, files: dict[str, Any]) -> None:
        if (part := files.get("wandb-history.jsonl")) is not None:
            at = part["offset"]
            run.lines[at : at + len(part["content"])] = part["content"]
        if (part := files.get("wandb-summary.json")) is not None:
            run.summary = part["content"][-1]
