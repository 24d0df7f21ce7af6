"""A small Hugging Face hub on this machine: the requests that ``huggingface_hub`` makes to push and to fetch a model, answered from memory."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

TOKENS = {"hf_writes": "ada", "hf_reads": "ada"}
MODEL = r"/api/models/(?P<name>[^/]+/[^/]+)"


class Hub(ThreadingHTTPServer):
    """``models``: {name: {revision: [(commit, {file: bytes})]}}, the newest commit last. ``asked``: (method, path) of every request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.models: dict[str, dict[str, list[tuple[str, dict[str, bytes]]]]] = {}
        self.objects: dict[str, bytes] = {}
        self.asked: list[tuple[str, str]] = []
        self.private: set[str] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def commit(self, name: str, files: dict[str, bytes], revision: str = "main") -> str:
        """What ``files`` make the newest commit of a branch."""
        commits = self.models.setdefault(name, {}).setdefault(revision, [])
        sha = hashlib.sha1(repr((len(commits), sorted(files), files)).encode()).hexdigest()
        commits.append((sha, files))
        return sha

    def at(self, name: str, revision: str | None) -> tuple[str, dict[str, bytes]] | None:
        branches = self.models.get(name, {})
        if revision in (None, *branches):
            return branches[revision or "main"][-1]
        return next((c for commits in branches.values() for c in commits if c[0] == revision), None)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, status: int, body: object = None, headers: dict[str, str] | None = None) -> None:
        held = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(held)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(held)

    def refuse(self, status: int, code: str) -> None:
        self.answer(status, {"error": code}, {"X-Error-Code": code, "X-Error-Message": code})

    def respond(self) -> None:
        sent = self._body()
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append((self.command, path))
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        for method, pattern, does in ROUTES:
            if self.command in method and (found := re.fullmatch(pattern, path)):
                does(self, token, sent, **found.groupdict())
                return
        self.refuse(404, "EntryNotFound")

    do_GET = do_HEAD = do_POST = do_PUT = respond

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        held = b""
        while size := int(self.rfile.readline(), 16):
            held += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return held


def whoami(to: Handler, token: str, _: bytes) -> None:
    if token in TOKENS:
        to.answer(200, {"name": TOKENS[token], "type": "user", "orgs": []})
    else:
        to.refuse(401, "InvalidToken")


def create(to: Handler, token: str, sent: bytes) -> None:
    held = json.loads(sent)
    name = f"{held.get('organization') or TOKENS.get(token)}/{held['name']}"
    if token != "hf_writes" or not name.startswith("ada/"):
        to.refuse(403, "Forbidden")
    elif name in to.server.models:
        to.answer(409, {"url": f"{to.server.url}/{name}"})
    else:
        to.server.commit(name, {".gitattributes": b"*.safetensors filter=lfs\n"})
        if held.get("visibility") == "private" or held.get("private"):
            to.server.private.add(name)
        to.answer(200, {"url": f"{to.server.url}/{name}", "name": name, "id": name})


def branch(to: Handler, _: str, __: bytes, name: str, revision: str) -> None:
    branches = to.server.models[name]
    if revision in branches:
        to.refuse(409, "Conflict")
    else:
        branches[revision] = [branches["main"][-1]]
        to.answer(200, {})


def info(to: Handler, token: str, _: bytes, name: str, revision: str | None = None) -> None:
    if name == "ada/gated":
        to.refuse(403, "GatedRepo")
    elif name not in to.server.models or (name in to.server.private and token not in TOKENS):
        to.refuse(401 if not token else 404, "RepoNotFound")
    elif (found := to.server.at(name, revision)) is None:
        to.refuse(404, "RevisionNotFound")
    else:
        to.answer(
            200, {"id": name, "sha": found[0], "siblings": [{"rfilename": f} for f in found[1]], "tags": [], "private": False}
        )


def tree(to: Handler, _: str, __: bytes, name: str, revision: str) -> None:
    found = to.server.at(name, revision)
    if found is None:
        to.refuse(404, "RevisionNotFound")
        return
    rows: list[dict[str, Any]] = []
    for path, held in found[1].items():
        row = {"type": "file", "path": path, "size": len(held), "oid": hashlib.sha1(held).hexdigest()}
        rows.append({**row, **({"lfs": _lfs(held)} if path.endswith(".safetensors") else {})})
    to.answer(200, rows)


