"""moto's server as one WSGI application: the application of each service is made when it is first called.

moto's own dispatcher does the same under one lock, so that the first call of a slow service (EC2 reads its instance types for a
second) would hold up all others; here each service has its own.
"""

from __future__ import annotations

import functools
import logging
import os
import threading
from collections.abc import Iterable
from typing import Any

log = logging.getLogger("localcloud.moto")

PRELOADED = ("iam", "sts", "s3", "dynamodb", "sqs", "sns", "ec2", "ssm", "events", "logs", "cloudwatch")
PRELOADED_LATER = ("awslambda", "apigateway", "cloudformation")


class MotoApp:
    """Call it with a WSGI environ whose credential scope names the service."""

    def __init__(self) -> None:
        configure()
        from moto.moto_server import werkzeug_app
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

        vars(werkzeug_app)["DISABLE_GLOBAL_CORS"] = True  # no browser talks to AWS here; it costs time on every call
        self._create: Any = create_backend_app
        self._names = DomainDispatcherApplication(create_backend_app)
        self._backend_of_host: dict[str, str] = {}
        self._apps: dict[str, Any] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        app = self._app(self._backend(environ))
        chunks: Iterable[bytes] = app(environ, start_response)
        return chunks

    def preload(self) -> None:
        """Import what a deployment calls anyway, in a thread of its own beside the first calls."""
        threading.Thread(target=self._preload, name="moto-preload", daemon=True).start()

    def _preload(self) -> None:
        for name in PRELOADED + PRELOADED_LATER:
            try:
                self._app(name)
            except Exception:
                log.exception("moto does not load service=%s", name)

    def _backend(self, environ: dict[str, Any]) -> str:
        path = environ["PATH_INFO"]
        if path.startswith("/moto-api"):
            return "moto_api"
        host = self._names.infer_service_region_host(environ, path) or "s3.us-east-1.amazonaws.com"
        backend = self._backend_of_host.get(host)
        if backend is None:
            backend = self._names.get_backend_for_host(host) or "s3"
            self._backend_of_host[host] = backend
        return backend

    def _app(self, backend: str) -> Any:
        app = self._apps.get(backend)
        if app is not None:
            return app
        with self._lock:
            lock = self._locks.setdefault(backend, threading.Lock())
        with lock:
            if backend not in self._apps:
                self._apps[backend] = self._create(backend)
            return self._apps[backend]


def configure() -> None:
    """moto's settings for an account without docker: Lambda is run by us, IAM is checked by us."""
    os.environ.setdefault("MOTO_S3_DEFAULT_KEY_BUFFER_SIZE", str(64 * 1024 * 1024))
    os.environ.setdefault("AWS_EC2_METADATA_DISABLED", "true")  # boto3 in here must not go looking for real credentials
    import moto.core.responses
    from moto.core.config import default_user_config
    from moto.core.utils import method_names_from_class

    from localcloud.gaps import dynamodb_inserts, ec2_speed

    # moto lists the methods of a class anew on every call, which is a third of a small call (0.54 → 0.36 ms)
    vars(moto.core.responses)["method_names_from_class"] = functools.cache(method_names_from_class)

    ec2_speed.install()
    dynamodb_inserts.install()
    default_user_config["lambda"] = {"use_docker": False}
    default_user_config["batch"] = {"use_docker": False}
    logging.getLogger("botocore").setLevel(logging.WARNING)
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
