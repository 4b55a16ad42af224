"""A destination's API in memory that can fail in every way."""

import email
import http.server
import io
import json
import os
import signal
import socket
import threading
import time
import zipfile
from collections.abc import Callable
from typing import Any

MEMBER_CODE = 31000
PATIENCE = 0.25
"""Seconds that a client waits for an answer."""


class Server:
    """A destination in memory: `holds` is what it took in, `faults` what goes wrong with its next requests, in order.

    Faults: late (taken in, answered after the client has gone), drop (taken in, connection cut), deaf (cut, not taken in),
    429, 500, busy (the code of an answer), kill (taken in, then the client is killed); '' is none.
    """

    def __init__(self, destination: str) -> None:
        self.destination = destination
        self.holds: set[str] = set()
        self.faults: list[str] = []
        self.bad: set[str] = set()
        self.requests: list[tuple[str, str, dict[str, Any]]] = []
        self.headers: list[dict[str, str]] = []
        self.nonces: set[str] = set()
        self.victim: Callable[[], int] | None = None
        self.after: Callable[[], None] = lambda: None
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer._answer(self)

            do_DELETE = do_POST

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()

    def _answer(self, call: http.server.BaseHTTPRequestHandler) -> None:
        told = call.rfile.read(int(call.headers["Content-Length"]))
        kind = call.headers["Content-Type"]
        body = _form(kind, told) if kind.startswith("multipart/") else json.loads(told)
        self.requests.append((call.command, call.path, body))
        self.headers.append(dict(call.headers))
        fault = self.faults.pop(0) if self.faults else ""
        names, adds = self._members(call.command, call.path, body)
        is_coded = self.destination in ("wecom", "wechat_official_account", "tencent_ads")
        key = "code" if self.destination == "tencent_ads" else "errcode"
        if fault in ("", "late", "drop", "kill"):
            if self.bad & names:
                codes = {"wecom": 84061, "wechat_official_account": 40003, "tencent_ads": MEMBER_CODE}
                return self._say(call, 200 if is_coded else 400, {key: codes.get(self.destination, 0)})
            self.holds = self.holds | names if adds else self.holds - names
            self.after()
        if fault == "late":
            time.sleep(PATIENCE * 2)
        if fault == "kill" and self.victim:
            os.kill(self.victim(), signal.SIGKILL)
        if fault in ("late", "drop", "deaf", "kill"):
            call.close_connection = True
            return call.connection.shutdown(socket.SHUT_RDWR)
        if fault == "busy":
            return self._say(call, 200, {key: 11017 if self.destination == "tencent_ads" else -1})
        return self._say(call, int(fault or 200), {key: 0})

    def _say(self, call: http.server.BaseHTTPRequestHandler, status: int, told: dict[str, Any]) -> None:
        content = json.dumps(told).encode()
        call.send_response(status)
        if status == 429:
            call.send_header("Retry-After", "7")
        if status == 307:
            call.send_header("Location", f"{self.url}{call.path}")
        call.send_header("Content-Length", str(len(content)))
        call.end_headers()
        call.wfile.write(content)

    def _members(self, method: str, path: str, body: dict[str, Any]) -> tuple[set[str], bool]:
        """Identifiers in a request as the vendor reads it, and whether it adds them."""
        if self.destination == "google_data_manager":
            people = [m["userData"]["userIdentifiers"] for m in body["audienceMembers"]]
            return {v for m in people for one in m for v in one.values()}, path.endswith(":ingest")
        if self.destination == "meta":
            assert path.startswith("/77/users?") and body["payload"]["schema"] == ["EMAIL", "PHONE"]
            return {v for cells in body["payload"]["data"] for v in cells if v}, method == "POST"
        if self.destination == "tencent_ads":
            asked = dict(pair.split("=") for pair in path.partition("?")[2].split("&"))
            assert path.startswith("/custom_audience_files/add?") and asked["access_token"]
            assert abs(int(asked["timestamp"]) - time.time()) < 300 and asked["nonce"] not in self.nonces
            self.nonces.add(asked["nonce"])
            assert (body["account_id"], body["audience_id"]) == ("5", "77")
            assert body["user_id_type"] == "HASH_MOBILE_PHONE"
            return set(body["file"]), body["operation_type"] == "APPEND"
        if self.destination == "wecom":
            assert [*body.values()][2] == ["77"]
            return {f"{body['userid']}/{body['external_userid']}"}, "add_tag" in body
        assert body["tagid"] == 77
        return set(body["openid_list"]), "/batchtagging?" in path


def _form(kind: str, content: bytes) -> dict[str, Any]:
    """A form as a server reads it: text by name, and the lines of the text file in the zip `file`."""
    parts = email.message_from_bytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + content).get_payload()
    told: dict[str, Any] = {}
    for part in parts:  # type: ignore[union-attr]
        name = part.get_param("name", header="Content-Disposition")  # type: ignore[union-attr]
        told[name] = part.get_payload(decode=True)  # type: ignore[index, union-attr]
    with zipfile.ZipFile(io.BytesIO(told.pop("file"))) as archive:
        lines = archive.read(archive.namelist()[0]).decode().splitlines()
    return {name: value.decode() for name, value in told.items()} | {"file": lines}
