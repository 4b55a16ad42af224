"""Where destinations take members over HTTPS (delivery_endpoints.csv), and what one request to them came to.

Pauses and their growth are urllib3's `Retry`; the request itself is `requests`. Addresses and answers may hold credentials or
contacts: nothing of them is in a message but host, status and code.
"""

import os
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlsplit

import requests
from urllib3.exceptions import InvalidHeader, MaxRetryError
from urllib3.util import Retry

from pipeline.errors import StrataError
from pipeline.publish.audiences import policy as policies
from pipeline.transform.context import POLICY_DIR

LOCAL = "127.0.0.1"
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
_OF_MEMBERS = frozenset({400, 422})


@dataclass(frozen=True)
class Endpoint:
    """One row of delivery_endpoints.csv.

    Args:
        answer_key: key of the code in an answer, 0 where it was accepted; '' where the HTTP status says it all.
        busy_codes, member_codes: codes that mean try again, and that refuse members of the request.
    """

    destination: str
    base_url: str
    add: tuple[str, str]
    remove: tuple[str, str]
    credential_env: str
    credential_in: str
    answer_key: str
    busy_codes: frozenset[str]
    member_codes: frozenset[str]

    @property
    def host(self) -> str:
        return urlsplit(self.base_url).hostname or ""

    def address(self, path: str, remote_id: str) -> str:
        """Where one attempt goes: `{timestamp}` (seconds) and `{nonce}` are its own."""
        known = {
            "{remote_id}": remote_id,
            "{timestamp}": str(int(time.time())),
            "{nonce}": secrets.token_hex(16),
        }
        for mark, value in known.items():
            path = path.replace(mark, quote(value, safe=""))
        return self.base_url.rstrip("/") + path


@dataclass(frozen=True)
class Upload:
    """A body that is no JSON: a form with one file."""

    fields: Mapping[str, str]
    name: str
    content: bytes


Verdict = Literal["accepted", "members", "busy", "stop"]


@dataclass(frozen=True)
class Answer:
    """What a request came to. `members`: somebody in it is refused; `told` has no credential and no contact."""

    verdict: Verdict
    told: str
    attempts: int = 1
    wait: float | None = None


def load(as_of: date, folder: Path = POLICY_DIR) -> dict[str, Endpoint]:
    """The endpoints in force on `as_of`. Raises StrataError naming file and line of what cannot be."""
    found: dict[str, Endpoint] = {}
    for line in policies.in_force(folder, "delivery_endpoints", as_of):
        if line["destination"] in found:
            raise line.fail(f"destination {line['destination']} has two rows in force on one day")
        if not re.fullmatch(r"bearer|query:\w+", line["credential_in"]):
            raise line.fail(f"credential_in {line['credential_in']!r} is neither bearer nor query:<name>")
        if not re.fullmatch(r"[A-Z][A-Z0-9_]*", line["credential_env"]):
            raise line.fail("credential_env is no name of an environment variable")
        methods = ("POST", "PUT", "PATCH", "DELETE")
        try:
            checked(line["base_url"])
        except StrataError as error:
            raise line.fail(str(error)) from None
        found[line["destination"]] = Endpoint(
            line["destination"],
            line["base_url"],
            (line.one_of("add_method", methods), line["add_path"]),
            (line.one_of("remove_method", methods), line["remove_path"]),
            line["credential_env"],
            line["credential_in"],
            line["answer_key"],
            frozenset(line["busy_codes"].split("|")) - {""},
            frozenset(line["member_codes"].split("|")) - {""},
        )
    return found


def checked(base_url: str) -> str:
    """The base address where contacts may be sent to it. Raises StrataError where anybody could read them on the way."""
    parts = urlsplit(base_url)
    if parts.username or parts.password or parts.query or parts.fragment:
        raise StrataError("the base URL must be an address alone, without user, query or fragment")
    if not parts.hostname or not (
        parts.scheme == "https" or (parts.scheme == "http" and parts.hostname == LOCAL)
    ):
        raise StrataError(f"{base_url!r} is no https address (http is for {LOCAL} alone)")
    return base_url


class _Credential(requests.auth.AuthBase):
    """Puts the credential in, so that no other is looked up in a file of the user's."""

    def __init__(self, place: str, value: str) -> None:
        self._place, self._value = place, value

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._place == "bearer":
            request.headers["Authorization"] = f"Bearer {self._value}"
        else:
            request.prepare_url(request.url or "", {self._place.removeprefix("query:"): self._value})
        return request


