"""A server that plays the part of the Hugging Face hub that a push needs, and remembers what it was asked."""

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class HubServer:
    """Runs in threads while its context is open.

    Attributes:
        refuse: answer everything with this status.
        private: whether the repository is, once made.
        asked: ``METHOD /path`` of every request, in order; uploads without their object's name.
        tokens: Authorization headers of requests to the hub itself.
        created: the body of the request that made the repository, but for what is None.
        committed: the content of each file of the commit, by name.
    """

    def __init__(self) -> None:
        self.refuse: int | None = None
        self.private = True
        self.asked: list[str] = []
        self.tokens: set[str | None] = set()
        self.created: dict[str, Any] = {}
        self.committed: dict[str, bytes] = {}
        self.uploaded: dict[str, bytes] = {}
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        self.address = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> "HubServer":
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def handler(self) -> type[BaseHTTPRequestHandler]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                path = self.path.split("?")[0]
                if path.startswith("/upload/"):
                    hub.asked.append(f"{self.command} /upload")
                else:
                    hub.asked.append(f"{self.command} {path}")
                    hub.tokens.add(self.headers.get("Authorization"))
                status, reply = (hub.refuse, {"error": "refused"}) if hub.refuse else (200, hub.reply(path, body))
                sent = json.dumps(reply).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(sent)))
                self.end_headers()
                self.wfile.write(sent)

            do_GET = do_POST = do_PUT = do_HEAD = answer

            def log_message(self, *arguments: Any) -> None:
                pass

        return Handler

    def reply(self, path: str, body: bytes) -> Any:
        if path == "/api/repos/create":
            self.created = {key: value for key, value in json.loads(body).items() if value is not None}
            return {"url": f"{self.address}/{self.created['organization']}/{self.created['name']}"}
        if path.endswith("/preupload/main"):
            modes = {True: "lfs", False: "regular"}
            return {
                "files": [
                    {"path": name, "uploadMode": modes[name.endswith(".safetensors")], "shouldIgnore": False}
                    for name in (file["path"] for file in json.loads(body)["files"])
                ]
            }
        if path.endswith("/info/lfs/objects/batch"):
            objects = [
                {**wanted, "actions": {"upload": {"href": f"{self.address}/upload/{wanted['oid']}", "header": {}}}}
                for wanted in json.loads(body)["objects"]
            ]
            return {"transfer": "basic", "objects": objects}
        if path.startswith("/upload/"):
            assert hashlib.sha256(body).hexdigest() == path.rpartition("/")[2]
            self.uploaded[path.rpartition("/")[2]] = body
            return {}
        if path.endswith("/commit/main"):
            for line in map(json.loads, body.splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    self.committed[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    self.committed[value["path"]] = self.uploaded[value["oid"]]
            commit = "0" * 40
            return {"success": True, "commitOid": commit, "commitUrl": f"{self.address}/team/small/commit/{commit}"}
        if path.startswith("/api/models/"):
            return {"id": path.removeprefix("/api/models/"), "private": self.private, "tags": [], "siblings": []}
        return {"errors": [], "warnings": []}  # of the card's header
