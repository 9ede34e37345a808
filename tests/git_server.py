"""Repositories over HTTP, by git's own backend; those below /private/ want a user and a password."""

import base64
import os
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

TOKEN = "tok-9f81c2-of-the-course"


class GitServer:
    """`make(name, files)` makes a repository; `authorizations` are the headers that came; `failing` answers 503 so often."""

    def __init__(self, folder):
        self.root = Path(folder)
        self.authorizations = []
        self.failing = 0
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.0"

            def do_GET(self):
                server._answer(self)

            do_POST = do_GET

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def make(self, name, files, branch="main"):
        """A repository with one more commit of these files; its URL."""
        bare, work = self.root / f"{name}.git", self.root / f"{name}-work"
        if not bare.exists():
            self._git("init", "-q", "--bare", "-b", "main", str(bare))
        subprocess.run(["rm", "-rf", str(work)], check=True)
        self._git("init", "-q", "-b", branch, str(work))
        for path, text in files.items():
            target = work / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if text.startswith("-> "):
                target.symlink_to(text[3:])
            else:
                target.write_text(text)
        self._git("-C", str(work), "add", "-A")
        self._git("-C", str(work), "-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qm", "one")
        self._git("-C", str(work), "push", "-qf", str(bare), branch)
        return f"{self.url}/{name}.git"

    def _git(self, *words):
        subprocess.run(["git", *words], check=True, env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"})

    def _answer(self, request):
        length = int(request.headers.get("Content-Length") or 0)
        body = request.rfile.read(length)
        if self.failing:
            self.failing -= 1
            request.send_error(503)
            return
        self.authorizations.append(request.headers.get("Authorization"))
        wanted = "Basic " + base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()
        if request.path.startswith("/private/") and request.headers.get("Authorization") != wanted:
            request.send_response(401)
            request.send_header("WWW-Authenticate", 'Basic realm="x"')
            request.end_headers()
            return
        path, _, query = request.path.partition("?")
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": request.command,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(length),
            "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
            "HTTP_GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
            "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
        }
        done = subprocess.run(["git", "http-backend"], input=body, capture_output=True, env=environment)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        lines = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
        request.send_response(int(lines.pop("Status", "200").split()[0]))
        for name, value in lines.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(content)
