"""Who came near clear personal data: one line for each opening of the vault and for each export.

Lines are only added (O_APPEND, mode 0600), and each holds the hash of the one before it. A line that was changed or
taken out breaks the chain at its place; lines cut off at the end are missed by comparing with the last line that a
release's manifest states (`head`), because releases are read-only.
"""

import fcntl
import hashlib
import json
import os
import pwd
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.errors import StrataError
from pipeline.settings import Settings

_START = "0" * 64
_TAIL_BYTES = 65_536


@dataclass(frozen=True)
class Head:
    """Where the log stands: number of lines, hash of the last one."""

    lines: int
    hash: str


def path_of(settings: Settings) -> Path:
    return settings.vault / "access_log.jsonl"


def operator() -> str:
    """The user that this process belongs to, where nobody says on whose behalf it acts."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def record(settings: Settings, who: str, what: str, purpose: str, count: int | None) -> None:
    """Append one line, on disk when this returns.

    Args:
        who: the person or the system user that looks.
        what: the act, such as `vault opened` or `subject exported`. No clear personal data.
        purpose: what for.
        count: clear values or persons within reach; None where it is not known.
    """
    settings.vault.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path_of(settings), os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "rb+", buffering=0) as file:
        # Two processes must not both follow the same line.
        fcntl.flock(file, fcntl.LOCK_EX)
        last = _last_line(file.fileno())
        try:
            before = json.loads(last) if last else {}
        except ValueError:
            # The work goes on, and the broken chain says that the line before was damaged.
            before = {}
        line = {
            "no": before.get("no", 0) + 1,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "who": who,
            "what": what,
            "purpose": purpose,
            "count": count,
            "process": os.getpid(),
            "before": before.get("hash", _START),
        }
        line["hash"] = _hash(line)
        os.write(file.fileno(), (json.dumps(line, ensure_ascii=False) + "\n").encode())
        os.fsync(file.fileno())


def read(settings: Settings) -> list[dict[str, Any]]:
    """Every line, oldest first. Raises StrataError naming a line that is no JSON object."""
    path = path_of(settings)
    if not path.exists():
        return []
    lines = []
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            line = json.loads(text)
            lines.append(line | {"no": line["no"]})
        except (ValueError, KeyError, TypeError) as error:
            raise StrataError(
                f"{path}: line {number} is no line of the log; compare the file with a backup"
            ) from error
    return lines


def head(settings: Settings) -> Head:
    """Number and hash of the last line; 0 and zeros before the first."""
    path = path_of(settings)
    if not path.exists():
        return Head(0, _START)
    with path.open("rb") as file:
        last = _last_line(file.fileno())
    line = json.loads(last) if last else {}
    return Head(line.get("no", 0), line.get("hash", _START))


def problems(settings: Settings, stated: Head | None = None) -> list[str]:
    """What is wrong with the log: changed, missing or foreign lines; empty where the chain holds.

    `stated`: what a release's manifest says of the log as it then was.
    """
    try:
        lines = read(settings)
    except StrataError as error:
        return [str(error)]
    found, before = [], _START
    for number, line in enumerate(lines, 1):
        if line["no"] != number:
            found.append(f"line {number} says that it is line {line['no']}: lines are missing before it")
            break
        if line.get("before") != before:
            found.append(f"line {number} does not follow the line before it")
            break
        if line.get("hash") != _hash({k: v for k, v in line.items() if k != "hash"}):
            found.append(f"line {number} was changed")
            break
        before = line["hash"]
    if stated and stated.lines and not found:
        if len(lines) < stated.lines:
            found.append(
                f"the log has {len(lines)} lines; the current release was made when it had {stated.lines}"
            )
        elif lines[stated.lines - 1]["hash"] != stated.hash:
            found.append(f"line {stated.lines} is not the one that the current release was made with")
    return found


def _hash(line: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(line, ensure_ascii=False, sort_keys=True).encode()).hexdigest()


def _last_line(descriptor: int) -> bytes:
    """The last complete line of an open file; a line that a crash left unfinished is closed by the caller's own."""
    size = os.fstat(descriptor).st_size
    text = os.pread(descriptor, _TAIL_BYTES, max(0, size - _TAIL_BYTES))
    lines = [line for line in text.split(b"\n") if line.strip()]
    return lines[-1] if lines else b""
