"""The build receipt: proof that the warehouse holds a complete, tested build of the inputs that are there now.

The build invalidates it at its start and writes it at its end; publish refuses without it. A blocking check alone
would not do: it only blocks inside one run, so materializing publish alone after a failed test would release the
untested tables.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

from pipeline.errors import GateStopped
from pipeline.quality.checks import Check, blocking
from pipeline.settings import Settings
from pipeline.transform.context import fingerprint

_GOOD = {"success", "pass", "warn"}


@dataclass(frozen=True)
class Receipt:
    """`nodes` has the dbt status of every model, seed and data test of the project; `checks` all their results.

    `warehouse` is the file that the build left (size, time): another dbt run by hand would change it.
    """

    as_of_date: str
    fingerprint: str
    warehouse: str
    nodes: Mapping[str, str]
    checks: Sequence[Mapping[str, Any]]


def invalidate(settings: Settings) -> None:
    (settings.build / "receipt.json").unlink(missing_ok=True)


def identity(path: Path) -> str:
    """What tells a file from another that took its place: size and time."""
    if not path.exists():
        return "missing"
    s = path.stat()
    return f"{s.st_size}:{s.st_mtime_ns}"


def write(
    settings: Settings, as_of: date, built_from: str, nodes: Mapping[str, str], checks: Sequence[Check]
) -> None:
    """Write the receipt in one rename. `built_from` is the fingerprint taken before the build began."""
    path = settings.build / "receipt.json"
    receipt = Receipt(
        as_of.isoformat(),
        built_from,
        identity(settings.warehouse),
        nodes,
        [check.as_dict() for check in checks],
    )
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(asdict(receipt), ensure_ascii=False, indent=1, default=str))
    temporary.replace(path)


def stands(settings: Settings) -> bool:
    """Whether the warehouse is what the last complete build left, whatever day that was for."""
    path = settings.build / "receipt.json"
    return path.exists() and json.loads(path.read_text())["warehouse"] == identity(settings.warehouse)


def require(settings: Settings, as_of: date, expected_nodes: Sequence[str]) -> Receipt:
    """The valid receipt of a build for `as_of`. Raises GateStopped saying what is missing."""
    path = settings.build / "receipt.json"
    again = f"run the whole line for {as_of} (`strata run --as-of {as_of}`, or the job `daily` in the UI)"
    if not path.exists():
        raise GateStopped(f"nothing was published: there is no receipt of a complete build; {again}")
    receipt = Receipt(**json.loads(path.read_text()))
    if receipt.as_of_date != as_of.isoformat():
        raise GateStopped(
            f"nothing was published: the build is for {receipt.as_of_date}, not {as_of}; {again}"
        )
    if receipt.fingerprint != fingerprint(settings, as_of):
        raise GateStopped(f"nothing was published: deliveries or policy changed since the build; {again}")
    if receipt.warehouse != identity(settings.warehouse):
        raise GateStopped(f"nothing was published: the warehouse was changed after its build; {again}")
    undone = [name for name in expected_nodes if receipt.nodes.get(name) not in _GOOD]
    if undone:
        raise GateStopped(
            f"nothing was published: {len(undone)} of {len(expected_nodes)} dbt nodes are not done, "
            f"such as {undone[0]} ({receipt.nodes.get(undone[0], 'not run')}); {again}"
        )
    stopped = blocking([Check.from_dict(dict(check)) for check in receipt.checks])
    if stopped:
        raise GateStopped("nothing was published: " + "\n".join(str(check) for check in stopped))
    return receipt
