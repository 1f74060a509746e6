"""JSON-RPC connection to a node: total timeouts, bounded answers, retries and error translation.

The timeout bounds a whole request, not the time between two bytes, so a slow-drip node cannot block the caller.
Transient errors and truncated answers are retried a few times: a step of some thirty requests would otherwise never
complete on a node that fails one in five. A node that limits requests is asked again within a budget of time, and the
reason logged; one without pending blocks or batches is asked for the latest block, or one by one. All this is in the
provider, which no request can go past. Answers with a wrong request id are rejected.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from registry.errors import CairnError, InputError, NodeUnavailable
from registry.ethereum.node_answers import Meaning, meaning_of

if TYPE_CHECKING:
    from web3 import HTTPProvider, IPCProvider, Web3

__all__ = [
    "MAX_RECURSION",
    "MAX_RESPONSE_BYTES",
    "NodeBusy",
    "NodeRefused",
    "Patience",
    "asking",
    "bound_answers",
    "bound_recursion",
    "bound_time",
    "chain_time",
    "connect",
    "latest_block",
    "named",
    "quantity",
    "result_of",
]

T = TypeVar("T")

log = logging.getLogger(__name__)

MAX_RESPONSE_BYTES = 256 << 20
"""Largest answer accepted from a node, bytes."""
_most_bytes = ContextVar("_most_bytes", default=MAX_RESPONSE_BYTES)
_no_request_after: ContextVar[float | None] = ContextVar("_no_request_after", default=None)
REPEATS = 3
"""Number of retries."""
PAUSE = 0.1
"""Seconds before the first retry; doubles with each retry, up to LONGEST_PAUSE."""
LONGEST_PAUSE = 4.0
_WORTH_TELLING = 0.8
"""Seconds of a pause from which on its reason is logged."""
_TELL_EVERY = 5.0
PENDING, LATEST = "pending", "latest"
_NO_BATCH_STATUS = (400, 403, 404, 405, 413, 415, 501)
"""HTTP statuses with which servers turn down a batch that they would take one by one."""
MAX_RECURSION = 12 * 1024
"""Recursion limit that py-evm needs (1024 nested calls); json's parser survives three times as much."""


class NodeBusy(NodeUnavailable):
    """The node limits how often it is asked, or has not got that far yet, for as long as the request was repeated."""


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


def connect(url: str, *, timeout: float = 10.0, budget: float | None = None) -> Web3:
    """Return a web3 instance for an RPC URL, without sending any request.

    Args:
        url: http(s)://…, or the path of a node's IPC socket.
        timeout: Total seconds for one request; no retry after a failure starts after them.
        budget: Seconds for which a request is repeated while the node limits requests (HTTP 429 or an error that says
            so); three timeouts by default. Why a request waits is logged.

    Raises:
        InputError: It is neither an http(s) URL nor an .ipc path.
    """
    from web3 import Web3

    provider: HTTPProvider | IPCProvider
    patience = Patience(named(url), timeout, 3 * timeout if budget is None else budget)
    if url.startswith(("http://", "https://")):
        provider = _http_provider(url, patience)
    elif url.endswith(".ipc"):
        provider = _ipc_provider(url, patience)
    else:
        raise InputError(f"expected an http(s) URL or the path of an .ipc socket, got {named(url)!r}")
    provider.global_ccip_read_enabled = False
    provider.patience = patience  # type: ignore[union-attr]
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
    end = _no_request_after.get()
    if end is not None and time.monotonic() > end:
        raise NodeUnavailable(f"{what}: no time is left for requests to the node")
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


@contextlib.contextmanager
def bound_time(seconds: float) -> Iterator[None]:
    """Begin no request to a node after so many seconds in this context: what takes more raises NodeUnavailable."""
    before = _no_request_after.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _no_request_after.reset(before)


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

    url = getattr(getattr(error, "request", None), "url", None)
    node = f"the node {named(url)}" if url else "the node"
    if isinstance(error, requests.Timeout):
        return NodeUnavailable(f"{what}: {node} did not answer in time")
    if isinstance(error, requests.exceptions.ContentDecodingError):
        return NodeUnavailable(f"{what}: {error}")
    if isinstance(error, requests.HTTPError) and error.response is not None:
        if error.response.status_code == 429:
            return NodeBusy(f"{what}: {node} answered with HTTP status 429: {Meaning.BUSY}")
        return NodeUnavailable(f"{what}: {node} answered with HTTP status {error.response.status_code}")
    if isinstance(error, (requests.RequestException, OSError)):
        return NodeUnavailable(f"{what}: {node} cannot be reached ({type(error).__name__})")
    if isinstance(error, (Web3Exception, ValueError, TypeError, LookupError, AttributeError, RecursionError)):
        return NodeUnavailable(f"{what}: expected an answer from the node, got something else ({error!s:.120})")
    return error


