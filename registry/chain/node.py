"""The way to a node: connecting to one, and every way it can fail turned into an error of ours.

A request is bounded as a whole, not only between two bytes, so a node that drips cannot hold anybody up.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from registry.errors import CairnError, InputError, NodeUnavailable

if TYPE_CHECKING:
    from web3 import Web3

__all__ = [
    "MAX_RECURSION",
    "MAX_RESPONSE_BYTES",
    "NodeRefused",
    "asking",
    "bound_recursion",
    "connect",
    "named",
    "quantity",
]

MAX_RESPONSE_BYTES = 256 << 20
"""Largest answer read from a node."""
MAX_RECURSION = 12 * 1024
"""What py-evm asks for (1024 nested calls); json's parser survives three times as much."""


class NodeRefused(NodeUnavailable):
    """The node answered with a JSON-RPC error.

    Attributes:
        code: The error's number; 0 if it had none.
        said: The node's own words.
        data: Revert data, where the error carried some.
    """

    def __init__(self, message: str, *, code: int = 0, said: str = "", data: bytes | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.said = said
        self.data = data


def connect(url: str, *, timeout: float = 10.0) -> Web3:
    """Return a web3 for an RPC URL. Nothing is asked yet.

    Args:
        url: http(s)://…, or the path of a node's IPC socket.
        timeout: Seconds that one request may take in all.

    Raises:
        InputError: The URL is of another kind.
    """
    from web3 import HTTPProvider, IPCProvider, Web3

    provider: HTTPProvider | IPCProvider
    if url.startswith(("http://", "https://")):
        provider = HTTPProvider(
            url,
            request_kwargs={"timeout": timeout},
            session=_bounded_session(),
            exception_retry_configuration=None,
        )
    elif url.endswith(".ipc"):
        provider = IPCProvider(url, timeout=int(timeout) or 1)
    else:
        raise InputError(f"expected an http(s) URL or the path of an .ipc socket, got {named(url)!r}")
    provider.global_ccip_read_enabled = False
    bound_recursion()
    return Web3(provider)


def named(url: str) -> str:
    """Return a URL without what may be secret in it: user, path and query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "") if parts.scheme else url


@contextlib.contextmanager
def asking(what: str) -> Iterator[None]:
    """Run requests to a node; whatever goes wrong with them is raised as NodeUnavailable.

    Contract reverts pass as `NodeRefused` with `data`, which the caller turns into the contract's error.

    Args:
        what: The request, for the message.

    Raises:
        NodeRefused: The node answered with an error.
        NodeUnavailable: It did not answer, or with something that is no answer.
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


def bound_recursion() -> None:
    """Take back a recursion limit at which deeply nested JSON ends the process instead of raising.

    Importing web3 or eth_account sets the limit to 100 000 (py_ecc does); json's parser, written in C, has used up
    an 8 MB stack before that. Whoever imports them calls this before bytes of others are parsed.
    """
    if sys.getrecursionlimit() > MAX_RECURSION:
        sys.setrecursionlimit(MAX_RECURSION)


def quantity(value: Any, name: str) -> int:
    """Return a number a node gave.

    Raises:
        NodeUnavailable: It is none.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise NodeUnavailable(f"expected a number for {name} from the node, got {value!r:.80}")
    return value


def _unavailable(what: str, error: Exception) -> Exception:
    """The rest of what requests, web3 and eth-tester raise; what none of them does is a bug and stays what it is."""
    import requests
    from web3.exceptions import Web3Exception

    if isinstance(error, requests.Timeout):
        return NodeUnavailable(f"{what}: the node did not answer in time")
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return NodeUnavailable(f"{what}: the node answered with HTTP status {error.response.status_code}")
    if isinstance(error, (requests.RequestException, OSError)):
        return NodeUnavailable(f"{what}: the node cannot be reached ({type(error).__name__})")
    if isinstance(error, (Web3Exception, ValueError, TypeError, LookupError, AttributeError, RecursionError)):
        return NodeUnavailable(f"{what}: expected an answer from the node, got something else ({error!s:.120})")
    return error


def _refused(what: str, error: Any) -> NodeRefused:
    """A JSON-RPC error, with revert data wherever this kind of node hides them."""
    answer = (error.rpc_response or {}).get("error") or {}
    if not isinstance(answer, dict):
        answer = {"message": str(answer)}
    said = str(answer.get("message") or error)
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


def _bounded_session() -> Any:
    """A requests session whose timeout holds for a whole answer and which refuses an endless one."""
    import requests

    class BoundedSession(requests.Session):
        def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
            timeout = kwargs.get("timeout")
            deadline = time.monotonic() + float(timeout) if isinstance(timeout, (int, float)) else None
            response = super().send(request, **{**kwargs, "stream": True})
            body = bytearray()
            while chunk := response.raw.read1(1 << 20, decode_content=True):
                body += chunk
                if deadline is not None and time.monotonic() > deadline:
                    response.close()
                    raise requests.Timeout("the answer took longer than the request may")
                if len(body) > MAX_RESPONSE_BYTES:
                    response.close()
                    raise requests.exceptions.ContentDecodingError("the answer is larger than any may be")
            response._content = bytes(body)
            response._content_consumed = True  # type: ignore[attr-defined]
            return response

    session = BoundedSession()
    session.trust_env = False  # no proxy or .netrc password of the environment goes to a node nobody named
    return session
