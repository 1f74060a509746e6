"""Receivers of notices: a command, and a webhook signed as the Standard Webhooks specification says.

Neither runs a shell, follows a redirect, or is given a word that a stranger wrote.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from registry.errors import InputError, NotDelivered, StoreUnavailable
from registry.facts.plain import encoded, plain
from registry.notices.notice import Notice
from registry.store.http import Deadline, Endpoint

__all__ = ["Webhook", "body_of", "call_webhook", "environment_of", "parse_command", "parse_webhook", "run_command"]

PREFIX = "CAIRN_EVENT_"
"""What the names of a notice's environment variables begin with."""
_SECRET = "whsec_"
_SECRET_BYTES = range(24, 65)
_SECRETS = 4
"""Most secrets in a file: while one replaces another, a body carries a signature by each."""
_SECRET_FILE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where notices are sent.

    Attributes:
        origin: Scheme, host and port; the only part of the URL that messages show, since the rest may be secret.
        target: Path and query.
        secrets: Keys of the HMAC, one signature each.
    """

    origin: str
    target: str
    secrets: tuple[bytes, ...]

    def __repr__(self) -> str:
        return f"webhook {self.origin}"


def parse_webhook(url: str, secret_file: Path) -> Webhook:
    """Return a webhook from its URL and the file of its secrets, one a line: `whsec_` and base64 of 24 to 64 bytes.

    Raises:
        InputError: The URL is none of http or https, or the file holds something else.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InputError(f"--webhook: expected a URL, got one with {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or not re.fullmatch(r"[!-~]+", url):
        raise InputError("--webhook: expected an URL such as https://example.org/hook, in printable ASCII")
    if parts.username is not None or parts.password is not None:
        raise InputError(f"--webhook: expected a URL without a password in it, got one for {parts.hostname}")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    origin = f"{parts.scheme}://{host}" + ("" if port is None else f":{port}")
    return Webhook(origin, (parts.path or "/") + (f"?{parts.query}" if parts.query else ""), _secrets(secret_file))


def parse_command(text: str) -> tuple[str, ...]:
    """Split a command into program and arguments as a shell would; no shell runs it.

    Raises:
        InputError: A quotation does not end, or there is no such program.
    """
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise InputError(f"--exec: expected a command, got {text!r:.100}: {error}") from error
    if not words or shutil.which(words[0]) is None:
        raise InputError(f"--exec: expected a program on the PATH and its arguments, got {text!r:.100}")
    return words


def body_of(notice: Notice) -> bytes:
    """Return a notice as one line of JSON in ASCII, the same each time."""
    return encoded(plain(notice)).encode("ascii")


def environment_of(notice: Notice, inherited: Mapping[str, str]) -> dict[str, str]:
    """Return a command's environment: its parent's, and a variable for each field of the notice and of its facts."""
    fields = plain(notice)
    facts = fields.pop("facts")
    own = {PREFIX + name.upper(): _text(value) for name, value in {**fields, **facts}.items()}
    return {name: value for name, value in inherited.items() if not name.startswith(PREFIX)} | own


def run_command(words: Sequence[str], notice: Notice, timeout: float) -> None:
    """Run a command with a notice on its standard input and in its environment; what it prints goes to standard error.

    Raises:
        NotDelivered: It cannot be started, its exit code is not 0, or it runs longer than the timeout, in seconds; then
            it is killed with what it started.
    """
    command = {"stdin": subprocess.PIPE, "stdout": 2, "start_new_session": True}
    try:
        running = subprocess.Popen(words, env=environment_of(notice, os.environ), **command)  # type: ignore[call-overload]
    except (OSError, ValueError) as error:
        raise NotDelivered(f"{words[0]}: cannot be started: {error}") from error
    with running:
        try:
            running.communicate(body_of(notice) + b"\n", timeout)
        except subprocess.TimeoutExpired:
            raise NotDelivered(f"{words[0]}: expected an end within {timeout:g} s, got none on {notice.id}") from None
        finally:
            if running.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(running.pid, signal.SIGKILL)
    if running.returncode != 0:
        raise NotDelivered(f"{words[0]}: expected exit code 0, got {running.returncode} on {notice.id}")


def call_webhook(webhook: Webhook, notice: Notice, timeout: float) -> None:
    """Send a notice to a webhook: JSON with a signature and an id in the headers of Standard Webhooks.

    Raises:
        NotDelivered: The webhook cannot be reached, answers with another status than 2xx, which a redirect is, or not
            within the timeout, in seconds.
    """
    body, now = body_of(notice), int(time.time())
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "cairn",
        "webhook-id": notice.id,
        "webhook-timestamp": str(now),
        "webhook-signature": " ".join(_signature(secret, notice.id, now, body) for secret in webhook.secrets),
    }
    endpoint = Endpoint(webhook.origin, f"webhook {webhook.origin}")
    try:
        asked = endpoint.ask(webhook.target, Deadline(timeout), method="POST", headers=headers, body=body)
        with asked as reply:
            status = reply.status
    except StoreUnavailable as error:
        raise NotDelivered(f"{error} ({notice.id})") from error
    finally:
        endpoint.close()
    if not 200 <= status < 300:
        raise NotDelivered(f"{webhook!r}: expected a status of 2xx, got {status} on {notice.id}")


def _signature(secret: bytes, name: str, timestamp: int, body: bytes) -> str:
    signed = f"{name}.{timestamp}.".encode("ascii") + body
    return "v1," + base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode("ascii")


def _secrets(path: Path) -> tuple[bytes, ...]:
    """Read the secrets; messages do not show what the file holds."""
    wanted = f"{path}: expected 1 to {_SECRETS} lines, each {_SECRET} and base64 of 24 to 64 bytes"
    with path.open("rb") as file:
        lines = file.read(_SECRET_FILE_BYTES + 1).split()
    if not 1 <= len(lines) <= _SECRETS:
        raise InputError(f"{wanted}, got {len(lines)}")
    found = []
    for number, line in enumerate(lines, 1):
        try:
            head, text = line[: len(_SECRET)], line[len(_SECRET) :]
            secret = base64.b64decode(text, validate=True) if head == _SECRET.encode() else b""
        except binascii.Error:
            secret = b""
        if len(secret) not in _SECRET_BYTES:
            raise InputError(f"{wanted}, got something else in line {number}")
        found.append(secret)
    return tuple(found)


def _text(value: object) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
