"""Who was who on each day: the clusters of every day, told from the deliveries and decisions in force on it.

A person's key is a token of the earliest source record, so a merge keeps the older key and a split leaves it with
the records that first made it, whatever the order in which files were read. Only the records that a day touches are
clustered anew: those whose identifiers changed, and all that hang together with them by an identifier or a decision,
before or after. That is enough, because the cluster of a record depends on these alone (matching.py).
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import NamedTuple

import pandas as pd

from pipeline.identity.matching import ALONE, Decisions, cluster
from pipeline.identity.rules import Rules
from pipeline.ingest.vault.keys import token, tokens

Name = tuple[str, str]
"""Source and source_customer_id of a record."""


class Value(NamedTuple):
    """One identifier of a record."""

    type: str
    value: str
    confidence: float = 1.0
    observed_at: date | None = None


class Record(NamedTuple):
    """What is known of one source record on a day, as tokens: only whether two are equal matters."""

    first_seen: date
    name_token: str | None = None
    birth_date: str | None = None
    member_id: str | None = None
    values: tuple[Value, ...] = ()


@dataclass(slots=True)
class Interval:
    """Days on which a record belonged to one person: valid_from ≤ day < valid_to.

    `merged_into`: the key that took the person over when this ended. `split_from`: the key, of somebody who lives on,
    that the record had before. Rule, confidence and observed_at are those of the link as it is last known.
    """

    customer_key: str
    rule: str
    confidence: float
    observed_at: date
    valid_from: date
    valid_to: date | None = None
    merged_into: str | None = None
    split_from: str | None = None


class Suspect(NamedTuple):
    """A merge that was not made. `right` is None where a value of too many records, or a whole group, is meant."""

    left: Name
    right: Name | None
    rule: str
    confidence: float
    why: str
    records_n: int
    since: date


class Judgement(NamedTuple):
    """What a person decided: `accept` (one person) or `reject` (not one). With `right` None it is about the value of
    type `rule` that the record `left` has (a shared mailbox), or about the group that hangs on it (`*`)."""

    verdict: str
    left: Name
    right: Name | None
    rule: str


class Likely(NamedTuple):
    """A pair of the second stage."""

    left: Name
    right: Name
    probability: float


class Crowd(NamedTuple):
    """Records of a crowded value that a history does not hold: how many, and the first of them."""

    records_n: int
    first_seen: date
    first: Name


def key_of(minting_key: bytes, name: Name) -> str:
    """The permanent key of a person whose earliest record is `name`."""
    return token(minting_key, "customer", _text(name))


def keys_of(minting_key: bytes, names: Iterable[Name]) -> list[str]:
    """`key_of` of each of many names."""
    return tokens(minting_key, "customer", map(_text, names))


def _text(name: Name) -> str:
    return f"{name[0]}\x1f{name[1]}"


class History:
    """Clusters of one day and how they came about; `advance` goes to the next day on which something changes."""

    def __init__(self, minting_key: bytes) -> None:
        self.minting_key = minting_key
        self.records: dict[Name, Record] = {}
        self.current: dict[Name, Interval] = {}
        self.closed: list[tuple[Name, Interval]] = []
        self.suspects: dict[tuple[Name, Name | None, str], Suspect] = {}
        self.pairs_made: dict[Name, int] = {}
        self.crowded: dict[Value, date] = {}
        self.absent: dict[Value, Crowd] = {}
        self._holders: dict[Value, set[Name]] = defaultdict(set)
        self._members: dict[str, set[Name]] = defaultdict(set)
        self._shared: set[Value] = set()
        self._judged: frozenset[Judgement] = frozenset()
        self._likely: frozenset[Likely] = frozenset()
        self._rules: Rules | None = None

    def restore(
        self,
        records: Mapping[Name, Record],
        current: Mapping[Name, Interval],
        judged: Iterable[Judgement],
        likely: Iterable[Likely],
        rules: Rules,
    ) -> None:
        """Take up what an earlier `advance` came to; suspects, pairs_made, crowded, absent and closed are set by the caller.

        It may be a part of all records: with each all that it hangs together with, but for crowded values, whose other
        records `absent` counts.
        """
        self.records, self.current = dict(records), dict(current)
        for name, record in self.records.items():
            for value in record.values:
                self._holders[_bare(value)].add(name)
            self._members[self.current[name].customer_key].add(name)
        self._judged, self._likely, self._rules = frozenset(judged), frozenset(likely), rules
        self._shared = self._shared_values()

    def advance(
        self,
        day: date,
        changed: Mapping[Name, Record | None],
        rules: Rules,
        judged: Iterable[Judgement] = (),
        likely: Iterable[Likely] = (),
    ) -> int:
        """Cluster what `day` touches.

        Args:
            changed: records as they are from this day on; None where no delivery holds the record any more.
            rules, judged, likely: all that is in force on the day.

        Returns:
            Records that were clustered anew.
        """
        judged, likely = frozenset(judged), frozenset(likely)
        # A dict, whose keys keep the order of `changed`: what is sorted already costs little to sort again.
        seeds = dict.fromkeys(changed)
        seeds |= dict.fromkeys(name for j in judged ^ self._judged for name in (j.left, j.right) if name)
        seeds |= dict.fromkeys(name for pair in likely ^ self._likely for name in (pair.left, pair.right))
        everything = rules != self._rules
        if everything:
            seeds |= dict.fromkeys(self.records)
        self._judged, self._likely, self._rules = judged, likely, rules
        seeds |= dict.fromkeys(self._store(day, changed, everything))
        shared = self._shared_values()
        for value in shared ^ self._shared:
            seeds |= dict.fromkeys(self._holders.get(value, ()))
        self._shared = shared
        partners = self._partners()
        touched = self._closure(seeds, partners)
        self._cluster(day, touched, partners)
        return len(touched)

    def _store(self, day: date, changed: Mapping[Name, Record | None], everything: bool) -> set[Name]:
        """Take the changes over; who shares a value with them, before or after, that is not of too many records."""
        affected: set[Value] = set()
        for name, record in changed.items():
            old = self.records.get(name)
            if (old and old.values) or (record and record.values):
                before = {_bare(value) for value in old.values} if old else set()
                after = {_bare(value) for value in record.values} if record else set()
                for value in before - after:
                    self._holders[value].discard(name)
                for value in after - before:
                    self._holders[value].add(name)
                affected |= before | after
            if record is None:
                self.records.pop(name, None)
            else:
                self.records[name] = record
        if everything:
            affected |= set(self._holders)
        sharing: set[Name] = set()
        for value in affected:
            holders = self._holders.get(value, set())
            holders_n = len(holders) + (self.absent[value].records_n if value in self.absent else 0)
            was, now = value in self.crowded, holders_n > self._in_force.of(value.type).records_max
            if now and not was:
                self.crowded[value] = day
            elif was and not now:
                del self.crowded[value]
            if not (was and now):
                sharing |= holders
            if not holders:
                self._holders.pop(value, None)
        return sharing

    def _shared_values(self) -> set[Value]:
        """Values that a person said belong to many: those that their anchor's record has today."""
        return {
            _bare(value)
            for verdict, name, right, rule in self._judged
            if verdict == "reject" and right is None and name in self.records
            for value in self.records[name].values
            if value.type == rule
        }

    def _partners(self) -> dict[Name, set[Name]]:
        """Who hangs together with whom by a decision or by the second stage."""
        partners: dict[Name, set[Name]] = defaultdict(set)
        for left, right in [(j.left, j.right) for j in self._judged] + [
            (p.left, p.right) for p in self._likely
        ]:
            if right:
                partners[left].add(right)
                partners[right].add(left)
        return partners

    def _closure(self, seeds: Iterable[Name], partners: Mapping[Name, set[Name]]) -> list[Name]:
        """All records whose cluster the seeds can change, in a fixed order."""
        found = dict.fromkeys(seeds)
        waiting = list(found)
        while waiting:
            name = waiting.pop()
            near = set(partners.get(name, ()))
            record = self.records.get(name)
            if record and record.values:
                for value in self._linking(name):
                    near |= self._holders[_bare(value)]
            for other in near:
                if other not in found:
                    found[other] = None
                    waiting.append(other)
        return sorted(found)

    def _is_alone(self, name: Name, partners: Mapping[Name, set[Name]]) -> bool:
        """Whether nothing can link the record to another: its cluster is itself, and need not be worked out."""
        return name not in partners and all(
            len(self._holders[_bare(value)]) == 1 for value in self._linking(name)
        )

    def _linking(self, name: Name) -> list[Value]:
        """The identifiers of a record that are nobody else's business: not of too many, not known to be shared."""
        crowded, shared = self.crowded, self._shared
        return [
            value
            for value in self.records[name].values
            for bare in (_bare(value),)
            if bare not in crowded and bare not in shared
        ]

    def _cluster(self, day: date, touched: list[Name], partners: Mapping[Name, set[Name]]) -> None:
        there = [name for name in touched if name in self.records]
        alone = {name for name in there if self._is_alone(name, partners)}
        here = [name for name in there if name not in alone]
        place = {name: i for i, name in enumerate(here)}
        found = cluster(
            self._frame(here),
            self._in_force,
            self._pairs(place),
            self._identifiers(here),
            self._decisions(place),
        )
        gone = set(touched) if self.suspects else set()
        old = {key: s for key, s in self.suspects.items() if key[0] in gone or key[1] in gone}
        for key in old:
            del self.suspects[key]
        for left, right, rule, confidence, why, n in found.suspects.itertuples(index=False):
            one, other = here[left], here[right] if right >= 0 else None
            if other is None and Judgement("reject", one, None, rule) in self._judged:
                continue
            since = old[one, other, rule].since if (one, other, rule) in old else day
            self.suspects[one, other, rule] = Suspect(one, other, rule, float(confidence), why, int(n), since)
        made = found.edges.drop_duplicates(["left", "right"])["right"].value_counts()
        if self.pairs_made:
            for name in touched:
                self.pairs_made.pop(name, None)
        self.pairs_made |= {here[i]: int(n) for i, n in made.items()}
        links = found.rules
        keys = {int(i): key_of(self.minting_key, here[i]) for i in set(found.earliest.tolist())}
        now = {
            name: (keys[int(first)], rule, float(confidence), seen.date() if pd.notna(seen) else None)
            for name, first, rule, confidence, seen in zip(
                here, found.earliest, links["rule"], links["confidence"], links["observed_at"], strict=True
            )
        }
        for name in alone:
            now[name] = (key_of(self.minting_key, name), ALONE, 1.0, None)
        self._assign(day, touched, now)

    def _assign(
        self, day: date, touched: list[Name], now: Mapping[Name, tuple[str, str, float, date | None]]
    ) -> None:
        for name in touched:
            if name in self.current:
                self._members[self.current[name].customer_key].discard(name)
        for name, (joined, *_) in now.items():
            self._members[joined].add(name)
        for name in touched:
            old = self.current.get(name)
            key, rule, confidence, observed = now.get(name, (None, ALONE, 1.0, None))
            observed = observed or (self.records[name].first_seen if name in self.records else day)
            if old and old.customer_key == key:
                old.rule, old.confidence, old.observed_at = rule, confidence, observed
                continue
            lives_on = bool(old and self._members.get(old.customer_key))
            if old:
                ended = replace(old, valid_to=day, merged_into=None if lives_on or key is None else key)
                self.closed.append((name, ended))
                del self.current[name]
            if key:
                split_from = old.customer_key if old and lives_on else None
                self.current[name] = Interval(key, rule, confidence, observed, day, split_from=split_from)
        for key in {i.customer_key for _, i in self.closed[-len(touched) :]}:
            if not self._members.get(key):
                self._members.pop(key, None)

    def clear(self) -> None:
        """Let go of all records and intervals, which are kept elsewhere by now; suspects and crowded values stay."""
        for held in (self.records, self.current, self.closed, self.pairs_made, self._holders, self._members):
            held.clear()

    @property
    def _in_force(self) -> Rules:
        if self._rules is None:
            raise RuntimeError("the history has not come to any day yet")
        return self._rules

    def open_suspects(self) -> list[Suspect]:
        """What waits for review, the largest first; also each value of too many records that nobody has judged."""
        found = list(self.suspects.values())
        for value, since in self.crowded.items():
            if value in self._shared or not self._in_force.of(value.type).links_alone:
                continue
            all_of = [(self.records[name].first_seen, name) for name in self._holders.get(value, ())]
            n = len(all_of)
            if value in self.absent:
                absent = self.absent[value]
                all_of.append((absent.first_seen, absent.first))
                n += absent.records_n
            confidence = self._in_force.of(value.type).confidence
            found.append(Suspect(min(all_of)[1], None, value.type, confidence, "value of too many", n, since))
        return sorted(found, key=lambda s: (-s.records_n, s.left, s.right or ("", ""), s.rule))

    def _frame(self, names: list[Name]) -> pd.DataFrame:
        rows = [self.records[name] for name in names]
        columns = {
            "source": [name[0] for name in names],
            "source_customer_id": [name[1] for name in names],
            "name_token": [row.name_token for row in rows],
            "birth_date": [row.birth_date for row in rows],
            "member_id": [row.member_id for row in rows],
        }
        frame = pd.DataFrame({k: pd.Series(v, dtype=object) for k, v in columns.items()})
        return frame.assign(first_seen=pd.to_datetime([row.first_seen for row in rows]))

    def _identifiers(self, names: list[Name]) -> pd.DataFrame:
        rows = [
            (i, v.type, v.value, v.confidence, v.observed_at)
            for i, name in enumerate(names)
            for v in self._linking(name)
        ]
        return pd.DataFrame(rows, columns=["position", "type", "value", "confidence", "observed_at"])

    def _pairs(self, place: Mapping[Name, int]) -> pd.DataFrame:
        rows = sorted(
            (place[p.left], place[p.right], p.probability)
            for p in self._likely
            if p.left in place and p.right in place
        )
        return pd.DataFrame(rows, columns=["left", "right", "probability"])

    def _decisions(self, place: Mapping[Name, int]) -> Decisions:
        pairs = {
            verdict: tuple(
                sorted(
                    (place[j.left], place[j.right])
                    for j in self._judged
                    if j.verdict == verdict and j.left in place and j.right and j.right in place
                )
            )
            for verdict in ("accept", "reject")
        }
        return Decisions(pairs["accept"], pairs["reject"])


def _bare(value: Value) -> Value:
    """The value without how surely and when it was seen."""
    return value if value[3] is None and value[2] == 1.0 else Value(value[0], value[1])
