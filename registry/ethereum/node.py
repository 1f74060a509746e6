"""JSON-RPC connection to a node: total timeouts, bounded answers, retries and error translation.

The timeout bounds a whole request, not the time between two bytes, so a slow-drip node cannot block the caller.
Transient errors and truncated answers are retried a few times: a step of some thirty requests would otherwise never
complete on a node that fails one in five. Answers with a wrong request id are rejected.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from registry.errors import CairnError, InputError, NodeUnavailable

if TYPE_CHECKING:
    from web3 import HTTPProvider, Web3

__all__ = [
    "MAX_RECURSION",
    "MAX_RESPONSE_BYTES",
    "NodeRefused",
    "asking",
    "bound_answers",
    "bound_recursion",
    "chain_time",
    "connect",
    "named",
    "quantity",
    "result_of",
]

T = TypeVar("T")

MAX_RESPONSE_BYTES = 256 << 20
"""Largest answer accepted from a node, bytes."""
_most_bytes = ContextVar("_most_bytes", default=MAX_RESPONSE_BYTES)
REPEATS = 3
"""Number of retries."""
PAUSE = 0.1
"""Seconds before the first retry; doubles with each retry."""
MAX_RECURSION = 12 * 1024
"""Recursion limit that py-evm needs (1024 nested calls); json's parser survives three times as much."""