class Sender:
    """Sends requests to one destination, and again while it is busy.

    Args:
        limits: thresholds delivery_attempts, delivery_timeout_seconds, delivery_wait_seconds_max.
        pause: sleeps so many seconds.

    Raises:
        StrataError: where the environment has no credential.
    """

    def __init__(
        self, endpoint: Endpoint, limits: Mapping[str, float], pause: Callable[[float], None] = time.sleep
    ) -> None:
        checked(endpoint.base_url)
        credential = os.environ.get(endpoint.credential_env, "").strip()
        if not credential:
            raise StrataError(
                f"{endpoint.destination} needs a credential: set {endpoint.credential_env} in the environment"
            )
        self._endpoint, self._limits, self._pause = endpoint, limits, pause
        self._session = requests.Session()
        self._session.auth = _Credential(endpoint.credential_in, credential)
        # What goes to this computer goes through nobody's proxy.
        self._session.trust_env = endpoint.host != LOCAL

    def send(self, method: str, path: str, remote_id: str, body: Callable[[], Any]) -> Answer:
        """The answer to one request, after as many attempts as policy grants.

        `body` is asked before each attempt, for what may be sent can change in a pause; None: nothing is left to send.
        """
        longest = self._limits["delivery_wait_seconds_max"]
        retry = Retry(
            total=int(self._limits["delivery_attempts"]) - 1,
            allowed_methods=None,
            backoff_factor=1,
            backoff_jitter=1,
            backoff_max=longest,
        )
        attempts = 0
        while True:
            content = body()
            if content is None:
                return Answer("accepted", "nobody is left in it", attempts)
            attempts += 1
            answer = self._once(method, self._endpoint.address(path, remote_id), content)
            if answer.verdict != "busy":
                return Answer(answer.verdict, answer.told, attempts)
            try:
                retry = retry.increment(method, "")
            except MaxRetryError:
                return Answer("stop", f"{answer.told}, {attempts} times", attempts)
            wait = max(answer.wait or 0, retry.get_backoff_time())
            if wait > longest:
                # Sooner than it says would be refused again, and may be held against us.
                return Answer("stop", f"{answer.told} and asks to wait {wait:.0f} seconds", attempts)
            self._pause(wait)

    def _once(self, method: str, address: str, body: Any) -> Answer:
        timeout = self._limits["delivery_timeout_seconds"]
        told: Any = {"json": body}
        if isinstance(body, Upload):
            told = {"data": body.fields, "files": {"file": (body.name, body.content)}}
        try:
            response = self._session.request(
                method, address, **told, timeout=(timeout, timeout), allow_redirects=False
            )
        except requests.exceptions.SSLError:
            return Answer("stop", "its certificate is not accepted")
        except (
            requests.Timeout,
            requests.ConnectionError,
            requests.exceptions.ChunkedEncodingError,
        ) as error:
            return Answer("busy", f"no answer ({type(error).__name__})")
        except requests.RequestException as error:
            return Answer("stop", f"the request could not be made ({type(error).__name__})")
        return self._judge(response)

    def _judge(self, response: requests.Response) -> Answer:
        status = response.status_code
        told = f"it answers {status}"
        if status in _BUSY:
            return Answer("busy", told, wait=_wait_asked(response))
        if status in _OF_MEMBERS and not self._endpoint.answer_key:
            return Answer("members", told)
        if not 200 <= status < 300:
            return Answer("stop", told)
        if not self._endpoint.answer_key:
            return Answer("accepted", told)
        try:
            code = str(int(response.json()[self._endpoint.answer_key]))
        except (ValueError, KeyError, TypeError):
            return Answer("stop", f"{told} without {self._endpoint.answer_key}")
        told += f", {self._endpoint.answer_key} {code}"
        if code == "0":
            return Answer("accepted", told)
        if code in self._endpoint.busy_codes:
            return Answer("busy", told, wait=_wait_asked(response))
        return Answer("members" if code in self._endpoint.member_codes else "stop", told)


def _wait_asked(response: requests.Response) -> float | None:
    """Seconds that the destination asks for, None where it says nothing that can be read."""
    said = response.headers.get("Retry-After")
    if not said:
        return None
    try:
        return Retry().parse_retry_after(said)
    except InvalidHeader:
        return None
