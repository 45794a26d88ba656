"""
A Hub on this machine: an HTTP server that speaks as much of the protocol of huggingface.co as huggingface_hub needs.

Repositories, branches, commits, small files within the commit and large ones by LFS, in memory. It can be told to fail.
"""

import base64
import hashlib
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

TOKEN = "hf_of_the_tests"
LARGE_SUFFIXES = (".safetensors", ".zip", ".mp4", ".png", ".pkl")

Files = dict[str, bytes]


class Repo:
    """
    Commits, each with all its files, and the branches that point to them.

    :param private: Whether reading it takes the token.
    """

    def __init__(self, private: bool) -> None:
        self.private = private
        self.commits: dict[str, Files] = {}
        self.messages: list[str] = []
        self.branches: dict[str, str] = {}
        self.commit("main", {".gitattributes": b"*.safetensors filter=lfs\n"}, "initial commit")

    def commit(self, branch: str, files: Files, message: str) -> str:
        parent = self.branches.get(branch, "")
        digest = hashlib.sha1(repr((parent, sorted(files.items()), message, len(self.commits))).encode()).hexdigest()
        self.commits[digest] = files
        self.messages.append(message)
        self.branches[branch] = digest
        return digest

    def resolve(self, revision: str) -> str | None:
        return self.branches.get(revision) or (revision if revision in self.commits else None)

    def files(self, revision: str = "main") -> Files:
        return self.commits[self.branches[revision]]