class NodeRefused(NodeUnavailable):
    """The node answered with a JSON-RPC error.

    Attributes:
        code: The error's number; 0 if it had none.
        said: The node's error message.
        data: Revert data, where the error carried some.
    """

    def __init__(self, message: str, *, code: int = 0, said: str = "", data: bytes | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.said = said
        self.data = data


def connect(url: str, *, timeout: float = 10.0) -> Web3:
    """Return a web3 instance for an RPC URL, without sending any request.

    Args:
        url: http(s)://…, or the path of a node's IPC socket.
        timeout: Total seconds for one request; no retry starts after them.

    Raises:
        InputError: It is neither an http(s) URL nor an .ipc path.
    """
    from web3 import IPCProvider, Web3

    provider: HTTPProvider | IPCProvider
    if url.startswith(("http://", "https://")):
        provider = _http_provider(url, timeout)
    elif url.endswith(".ipc"):
        provider = IPCProvider(url, timeout=int(timeout) or 1)
    else:
        raise InputError(f"expected an http(s) URL or the path of an .ipc socket, got {named(url)!r}")
    provider.global_ccip_read_enabled = False
    bound_recursion()
    w3 = Web3(provider)
    w3.middleware_onion.remove("validation")  # doubles requests: eth_chainId before each
    return w3


def named(url: str) -> str:
    """Return a URL redacted for logs: without user, path and query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "") if parts.scheme else url


@contextlib.contextmanager
def asking(what: str) -> Iterator[None]:
    """Context manager for requests to a node that translates every error to NodeUnavailable.

    Contract reverts become `NodeRefused` with `data`, which the caller decodes into the contract's error.

    Args:
        what: Name of the request, for messages.

    Raises:
        NodeRefused: The node answered with an error.
        NodeUnavailable: It did not answer, or with an invalid answer.
    """
    from web3.exceptions import ContractLogicError, TimeExhausted, Web3RPCError

    bound_recursion()
    try:
        yield
    except CairnError:
        raise
    except ContractLogicError as error:
        raise NodeRefused(f"{what}: reverted", said=str(error.message), data=_revert_data(error)) from error
    except Web3RPCError as error:
        raise _refused(what, error) from error
    except (TimeoutError, TimeExhausted) as error:
        raise NodeUnavailable(f"{what}: the node did not answer in time") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise NodeUnavailable(f"{what}: expected JSON from the node, got something else") from error
    except Exception as error:
        raise _unavailable(what, error) from error


@contextlib.contextmanager
def bound_answers(most: int) -> Iterator[None]:
    """Limit answers over HTTP to most bytes in this context; a longer answer is cut off and not retried.

    A parsed answer takes several times its length in memory, and only the caller can request less.
    """
    before = _most_bytes.set(most)
    try:
        yield
    finally:
        _most_bytes.reset(before)


def bound_recursion() -> None:
    """Lower the recursion limit, so that deeply nested JSON raises instead of crashing the process.

    Importing web3 or eth_account sets the limit to 100 000 (by py_ecc); json's C parser overflows an 8 MB stack before
    that. Call this after importing them and before parsing untrusted bytes.
    """
    if sys.getrecursionlimit() > MAX_RECURSION:
        sys.setrecursionlimit(MAX_RECURSION)


def quantity(value: Any, name: str) -> int:
    """Return a number from a node's answer.

    Raises:
        NodeUnavailable: It is not a number.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise NodeUnavailable(f"expected a number for {name} from the node, got {value!r:.80}")
    return value


def result_of(what: str, response: Any) -> Any:
    """Return the result of a raw JSON-RPC answer, as the provider returns it without web3's middleware.

    Raises:
        NodeRefused: The node answered with an error.
        NodeUnavailable: It is not a JSON-RPC answer.
    """
    if not isinstance(response, dict):
        raise NodeUnavailable(f"{what}: expected an answer from the node, got {response!r:.80}")
    if response.get("error") is not None:
        raise _refusal(what, response["error"])
    if "result" not in response:
        raise NodeUnavailable(f"{what}: expected a result from the node, got {sorted(response)!r:.80}")
    return response["result"]


def _unavailable(what: str, error: Exception) -> Exception:
    """Translate the other errors of requests, web3 and eth-tester; any other exception is a bug and passes through."""
    import requests
    from web3.exceptions import Web3Exception

    if isinstance(error, requests.Timeout):
        return NodeUnavailable(f"{what}: the node did not answer in time")
    if isinstance(error, requests.exceptions.ContentDecodingError):
        return NodeUnavailable(f"{what}: {error}")
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return NodeUnavailable(f"{what}: the node answered with HTTP status {error.response.status_code}")
    if isinstance(error, (requests.RequestException, OSError)):
        return NodeUnavailable(f"{what}: the node cannot be reached ({type(error).__name__})")
    if isinstance(error, (Web3Exception, ValueError, TypeError, LookupError, AttributeError, RecursionError)):
        return NodeUnavailable(f"{what}: expected an answer from the node, got something else ({error!s:.120})")
    return error


def _refused(what: str, error: Any) -> NodeRefused:
    return _refusal(what, (error.rpc_response or {}).get("error") or {"message": str(error)})


def _refusal(what: str, answer: Any) -> NodeRefused:
    """Build the error for a JSON-RPC error, with revert data from wherever this kind of node puts them."""
    if not isinstance(answer, dict):
        answer = {"message": str(answer)}
    said = str(answer.get("message") or answer)
    code = answer.get("code")
    data = answer.get("data")
    if isinstance(data, dict):
        data = data.get("data")
    return NodeRefused(
        f"{what}: the node refused: {said:.300}",
        code=code if isinstance(code, int) else 0,
        said=said,
        data=_unhex(data),
    )


def _revert_data(error: Any) -> bytes:
    data = error.data
    if isinstance(data, dict):
        data = data.get("data")
    return _unhex(data) or b""


def _unhex(data: object) -> bytes | None:
    if isinstance(data, str) and data.startswith("0x"):
        with contextlib.suppress(ValueError):
            return bytes.fromhex(data[2:])
    return None


def _http_provider(url: str, timeout: float) -> HTTPProvider:
    """Return a provider that retries transient errors and checks request ids."""
    from web3 import HTTPProvider

    class PatientProvider(HTTPProvider):
        def make_request(self, method: Any, params: Any) -> Any:
            def ask() -> Any:
                request = self.encode_rpc_request(method, params)
                answer = self.decode_rpc_response(self._make_request(method, request))
                _require_id(method, answer, json.loads(request)["id"])
                return answer

            return _patiently(ask, timeout) if _repeatable(method) else ask()

        def make_batch_request(self, batch_requests: Any) -> Any:
            def ask() -> Any:
                return HTTPProvider.make_batch_request(self, batch_requests)

            return _patiently(ask, timeout) if all(_repeatable(method) for method, _ in batch_requests) else ask()

    return PatientProvider(
        url, request_kwargs={"timeout": timeout}, session=_bounded_session(), exception_retry_configuration=None
    )


def _repeatable(method: str) -> bool:
    """Return whether a method is idempotent: reads and sending a signed transaction; not control of a test chain."""
    return method.startswith("eth_") and method != "eth_sendTransaction"


def _patiently(ask: Callable[[], T], timeout: float) -> T:
    """Send a request, with retries on transient errors until the timeout."""
    import requests
    from urllib3.exceptions import NewConnectionError

    deadline, pause = time.monotonic() + timeout, PAUSE
    for _ in range(REPEATS):
        try:
            return ask()
        except (requests.Timeout, requests.exceptions.ContentDecodingError):
            raise
        except requests.HTTPError as error:
            if error.response is None or not (error.response.status_code == 429 or error.response.status_code >= 500):
                raise
            last: Exception = error
        except (requests.RequestException, json.JSONDecodeError, UnicodeDecodeError, NodeUnavailable) as error:
            if error.args and isinstance(getattr(error.args[0], "reason", None), NewConnectionError):
                raise  # connection refused
            last = error
        if time.monotonic() + pause > deadline:
            raise last
        time.sleep(pause)
        pause *= 2
    return ask()


def _require_id(method: str, answer: Any, expected: int) -> None:
    """Check the request id; an error may lack one, since the node may not have parsed the request."""
    if not isinstance(answer, dict) or (answer.get("id") is None and "error" in answer):
        return
    if answer.get("id") != expected:
        raise NodeUnavailable(f"{method}: expected the answer to request {expected}, got one to {answer.get('id')!r}")


def _bounded_session() -> Any:
    """Return a requests session with a total timeout and a size limit for each answer."""
    import requests
    from urllib3.exceptions import HTTPError as BrokenAnswer
    from urllib3.exceptions import ReadTimeoutError

    def next_piece(response: requests.Response) -> bytes:
        try:
            piece: bytes = response.raw.read1(1 << 20, decode_content=True)
        except ReadTimeoutError as error:
            raise requests.Timeout("the answer took longer than the request may") from error
        except BrokenAnswer as error:
            raise requests.exceptions.ChunkedEncodingError(f"the answer was cut off: {error!s:.120}") from error
        return piece

    class BoundedSession(requests.Session):
        def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
            timeout, most = kwargs.get("timeout"), _most_bytes.get()
            deadline = time.monotonic() + float(timeout) if isinstance(timeout, (int, float)) else None
            response = super().send(request, **{**kwargs, "stream": True})
            body = bytearray()
            while chunk := next_piece(response):
                body += chunk
                if deadline is not None and time.monotonic() > deadline:
                    response.close()
                    raise requests.Timeout("the answer took longer than the request may")
                if len(body) > most:
                    response.close()
                    raise requests.exceptions.ContentDecodingError(
                        f"expected an answer of at most {most} bytes from the node, got more"
                    )
            response._content = bytes(body)
            response._content_consumed = True  # type: ignore[attr-defined]
            return response

    session = BoundedSession()
    session.trust_env = False  # ignore proxies and .netrc passwords of the environment
    return session


def chain_time(w3: Web3) -> int:
    """Return the pending block's timestamp, Unix seconds, which a transaction sent now would see."""
    try:
        with asking("eth_getBlockByNumber"):
            block: Any = w3.eth.get_block("pending")
    except NodeRefused:
        with asking("eth_getBlockByNumber"):
            block = w3.eth.get_block("latest")
    return quantity(block["timestamp"], "timestamp")
