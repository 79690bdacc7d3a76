"""S3 on this machine: moto's server behind a layer that counts requests and gives the errors that a test asks for."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

Fault = Callable[[str, str], str | None]
ERRORS = {  # status and text of each code
    "AccessDenied": ("403 Forbidden", "Access Denied"),
    "SlowDown": ("503 Slow Down", "Please reduce your request rate."),
    "NoSuchBucket": ("404 Not Found", "The specified bucket does not exist"),
}


@dataclass
class ObjectStore:
    """Server with one bucket for each test.

    Attributes:
        endpoint: URL of the server.
        bucket: URL of the bucket.
        requests: method and path of each request of the test.
        fault: gives the code, of ERRORS, that a request (method, path) is answered with, None for no error.
    """

    endpoint: str
    bucket: str = ""
    requests: list[tuple[str, str]] = field(default_factory=list)
    fault: Fault = lambda method, path: None

    def count(self, method: str, part: str = "") -> int:
        """Return the number of requests of a method whose path holds a text."""
        return sum(found == method and part in path for found, path in self.requests)


@contextmanager
def serve() -> Iterator[ObjectStore]:
    """Start a server on a free port of loopback, in a thread."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log(self, type: str, message: str, *args: Any) -> None:
            pass

    backend = DomainDispatcherApplication(create_backend_app)
    store = ObjectStore("")

    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Any:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        store.requests.append((method, path))
        if not (code := store.fault(method, path)):
            return backend(environ, start)
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        status, said = ERRORS[code]
        text = f"<Error><Code>{code}</Code><Message>{said}</Message></Error>".encode()
        start(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(text)))])
        return [b"" if method == "HEAD" else text]

    server = make_server("127.0.0.1", 0, answer, threaded=True, request_handler=Quiet)
    store.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield store
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
