"""Put on PYTHONPATH by a test: every Python process of a run notes the names and addresses it asks for."""

import os
import sys

_log = os.environ.get("NETWORK_AUDIT_LOG")


def _note(event: str, args: tuple) -> None:
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        target = str(args[0])
    elif event == "socket.connect":
        target = str(args[1][0]) if isinstance(args[1], tuple) else "unix"
    else:
        return
    with open(_log, "a") as file:  # noqa: PTH123 (pathlib may not be importable this early)
        file.write(f"{event} {target}\n")


if _log:
    sys.addaudithook(_note)
