"""Who is in each audience of the policy, chosen once more for the release (see publish/audience_lists.py).

Chosen as `strata audiences export` chooses, before contacts are looked at: rule, consent on the channel, hold-out, one
audience per person and channel.
"""

import csv
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from pipeline.errors import StrataError
from pipeline.ingest.vault import Vault
from pipeline.publish.audience_lists import FOLDER, KEY, MEMBERSHIP, keys_in
from pipeline.publish.audiences import policy as policies
from pipeline.publish.audiences import rules, selection, source
from pipeline.publish.audiences.policy import Audience
from pipeline.settings import Settings

_JOINED = "has_joined"


def write(
    settings: Settings,
    folder: Path,
    as_of: date,
    before: Mapping[str, Any] | None,
    log: Callable[[str], None] = lambda _: None,
) -> dict[str, Any] | None:
    """Write the lists of a candidate of today's build, from its own memberships.

    What the manifest says of them: `since` (the release before, None for the first) and per audience in `lists` its
    names, channel, destinations, `file`, `members`, `joined` and `left` (None without an earlier list). Where the seeds
    of the audiences cannot be read there are no lists but the `problem`: a typo there is no reason to publish nothing.
    None where the release has no memberships.
    """
    path = folder / MEMBERSHIP
    if not path.is_file() or not pq.read_metadata(path).num_rows:
        return None
    try:
        policy = policies.load(as_of)
        people, consents = source.released_people(settings, folder, policy.schemes)
    except StrataError as error:
        log(f"warning: the release has no lists of audiences: {error}")
        return {"problem": str(error)}
    salt = Vault(settings, "audience lists").holdout_salt
    chosen = selection.choose(policy.audiences, people, consents, salt, policy.limits)
    classes = people.set_index(KEY)
    named = sorted({scheme for one in policy.audiences for scheme in _schemes(one.rule)})
    (folder / FOLDER).mkdir()
    lists = []
    for one in chosen:
        name = f"{FOLDER}/{one.audience.name}.csv"
        earlier = _earlier(settings, before, name)
        _write(folder / name, sorted(one.active), classes, named, earlier)
        members = set(one.active)
        lists.append(
            _told(one.audience)
            | {
                "file": name,
                "members": len(members),
                "joined": None if earlier is None else len(members - earlier),
                "left": None if earlier is None else len(earlier - members),
            }
        )
    return {"since": before["release"] if before else None, "lists": lists}


def _write(
    path: Path, members: list[str], classes: pd.DataFrame, schemes: list[str], earlier: set[str] | None
) -> None:
    """One row per member: token, whether she was not in the list before (empty without one), her classes."""

    def rows() -> Iterator[list[str]]:
        yield [KEY, _JOINED, *schemes]
        for key, values in zip(members, classes.loc[members, schemes].itertuples(index=False), strict=True):
            joined = "" if earlier is None else str(key not in earlier).lower()
            yield [key, joined, *("" if pd.isna(v) else str(v) for v in values)]

    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows())


def _told(audience: Audience) -> dict[str, Any]:
    return {
        "audience": audience.name,
        "name_zh": audience.name_zh,
        "name_en": audience.name_en,
        "channel": audience.channel,
        "destinations": [
            {"destination": t.destination.name, "name_zh": t.destination.name_zh, "name_en": t.destination.name_en}
            for t in audience.targets
        ],
    }  # fmt: skip


def _schemes(rule: rules.Rule) -> set[str]:
    """Schemes that a rule names."""
    if isinstance(rule, rules.Join):
        return set().union(*(_schemes(part) for part in rule.parts))
    if isinstance(rule, rules.Not):
        return _schemes(rule.rule)
    return {rule.scheme} if isinstance(rule, rules.IsIn) else set()


def _earlier(settings: Settings, before: Mapping[str, Any] | None, name: str) -> set[str] | None:
    """Members of a list in the release before; None where it has no such list."""
    path = settings.releases / before["release"] / name if before else None
    return keys_in(path) if path and path.is_file() else None
