"""A real OpenAI-compatible HTTP server in a thread, as slow, busy, broken or truthful as a test wants it."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Reply:
    """What the server does with one request."""

    def __init__(self, body: Any = None, *, status: int = 200, headers: dict[str, str] | None = None, delay: float = 0, cut: bool = False):
        self.body, self.status, self.headers, self.delay, self.cut = body, status, headers or {}, delay, cut


def chat(*texts: str, logprobs: list[dict[str, Any]] | None = None, usage: tuple[int, int] | None = None) -> dict[str, Any]:
    """A body of chat completions: a choice for each of `texts`."""
    choices = [{"index": i, "message": {"role": "assistant", "content": t}, "finish_reason": "stop"} for i, t in enumerate(texts)]
    if logprobs is not None:
        choices[0]["logprobs"] = {"content": logprobs}
    body: dict[str, Any] = {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": choices}
    if usage is not None:
        body["usage"] = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}
    return body


def token(text: str, logprob: float, top: dict[str, float] | None = None) -> dict[str, Any]:
    """One position of ``logprobs.content``."""
    listed = [{"token": t, "logprob": v, "bytes": None} for t, v in (top or {}).items()]
    return {"token": text, "logprob": logprob, "bytes": None, "top_logprobs": listed}


class Server:
    """`answer(payload, n)` says what to do with the n-th request (from 0); `requests` holds what came."""

    def __init__(self, answer: Callable[[dict[str, Any], int], Reply | dict[str, Any]]) -> None:
        self.answer = answer
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self.busy = self.most_busy = 0
        self.lock = threading.Lock()

    @property
    def texts(self) -> list[str]:
        """What was asked, request by request."""
        return [r["messages"][-1]["content"] for r in self.requests]


@contextlib.contextmanager
def serving(answer: Callable[[dict[str, Any], int], Reply | dict[str, Any]]) -> Iterator[tuple[str, Server]]:
    """(address that ends in /v1, the server's log)."""
    state = Server(answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            payload = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with state.lock:
                number = len(state.requests)
                state.requests.append(payload)
                state.headers.append({k.lower(): v for k, v in self.headers.items()})
                state.times.append(time.monotonic())
                state.busy += 1
                state.most_busy = max(state.most_busy, state.busy)
            try:
                reply = state.answer(payload, number)
                reply = reply if isinstance(reply, Reply) else Reply(reply)
                time.sleep(reply.delay)
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    self.send(reply)
            finally:
                with state.lock:
                    state.busy -= 1

        def send(self, reply: Reply) -> None:
            if reply.cut and reply.body is None:
                self.close_connection = True
                return
            raw = reply.body.encode() if isinstance(reply.body, str) else json.dumps(reply.body).encode()
            self.send_response(reply.status)
            for name, value in ({"content-type": "application/json"} | reply.headers).items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw[: len(raw) // 2] if reply.cut else raw)
            self.close_connection = reply.cut

        def log_message(self, *args: Any) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # clients that hang up are what is tested

    server = Quiet(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
