"""A server on the loopback that plays the hub and a release: gated, and able to break off."""

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

REPOSITORY = "qqlu1992/Adobe_EntitySeg"
TREE = f"/api/datasets/{REPOSITORY}/tree/main"
RESOLVE = f"/datasets/{REPOSITORY}/resolve/main/"
RELEASE = "/releases/tags/v1.0"
ASSET = "/asset/"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class PlayedHub:
    """What the server holds and how it behaves; tests change it while it runs.

    Attributes:
        files: Path in the gated repository -> content.
        assets: Name in the release -> content.
        granted: Tokens that have access; other tokens are known, but have none.
        known: Tokens of existing accounts.
        break_after: Bytes after which each connection is cut; None never.
        asked: (path, Range header) of each request for content, in order.
    """

    def __init__(self, files: Mapping[str, bytes], assets: Mapping[str, bytes]) -> None:
        self.files = dict(files)
        self.assets = dict(assets)
        self.granted = {"hf_granted"}
        self.known = {"hf_granted", "hf_waiting"}
        self.break_after: int | None = None
        self.asked: list[tuple[str, str | None]] = []
        self.address = ""

    def tree(self, folder: str) -> list[dict] | None:
        below = {p: c for p, c in self.files.items() if not folder or p.startswith(f"{folder}/")}
        if not below:
            return None
        return [
            {"type": "file", "path": path, "size": len(content), "oid": "0" * 40,
             "lfs": {"oid": hashlib.sha256(content).hexdigest(), "size": len(content),
                     "pointerSize": 134}}
            for path, content in below.items()
        ]  # fmt: skip

    def release(self) -> dict:
        return {
            "assets": [
                {"name": name, "size": len(content),
                 "browser_download_url": f"{self.address}{ASSET}{name}",
                 "digest": f"sha256:{hashlib.sha256(content).hexdigest()}"}
                for name, content in self.assets.items()
            ]
        }  # fmt: skip


class Handler(BaseHTTPRequestHandler):
    """Answers as the hub does, with its headers for errors."""

    hub: PlayedHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, with_body: bool) -> None:
        path = unquote(self.path.partition("?")[0])
        if path == RELEASE:
            self.send_all(json.dumps(self.hub.release()).encode(), with_body)
        elif path.startswith(TREE):
            found = self.hub.tree(path.removeprefix(TREE).strip("/"))
            if found is None:
                self.refuse(404, "EntryNotFound", with_body)
            else:
                self.send_all(json.dumps(found).encode(), with_body)
        elif path.startswith(RESOLVE):
            self.resolve(path.removeprefix(RESOLVE), with_body)
        elif path.startswith(ASSET) and path.removeprefix(ASSET) in self.hub.assets:
            self.send_part(self.hub.assets[path.removeprefix(ASSET)], with_body)
        else:
            self.refuse(404, "EntryNotFound", with_body)

    def resolve(self, name: str, with_body: bool) -> None:
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if not token:
            self.refuse(401, "GatedRepo", with_body)
        elif token not in self.hub.known:
            self.refuse(401, "", with_body)
        elif token not in self.hub.granted:
            self.refuse(403, "GatedRepo", with_body)
        elif name not in self.hub.files:
            self.refuse(404, "EntryNotFound", with_body)
        else:
            self.send_part(self.hub.files[name], with_body)

    def refuse(self, status: int, code: str, with_body: bool) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        else:
            self.send_header("X-Error-Message", "Invalid credentials in Authorization header")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def send_all(self, content: bytes, with_body: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if with_body:
            self.wfile.write(content)

    def send_part(self, content: bytes, with_body: bool) -> None:
        asked = self.headers.get("Range")
        if with_body:
            self.hub.asked.append((self.path, asked))
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        self.send_response(206 if asked else 200)
        if asked:
            stated = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.send_header("Content-Range", stated)
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if with_body:
            end = None if self.hub.break_after is None else start + self.hub.break_after
            self.wfile.write(content[start:end])
            if end is not None and end < len(content):
                self.close_connection = True


@contextlib.contextmanager
def played(files: Mapping[str, bytes], assets: Mapping[str, bytes]) -> Iterator[PlayedHub]:
    """Run a server with this content for the length of a block."""
    hub = PlayedHub(files, assets)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