def _refused(what: str, error: Any) -> NodeUnavailable:
    return _refusal(what, (error.rpc_response or {}).get("error") or {"message": str(error)})


def _refusal(what: str, answer: Any) -> NodeUnavailable:
    """Build the error for a JSON-RPC error, with revert data from wherever this kind of node puts them."""
    passing = _passing({"error": answer})
    if passing is not None:
        return NodeBusy(f"{what}: the node cannot answer now: {passing}")
    if not isinstance(answer, dict):
        answer = {"message": str(answer)}
    said = str(answer.get("message") or answer)
    code = answer.get("code")
    data = answer.get("data")
    if isinstance(data, dict):
        data = data.get("data")
    meaning = _meaning({"error": answer})
    return NodeRefused(
        f"{what}: the node refused: {said:.300}" + ("" if meaning is None else f" ({meaning})"),
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


def _http_provider(url: str, patience: Patience) -> HTTPProvider:
    """Return a provider that repeats what may pass and checks request ids."""
    from web3 import HTTPProvider

    class PatientProvider(HTTPProvider):
        def make_request(self, method: Any, params: Any) -> Any:
            return patience.ask(self._once, method, params)

        def make_batch_request(self, batch_requests: Any) -> Any:
            whole = partial(HTTPProvider.make_batch_request, self, batch_requests)
            return patience.ask_batch(whole, self._once, batch_requests)

        def _once(self, method: Any, params: Any) -> Any:
            request = self.encode_rpc_request(method, params)
            answer = self.decode_rpc_response(self._make_request(method, request))
            _require_id(method, answer, json.loads(request)["id"])
            return answer

    options = {"timeout": patience.timeout}
    return PatientProvider(url, request_kwargs=options, session=_bounded_session(), exception_retry_configuration=None)


def _ipc_provider(path: str, patience: Patience) -> IPCProvider:
    from web3 import IPCProvider

    class PatientProvider(IPCProvider):
        def make_request(self, method: Any, params: Any) -> Any:
            return patience.ask(partial(IPCProvider.make_request, self), method, params)

        def make_batch_request(self, requests: Any) -> Any:
            whole = partial(IPCProvider.make_batch_request, self, requests)
            return patience.ask_batch(whole, partial(IPCProvider.make_request, self), requests)

    return PatientProvider(path, timeout=int(patience.timeout) or 1)


Once = Callable[[Any, Any], Any]
"""Sends one request, by method and parameters, and returns its answer."""


class Patience:
    """How a node's refusals that may pass, and what it lacks, are dealt with, for every request.

    Attributes:
        node: The node's name for messages.
        timeout: Seconds for one request. No repetition after a failed one starts after them.
        budget: Seconds for which a request is repeated while the node limits requests.
        waits: How often a request was repeated, by reason.
        no_pending: Whether the node serves no pending block: the latest is asked for instead.
        no_batch: Whether it takes no batches: requests go one by one.
    """

    def __init__(self, node: str, timeout: float, budget: float) -> None:
        self.node, self.timeout, self.budget = node, timeout, budget
        self.waits: Counter[str] = Counter()
        self.no_pending = self.no_batch = False
        self._told = -math.inf

    def ask(self, once: Once, method: Any, params: Any) -> Any:
        """Send a request, again where that may help; return the answer, or the last one."""
        asked = _at_latest(params) if self.no_pending else params
        answer = self._repeat(partial(once, method, asked)) if _repeatable(method) else once(method, asked)
        if PENDING not in asked or not _lacks_pending(method, answer):
            return answer
        log.warning("node %s serves no pending block: reading the latest instead", self.node)
        self.no_pending = True
        return self.ask(once, method, params)

    def ask_batch(self, whole: Callable[[], Any], once: Once, requests: Sequence[tuple[Any, Any]]) -> Any:
        """Send a batch; one by one what a node that takes none, or a smaller one, has not answered."""
        import requests as http

        if not all(_repeatable(method) for method, _ in requests):
            return whole()
        answers = None
        if not self.no_batch:
            try:
                answers = self._repeat(whole)
            except http.HTTPError as error:
                if error.response is None or error.response.status_code not in _NO_BATCH_STATUS:
                    raise
            if isinstance(answers, list):
                if len(answers) != len(requests):
                    return answers  # the caller says what it expected
                return [
                    {**self.ask(once, *request), "id": answer["id"]} if _open(answer, request) else answer
                    for request, answer in zip(requests, answers, strict=True)
                ]
            self.no_batch = answers is None or _meaning(answers) is not Meaning.BUSY
        return [{**self.ask(once, *request), "id": n} for n, request in enumerate(requests)]

    def _repeat(self, send: Callable[[], T]) -> T:
        """Send until the answer is not a passing refusal, or the time for that is over."""
        import requests
        from urllib3.exceptions import NewConnectionError

        began, pause, failures = time.monotonic(), PAUSE, 0
        while True:
            failed: Exception | None = None
            wished, limited = 0.0, False
            try:
                answer = send()
                why = _passing(answer)
                if why is None:
                    return answer
                limited = _meaning(answer) is Meaning.BUSY
            except (requests.Timeout, requests.exceptions.ContentDecodingError):
                raise
            except requests.HTTPError as error:
                status = 0 if error.response is None else error.response.status_code
                if not (status == 429 or status >= 500):
                    raise
                failed, why, wished = error, f"HTTP status {status}", _retry_after(error.response)
                limited = status == 429 or wished > 0
            except (requests.RequestException, json.JSONDecodeError, UnicodeDecodeError, NodeUnavailable) as error:
                if error.args and isinstance(getattr(error.args[0], "reason", None), NewConnectionError):
                    raise  # connection refused
                failed, why = error, type(error).__name__
            failures += 1
            wait, left = max(pause, wished), began + (self.budget if limited else self.timeout) - time.monotonic()
            if wait > left or not (limited or failures <= REPEATS):
                if failed is not None:
                    raise failed
                return answer
            self._tell(why, wait, left)
            time.sleep(wait)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _tell(self, why: str, wait: float, left: float) -> None:
        """Count a repetition; log why, at times, where somebody may wonder what is waited for."""
        self.waits[why] += 1
        now = time.monotonic()
        if wait >= _WORTH_TELLING and now - self._told > _TELL_EVERY:
            self._told = now
            log.warning("node %s: %s; asking again, for up to %.0f s", self.node, why, left)


def _repeatable(method: str) -> bool:
    """Return whether a method is idempotent: reads and sending a signed transaction; not control of a test chain."""
    return method.startswith("eth_") and method != "eth_sendTransaction"


def _at_latest(params: Any) -> Any:
    return [LATEST if param == PENDING else param for param in params]


def _lacks_pending(method: str, answer: Any) -> bool:
    """Return whether an answer says that the node has no pending block: by an error, or by a block that is null."""
    if not isinstance(answer, dict):
        return False
    error = answer.get("error")
    if error is None:
        return method == "eth_getBlockByNumber" and answer.get("result", ...) is None
    invalid = isinstance(error, dict) and error.get("code") == -32602 and PENDING in str(error.get("message")).lower()
    return invalid or _meaning(answer) is Meaning.NO_PENDING


def _open(answer: Any, request: tuple[Any, Any]) -> bool:
    """Return whether a request of a batch may be answered if it is sent alone."""
    return _passing(answer) is not None or (PENDING in request[1] and _lacks_pending(request[0], answer))


def _meaning(answer: Any) -> Meaning | None:
    """Return what an answer's error means; None if it has none, or an unknown one."""
    error = answer.get("error") if isinstance(answer, dict) else None
    if error is None:
        return None
    if not isinstance(error, dict):
        return meaning_of(0, str(error))
    code = error.get("code")
    return meaning_of(code if isinstance(code, int) else 0, str(error.get("message") or error))


def _passing(answer: Any) -> str | None:
    """Return why the node cannot answer now; None if it has answered, or refuses."""
    meaning = _meaning(answer)
    if meaning not in (Meaning.BUSY, Meaning.NOT_YET):
        return None
    error = answer["error"]
    said = error.get("message") if isinstance(error, dict) else error
    return f"{meaning} ({said!s:.100})"


def _retry_after(response: Any) -> float:
    """Return the seconds of a Retry-After header, given as seconds or as a date; 0 if there is none."""
    told = "" if response is None else str(response.headers.get("Retry-After", ""))
    if told.isascii() and told.isdigit():
        return float(told[:6])
    with contextlib.suppress(TypeError, ValueError):
        return max(parsedate_to_datetime(told).timestamp() - time.time(), 0.0)
    return 0.0


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
            raise requests.Timeout("the answer took longer than the request may", request=response.request) from error
        except BrokenAnswer as error:
            said = f"the answer was cut off: {error!s:.120}"
            raise requests.exceptions.ChunkedEncodingError(said, request=response.request) from error
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
                    raise requests.Timeout("the answer took longer than the request may", request=request)
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


def latest_block(w3: Web3) -> int:
    """Return the number of the latest block, final or not.

    Raises:
        NodeUnavailable: The node does not answer.
    """
    with asking("eth_blockNumber"):
        number: Any = w3.eth.block_number
    return quantity(number, "blockNumber")
