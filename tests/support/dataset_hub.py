"""A server that plays the part of the Hugging Face hub that streaming a dataset needs, healthy or not.

It is its clients' proxy too: what they ask of any other host comes here, is noted and refused.
"""

import hashlib
import io
import json
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from tests import ROOT

from .corpora_on_disk import SPEAKERS, encoded

SPLIT_ROWS = {"train": 12, "test": 5}
SHARD_ROWS = 4  # in row groups of two
CONFIGURATIONS = ("az", "tr")


@dataclass(frozen=True)
class Reply:
    """An answer; of its body no more than ``sent`` bytes are sent. With status 0 the connection is cut instead."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    sent: int | None = None


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that are killed are part of the play."""


class DatasetHub:
    """Runs in threads while its context is open.

    Attributes:
        commits: the files of each commit and branch of each dataset: ``commits[dataset][revision][path]``.
        asked: ``METHOD /path`` of every request to the hub, in order.
        elsewhere: hosts other than the hub's that were asked for anything.
        failing: requests that will fail, each a part of ``METHOD /path`` and a status; emptied as they fail.
        held_at: what is asked of a path with this in it gets no answer before the context ends.
        held: how many requests wait so.
        gone_at: a part of a path, and which time it is asked for half of it is sent and then the hub is gone: every
            connection is cut.
    """

    def __init__(self) -> None:
        self.commits: dict[str, dict[str, dict[str, bytes]]] = {}
        self.asked: list[str] = []
        self.elsewhere: set[str] = set()
        self.failing: list[tuple[str, int]] = []
        self.held_at: str | None = None
        self.held = 0
        self.gone_at: tuple[str, int] | None = None
        self.gone = False
        self.ending = threading.Event()
        self.lock = threading.Lock()
        self.server = Server(("127.0.0.1", 0), self.handler())
        self.address = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> "DatasetHub":
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.ending.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def commit(self, dataset: str, files: dict[str, bytes], branch: str = "main") -> str:
        """Make the files the newest commit of a branch; its name."""
        digest = hashlib.sha1(dataset.encode())
        for path, content in sorted(files.items()):
            digest.update(path.encode() + content)
        commit = digest.hexdigest()
        self.commits.setdefault(dataset, {}).update({commit: files, branch: files})
        return commit

    def environment(self, home: Path) -> dict[str, str]:
        """The variables of a process that knows this hub alone, keeps its files in ``home``, and never waits long."""
        (home / "sitecustomize.py").write_text(
            "import time\nwait = time.sleep\ntime.sleep = lambda seconds: wait(seconds / 1000)\n"
        )
        unwanted = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_TOKEN")
        kept = {name: value for name, value in os.environ.items() if name not in unwanted}
        proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), self.address)
        return kept | proxies | {
            "HF_ENDPOINT": self.address,
            "HF_HOME": str(home),
            "HF_UPDATE_DOWNLOAD_COUNTS": "0",  # which another host does
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
            "PYTHONPATH": f"{home}{os.pathsep}{ROOT}",
            "OMP_NUM_THREADS": "1",
        }  # fmt: skip

    def handler(self) -> type[BaseHTTPRequestHandler]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if self.command == "CONNECT" or not self.path.startswith("/"):
                    hub.elsewhere.add(urlsplit(self.path).hostname or self.path)
                    reply = Reply(502)
                elif hub.held_at and hub.held_at in self.path:
                    hub.held += 1
                    hub.ending.wait()
                    reply = Reply(0)
                else:
                    with hub.lock:
                        reply = hub.reply(self.command, self.path, body, self.headers.get("Range"))
                if reply.status == 0:
                    self.close_connection = True
                    return
                self.send_response(reply.status)
                for name, value in (*reply.headers, ("Content-Length", str(len(reply.body)))):
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(reply.body[: reply.sent])
                if reply.sent is not None and reply.sent < len(reply.body):
                    self.close_connection = True

            do_GET = do_POST = do_HEAD = do_CONNECT = answer

            def log_message(self, *arguments: Any) -> None:
                pass

        return Handler

    def reply(self, method: str, address: str, body: bytes, wanted: str | None) -> Reply:
        path = unquote(urlsplit(address).path)
        self.asked.append(f"{method} {path}")
        if self.gone:
            return Reply(0)
        for place, (part, status) in enumerate(self.failing):
            if part in f"{method} {path}":
                del self.failing[place]
                return Reply(status, b"{}")
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "datasets"]:
            return self.told("/".join(parts[2:4]), parts[4:], body, parse_qs(urlsplit(address).query))
        if parts[0] == "datasets" and parts[3:4] == ["resolve"]:
            part = wanted if method == "GET" else None
            return self.content("/".join(parts[1:3]), parts[4], "/".join(parts[5:]), part)
        return Reply(404)

    def told(self, dataset: str, question: Sequence[str], body: bytes, query: dict[str, list[str]]) -> Reply:
        """What the hub's interface says of a dataset: its commit, the paths below a folder, or some paths."""
        kind, revision, *rest = (*question, "", "")[: max(2, len(question))] if question else ("revision", "main")
        found = self.found(dataset, revision)
        if isinstance(found, Reply):
            return found
        commit, files = found
        if kind == "revision":
            siblings = [{"rfilename": path} for path in files]
            return as_json({"id": dataset, "sha": commit, "tags": [], "siblings": siblings})
        if kind == "tree":
            folder = "/".join(rest)
            below = [entry for entry in entries(files) if entry["path"].startswith(f"{folder}/" if folder else "")]
            if folder and not below:
                return refusal("EntryNotFound", "no such folder")
            if query.get("recursive", ["false"])[0].lower() != "true":
                below = [entry for entry in below if "/" not in entry["path"][len(folder) :].strip("/")]
            return as_json(below)
        if kind == "paths-info":
            sent = body.decode()
            asked = json.loads(sent)["paths"] if sent.startswith("{") else parse_qs(sent)["paths"]
            return as_json([entry for entry in entries(files) if entry["path"] in asked])
        return Reply(404)

    def content(self, dataset: str, revision: str, path: str, wanted: str | None) -> Reply:
        found = self.found(dataset, revision)
        if isinstance(found, Reply):
            return found
        commit, files = found
        if path not in files:
            return refusal("EntryNotFound", "no such file")
        whole = files[path]
        headers = (("X-Repo-Commit", commit), ("ETag", f'"{digest_of(whole)}"'), ("Accept-Ranges", "bytes"))
        if wanted is None:
            return Reply(200, whole, headers)
        begin, _, end = wanted.removeprefix("bytes=").partition("-")
        part = whole[int(begin) : int(end or len(whole)) + 1]
        if self.gone_at and self.gone_at[0] in path:
            self.gone_at = self.gone_at[0], self.gone_at[1] - 1
            self.gone = self.gone_at[1] == 0
        place = f"bytes {begin}-{int(begin) + len(part) - 1}/{len(whole)}"
        return Reply(206, part, (*headers, ("Content-Range", place)), len(part) // 2 if self.gone else None)

    def found(self, dataset: str, revision: str) -> tuple[str, dict[str, bytes]] | Reply:
        """The commit that a revision is, and its files."""
        if dataset not in self.commits:
            return refusal("RepoNotFound", "no such dataset", 401)
        revisions = self.commits[dataset]
        if revision not in revisions:
            return refusal("RevisionNotFound", "no such revision")
        files = revisions[revision]
        return next(name for name, held in revisions.items() if held is files and len(name) == 40), files


def as_json(value: Any) -> Reply:
    return Reply(200, json.dumps(value).encode(), (("Content-Type", "application/json"),))


def refusal(code: str, message: str, status: int = 404) -> Reply:
    headers = ("X-Error-Code", code), ("X-Error-Message", message)
    return Reply(status, json.dumps({"error": message}).encode(), headers)


def digest_of(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


def entries(files: dict[str, bytes]) -> list[dict[str, Any]]:
    """Files and the folders they lie in, as the hub lists them."""
    folders = {path.rsplit("/", depth)[0] for path in files for depth in range(1, path.count("/") + 1)}
    listed = [{"type": "directory", "path": path, "oid": digest_of(path.encode()), "size": 0} for path in folders]
    listed += [{"type": "file", "path": path, "oid": digest_of(of), "size": len(of)} for path, of in files.items()]
    return sorted(listed, key=lambda entry: str(entry["path"]))


def texts(configuration: str, split: str) -> list[str]:
    return [f"{configuration} {split} {number}" for number in range(SPLIT_ROWS[split])]


def speech_dataset(audio: str = "audio", text: str = "text") -> dict[str, bytes]:
    """The files of a dataset of two configurations with two splits each, as `datasets` pushes them."""
    files: dict[str, bytes] = {}
    card = ["---", "configs:"]
    for configuration in CONFIGURATIONS:
        card += [f"- config_name: {configuration}", "  data_files:"]
        for split in SPLIT_ROWS:
            card += [f"  - split: {split}", f"    path: {configuration}/{split}-*"]
            files |= shards(configuration, split, audio, text)
    files["README.md"] = "\n".join([*card, "---", ""]).encode()
    return files


def shards(configuration: str, split: str, audio: str, text: str) -> dict[str, bytes]:
    import datasets

    rows = range(SPLIT_ROWS[split])
    table = pa.table(
        {
            "id": [f"{configuration}-{split}-{i}" for i in rows],
            audio: [{"bytes": encoded(i), "path": f"{i}.flac"} for i in rows],
            text: texts(configuration, split),
            "speaker": [SPEAKERS[i % len(SPEAKERS)] for i in rows],
        }
    )
    features = datasets.Features.from_arrow_schema(table.schema) | {audio: datasets.Audio()}
    table = table.cast(datasets.Features(features).arrow_schema)
    starts = range(0, len(rows), SHARD_ROWS)
    files = {}
    for number, start in enumerate(starts):
        content = io.BytesIO()
        pq.write_table(table.slice(start, SHARD_ROWS), content, row_group_size=2)
        files[f"{configuration}/{split}-{number:05d}-of-{len(starts):05d}.parquet"] = content.getvalue()
    return files