def _lfs(held: bytes) -> dict[str, Any]:
    return {"oid": hashlib.sha256(held).hexdigest(), "size": len(held), "pointerSize": 130}


def preupload(to: Handler, _: str, sent: bytes, name: str, revision: str) -> None:  # noqa: ARG001  a route has its names
    modes = {True: "lfs", False: "regular"}
    asked = [f["path"] for f in json.loads(sent)["files"]]
    to.answer(
        200, {"files": [{"path": p, "uploadMode": modes[p.endswith(".safetensors")], "shouldIgnore": False} for p in asked]}
    )


def objects(to: Handler, _: str, sent: bytes, name: str) -> None:  # noqa: ARG001
    rows = []
    for one in json.loads(sent)["objects"]:
        there = one["oid"] in to.server.objects
        upload = {"actions": {"upload": {"href": f"{to.server.url}/put/{one['oid']}", "header": {}}}}
        rows.append({"oid": one["oid"], "size": one["size"], **({} if there else upload)})
    to.answer(200, {"transfer": "basic", "objects": rows})


def put(to: Handler, _: str, sent: bytes, oid: str) -> None:
    assert hashlib.sha256(sent).hexdigest() == oid
    to.server.objects[oid] = sent
    to.answer(200, {})


def commit(to: Handler, token: str, sent: bytes, name: str, revision: str) -> None:
    if token != "hf_writes":
        to.refuse(403, "Forbidden")
        return
    files = dict(to.server.at(name, revision)[1])  # type: ignore[index]  # the client has asked for it before
    for line in map(json.loads, sent.splitlines()):
        value = line["value"]
        if line["key"] == "file":
            files[value["path"]] = base64.b64decode(value["content"])
        elif line["key"] == "lfsFile":
            files[value["path"]] = to.server.objects[value["oid"]]
        elif line["key"] == "deletedFile":
            files.pop(value["path"])
    sha = to.server.commit(name, files, revision)
    to.answer(200, {"commitUrl": f"{to.server.url}/{name}/commit/{sha}", "commitOid": sha, "hookOutput": ""})


def validate(to: Handler, _: str, sent: bytes) -> None:
    content = json.loads(sent)["content"]
    to.answer(200 if content.startswith("---\n") else 400, {"errors": [], "warnings": []})


def resolve(to: Handler, token: str, _: bytes, name: str, revision: str, file: str) -> None:
    found = to.server.at(name, revision)
    if name not in to.server.models or (name in to.server.private and token not in TOKENS):
        to.refuse(404, "RepoNotFound")
    elif found is None:
        to.refuse(404, "RevisionNotFound")
    elif file not in found[1]:
        to.refuse(404, "EntryNotFound")
    else:
        tag = hashlib.sha256(found[1][file]).hexdigest()
        to.answer(200, found[1][file], {"X-Repo-Commit": found[0], "ETag": f'"{tag}"'})


ROUTES: list[tuple[tuple[str, ...], str, Any]] = [
    (("GET",), "/api/whoami-v2", whoami),
    (("POST",), "/api/repos/create", create),
    (("POST",), "/api/validate-yaml", validate),
    (("GET",), MODEL, info),
    (("GET",), MODEL + r"/revision/(?P<revision>.+)", info),
    (("GET",), MODEL + r"/tree/(?P<revision>.+)", tree),
    (("POST",), MODEL + r"/branch/(?P<revision>.+)", branch),
    (("POST",), MODEL + r"/preupload/(?P<revision>.+)", preupload),
    (("POST",), MODEL + r"/commit/(?P<revision>.+)", commit),
    (("POST",), r"/(?P<name>[^/]+/[^/]+)\.git/info/lfs/objects/batch", objects),
    (("PUT",), r"/put/(?P<oid>\w+)", put),
    (("GET", "HEAD"), r"/(?P<name>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)", resolve),
]


@contextmanager
def hub():
    """A running hub without models."""
    server = Hub()
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join(5)
        server.server_close()
