"""Serve a linear model over HTTP, and only if the chain vouches for its file.

    python examples/serve/serve.py MODEL model.safetensors --port 8000
    curl -d '[[1.0, 2.0]]' http://127.0.0.1:8000/

Exit codes are those of `cairn`: 7 if the file's lineage does not verify or its version is deprecated, 8 if it is no
version of the model. Settings come from the environment and cairn.toml.
"""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from safetensors.numpy import load

from registry import Need, Session, read_verified, run_script

MOST = 1 << 20


def server_of(weights: dict[str, np.ndarray[Any, Any]], port: int) -> ThreadingHTTPServer:
    """Return a server that answers rows of numbers with x W^T + b."""

    class Predict(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            try:
                rows = np.array(json.loads(self.rfile.read(min(int(self.headers["Content-Length"]), MOST))), np.float32)
                status, answer = 200, (rows @ weights["weight"].T + weights["bias"]).tolist()
            except (TypeError, ValueError) as error:
                status, answer = 400, str(error)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

    return ThreadingHTTPServer(("127.0.0.1", port), Predict)


def serve(
    session: Session,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The model that the file must be a version of.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Weights, as safetensors.")],
    port: Annotated[int, typer.Option(help="Port on this machine; 0 takes a free one.")] = 8000,
) -> None:
    """Check a model's file against the chain, then serve it."""
    weights = load(read_verified(session, model, file))  # the bytes that were checked, not the file again
    server = server_of(weights, port)
    session.out.line(f"serving http://127.0.0.1:{server.server_port}/")
    server.serve_forever()


if __name__ == "__main__":
    run_script(serve, needs=Need.CHAIN | Need.HOME | Need.STORE)