class LocalHub(ThreadingHTTPServer):
    """
    The server; ``fail`` makes it answer with errors.

    :param port: Port to listen at; 0 for any that is free.
    """

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.repos: dict[str, Repo] = {}
        self.objects: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.validate: Callable[[str], Any] = yaml.safe_load
        self._failures: list[list[Any]] = []
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def fail(self, part: str, status: int, times: int = 10**9) -> None:
        """Answer requests whose "METHOD /path" holds ``part`` with a status; 0 hangs up without an answer."""
        self._failures.append([part, status, times])

    def failure_of(self, request: str) -> int | None:
        with self._lock:
            self.requests.append(request)
            for failure in self._failures:
                if failure[0] in request and failure[2] > 0:
                    failure[2] -= 1
                    return int(failure[1])
        return None

    def __enter__(self) -> "LocalHub":
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: LocalHub

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.handle_request()

    do_HEAD = do_POST = do_PUT = do_GET

    # ---------------------------------------------------------------- routes

    def handle_request(self) -> None:
        self.body = self.read_body()
        path = unquote(urlsplit(self.path).path).strip("/")
        status = self.server.failure_of(f"{self.command} /{path}")
        if status == 0:
            self.close_connection = True
            self.connection.close()
            return
        if status is not None and status < 500:
            return self.send_error_json(status, "not for you")
        if status is not None:
            return self.send(status, b"<html>an error as proxies make them</html>", {"Content-Type": "text/html"})
        parts = path.split("/")
        if parts[0] == "lfs-objects":
            self.server.objects[parts[1]] = self.body
            return self.send(200, b"")
        if path == "api/validate-yaml":
            return self.validate_yaml()
        if path in ("api/whoami-v2", "api/repos/create"):
            if not self.is_known():
                return self.send_error_json(401, "Invalid credentials in Authorization header")
            return self.send_json({"name": "tester", "type": "user"}) if "whoami" in path else self.create_repo()
        is_api = parts[:2] == ["api", "models"]
        name, rest = ("/".join(parts[2:4]), parts[4:]) if is_api else ("/".join(parts[:2]).removesuffix(".git"), parts[2:])
        repo = self.server.repos.get(name)
        if repo is None or (repo.private and not self.is_known()):
            return self.send_error_json(404, "Repository not found", "RepoNotFound")
        self.handle_repo(name, repo, is_api, rest)

    def handle_repo(self, name: str, repo: Repo, is_api: bool, rest: list[str]) -> None:
        if is_api and rest[:1] in ([], ["revision"]):
            return self.on_revision(repo, rest[1:], lambda sha: self.send_info(name, repo, sha))
        if is_api and rest[0] == "tree":
            return self.on_revision(repo, rest[1:], lambda sha: self.send_json(tree(repo.commits[sha])))
        if rest[0] == "resolve":
            return self.on_revision(repo, rest[1:2], lambda sha: self.send_file(repo, sha, "/".join(rest[2:])))
        if not self.is_known():
            return self.send_error_json(401, "Invalid credentials in Authorization header")
        if rest[-1] == "batch":
            return self.send_batch()
        if rest[0] == "preupload":
            return self.on_revision(repo, rest[1:], lambda sha: self.send_upload_modes(repo, sha))
        assert rest[0] == "commit", self.path
        return self.on_revision(repo, rest[1:], lambda _: self.commit(name, repo, "/".join(rest[1:])))

    def on_revision(self, repo: Repo, parts: list[str], answer: Callable[[str], None]) -> None:
        sha = repo.resolve("/".join(parts) or "main")
        if sha is None:
            return self.send_error_json(404, "Invalid rev id", "RevisionNotFound")
        answer(sha)

    def create_repo(self) -> None:
        data = json.loads(self.body)
        name = f"{data.get('organization') or 'tester'}/{data['name']}"
        if name in self.server.repos:
            return self.send_json(
                {"error": "You already created this model repo", "url": f"{self.server.url}/{name}"}, status=409
            )
        self.server.repos[name] = Repo(data.get("visibility") == "private" or bool(data.get("private")))
        self.send_json({"url": f"{self.server.url}/{name}"})

    def validate_yaml(self) -> None:
        _, header, _ = json.loads(self.body)["content"].split("---\n", 2)
        try:
            self.server.validate(header)
        except yaml.YAMLError as error:
            return self.send_json({"errors": [{"message": str(error)}]}, status=400)
        self.send_json({"errors": [], "warnings": []})

    def send_upload_modes(self, repo: Repo, sha: str) -> None:
        modes = []
        for file in json.loads(self.body)["files"]:
            mode = "lfs" if file["path"].endswith(LARGE_SUFFIXES) else "regular"
            content = repo.commits[sha].get(file["path"])
            oid = None if content is None else oid_of(content, mode)
            modes.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        self.send_json({"files": modes})

    def send_batch(self) -> None:
        objects = []
        for wanted in json.loads(self.body)["objects"]:
            answer = {"oid": wanted["oid"], "size": wanted["size"]}
            if wanted["oid"] not in self.server.objects:
                answer["actions"] = {"upload": {"href": f"{self.server.url}/lfs-objects/{wanted['oid']}"}}
            objects.append(answer)
        self.send_json({"transfer": "basic", "objects": objects}, "application/vnd.git-lfs+json")

    def commit(self, name: str, repo: Repo, branch: str) -> None:
        files = dict(repo.files(branch))
        summary = ""
        for line in self.body.splitlines():
            operation = json.loads(line)
            value = operation["value"]
            if operation["key"] == "header":
                summary = value["summary"]
            elif operation["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif operation["key"] == "lfsFile":
                content = self.server.objects.get(value["oid"])
                if content is None or hashlib.sha256(content).hexdigest() != value["oid"]:
                    return self.send_error_json(400, f"LFS object {value['oid']} was not uploaded")
                files[value["path"]] = content
            elif operation["key"] == "deletedFile":
                if files.pop(value["path"], None) is None:
                    return self.send_error_json(404, "A file with this name doesn't exist", "EntryNotFound")
        sha = repo.commit(branch, files, summary)
        self.send_json({"commitUrl": f"{self.server.url}/{name}/commit/{sha}", "commitOid": sha, "pullRequestUrl": None})

    def send_info(self, name: str, repo: Repo, sha: str) -> None:
        siblings = [{"rfilename": path} for path in sorted(repo.commits[sha])]
        self.send_json({"id": name, "sha": sha, "private": repo.private, "siblings": siblings, "tags": []})

    def send_file(self, repo: Repo, sha: str, path: str) -> None:
        content = repo.commits[sha].get(path)
        if content is None:
            return self.send_error_json(404, "Entry not found", "EntryNotFound", {"X-Repo-Commit": sha})
        self.send(200, content, {"X-Repo-Commit": sha, "ETag": f'"{hashlib.sha256(content).hexdigest()}"'})

    # ---------------------------------------------------------------- HTTP

    def is_known(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def send_json(self, data: Any, content_type: str = "application/json", status: int = 200) -> None:
        self.send(status, json.dumps(data).encode(), {"Content-Type": content_type})

    def send_error_json(
        self, status: int, message: str, code: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        codes = {} if code is None else {"X-Error-Code": code}
        content = json.dumps({"error": message}).encode()
        self.send(status, content, {"X-Error-Message": message, **codes, **(headers or {})})


def oid_of(content: bytes, mode: str) -> str:
    """What the Hub compares files by: SHA-256 of large ones, git's SHA-1 of small ones."""
    if mode == "lfs":
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def tree(files: Files) -> list[dict[str, Any]]:
    """All files of a commit, as the Hub lists them."""
    entries: list[dict[str, Any]] = []
    for path, content in sorted(files.items()):
        entry: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": oid_of(content, "regular")}
        if path.endswith(LARGE_SUFFIXES):
            entry["lfs"] = {"oid": oid_of(content, "lfs"), "size": len(content), "pointerSize": 134}
        entries.append(entry)
    return entries
