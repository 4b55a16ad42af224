"""Who is one person: clusters of source records that share identifiers, without the merges that are suspect.

Precision before recall (domain.md P-25): a wrong merge shows one person's data to another. A link is made where
an identifier says it and nothing speaks against it; what is neither plain nor refuted becomes a suspect for the
review queue. The outcome depends on the set of records alone, not on their order, and each record's cluster only
on the records that it is connected with, so a part can be computed anew by itself (history.py).

1. Each identifier value gives edges between its records: few, because a value of more than `records_max` records is
   somebody's shop and gives none (a suspect instead). No value ever makes more than records_max² / 2 pairs.
2. An edge is refuted where names or birth dates contradict, doubtful where one source has the value twice and nothing
   corroborates it (equal names, birth dates, or a second identifier), else good.
3. Connected components of good edges; those that hold two people, too many ids or a bridge are taken apart.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import networkx as nx
import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from pipeline.identity.rules import Rules

IDENTIFIERS: Mapping[str, str] = {
    "member_id": "member_id",
    "unionid": "unionid",
    "openid": "openid",
    "phone_token": "phone",
    "email_token": "email",
    "device": "device",
}
"""Column of a record → identifier type."""

PAIRS = "probabilistic"
REVIEWED = "reviewed"
ALONE = "source_id"
"""Rule of a record that nothing links to another."""

_MARKS = ("name_token", "birth_date")
EDGE_COLUMNS = ("left", "right", "rule", "confidence", "observed_at")
SUSPECT_COLUMNS = ("left", "right", "rule", "confidence", "why", "records_n")


@dataclass(frozen=True)
class Decisions:
    """What people decided, as positions of records: `same` are one person, `different` are two."""

    same: tuple[tuple[int, int], ...] = ()
    different: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Clusters:
    """The outcome; positions are those of the records given.

    Attributes:
        cluster: number of each record's cluster, 0 … k−1.
        edges: EDGE_COLUMNS; the links that hold the clusters together, `left` the earlier record.
        suspects: SUSPECT_COLUMNS; what was not made and waits for review. `right` is −1 where a value of too many
            records is meant, `left` then its earliest record; `records_n` is the size of what would have come about.
        rank: place of each record by first day, source and id; the least of a cluster names the person.
    """

    cluster: np.ndarray
    edges: pd.DataFrame
    suspects: pd.DataFrame
    rank: np.ndarray

    @cached_property
    def earliest(self) -> np.ndarray:
        """Position of the earliest record of each record's cluster."""
        n = len(self.rank)
        order = np.empty(n, dtype=np.int64)
        order[self.rank] = np.arange(n)
        return order[pd.Series(self.rank).groupby(self.cluster).transform("min").to_numpy()] if n else order

    @cached_property
    def rules(self) -> pd.DataFrame:
        """Rule, confidence and observed_at of each record's surest link; ALONE and 1.0 where it has none."""
        both = pd.concat(
            [
                self.edges.rename(columns={side: "position"})[
                    ["position", "rule", "confidence", "observed_at", "strength"]
                ]
                for side in ("left", "right")
            ]
        )
        best = both.sort_values(
            ["position", "strength", "confidence"], ascending=[True, True, False], kind="stable"
        )
        best = best.drop_duplicates("position").set_index("position")
        out = best.reindex(np.arange(len(self.rank)))[["rule", "confidence", "observed_at"]]
        out["rule"] = out["rule"].astype(object).where(out["rule"].notna(), ALONE)
        out["confidence"] = out["confidence"].astype(float).fillna(1.0)
        return out


def cluster(
    records: pd.DataFrame,
    rules: Rules,
    pairs: pd.DataFrame | None = None,
    identifiers: pd.DataFrame | None = None,
    decisions: Decisions | None = None,
) -> Clusters:
    """Cluster source records into persons.

    Args:
        records: one row per source record, in any order: source, source_customer_id, first_seen, and any of the
            columns of IDENTIFIERS, name_token and birth_date. Values are compared for equality only; None is unknown.
        pairs: further edges (left, right: positions; probability), the weakest rule. Names and birth dates that both
            records state were weighed by whoever made the pair and are not held against it.
        identifiers: further identifiers of records (position, type, value, confidence, observed_at), for records with
            several values of one type.
        decisions: what people decided; it goes before every rule.
    """
    return _Matching(records, rules, pairs, identifiers, decisions or Decisions()).run()


@dataclass
class _Matching:
    """One clustering. Arrays are by position of the records; codes are −1 where unknown.

    Edges in work have, beside left and right: `type` (of identifier), `code` (of the value), `strength`,
    `confidence`, `observed_at`, `sure` (corroborated) and `weighed` (made by the second stage or by a person).
    """

    records: pd.DataFrame
    rules: Rules
    pairs: pd.DataFrame | None
    identifiers: pd.DataFrame | None
    decisions: Decisions
    suspects: list[pd.DataFrame] = field(default_factory=list)

    def run(self) -> Clusters:
        ids, n = self.records, len(self.records)
        self.first = pd.to_datetime(ids["first_seen"]).to_numpy().astype("datetime64[us]")
        self.rank = np.empty(n, dtype=np.int64)
        self.rank[np.lexsort((ids["source_customer_id"], ids["source"], self.first))] = np.arange(n)
        self.source = pd.factorize(ids["source"])[0]
        self.marks = [pd.factorize(ids[m])[0] for m in _MARKS if m in ids]
        self.member_marks = self._member_marks()
        self.values = self._values()
        edges = self._judged(self._value_pairs())
        edges = self._decided(self._with_pairs(edges))
        edges = self._without_oversized(edges)
        edges = self._without_bridges(edges)
        cluster = self._without_two_people(edges)
        made = _inside(cluster, edges)
        self._suspect(edges[~made], "two people")
        self._suspect_left_out(cluster)
        kept = edges[made].sort_values(["strength", "left", "right"], kind="stable")
        kept = kept.rename(columns={"type": "rule"})[[*EDGE_COLUMNS, "strength"]].reset_index(drop=True)
        return Clusters(
            np.unique(cluster, return_inverse=True)[1], kept, self._open_suspects(cluster), self.rank
        )

    def _member_marks(self) -> list[np.ndarray]:
        """Member ids, one array a namespace (`crm/0042` is of crm): two of one namespace are two people."""
        if "member_id" not in self.records:
            return []
        ids = self.records["member_id"].astype(object)
        namespaces, names = pd.factorize(ids.str.partition("/")[0]) if len(ids) else (np.array([]), [])
        codes = pd.factorize(ids)[0]
        return [np.where(namespaces == k, codes, -1) for k in range(len(names))]

    def _values(self) -> pd.DataFrame:
        """position, type, code, confidence, observed_at: each value of each record once; shared by two at least."""
        parts = [
            pd.DataFrame({"position": np.flatnonzero(there), "type": kind, "value": values[there]})
            for column, kind in IDENTIFIERS.items()
            if column in self.records
            for values in [self.records[column].to_numpy(dtype=object)]
            for there in [~pd.isna(values)]
        ]
        if self.identifiers is not None:
            parts.append(self.identifiers[self.identifiers["value"].notna()])
        parts = [part for part in parts if len(part)]
        if not parts:
            self.all_values = _no_pairs()[["left", "type", "code"]].rename(columns={"left": "position"})
            return self.all_values.assign(confidence=1.0, observed_at=np.empty(0, dtype="datetime64[us]"))
        long = pd.concat(parts, ignore_index=True)
        types, names = pd.factorize(long["type"])
        codes = pd.factorize(long["value"])[0]
        long["code"] = codes.astype(np.int64) * len(names) + types
        long["position"] = long["position"].astype(np.int64)
        for column, default in (("confidence", 1.0), ("observed_at", pd.NaT)):
            if column not in long:
                long[column] = default
        long["confidence"] = long["confidence"].astype(float).fillna(1.0)
        observed = pd.to_datetime(long["observed_at"]).to_numpy().astype("datetime64[us]")
        long["observed_at"] = np.where(np.isnat(observed), self.first[long["position"]], observed)
        long = long.sort_values(
            ["code", "position", "confidence", "observed_at"], ascending=[True, True, False, True]
        )
        long = long.drop_duplicates(["code", "position"])
        self.all_values = long[["position", "type", "code"]]
        return long[long.groupby("code")["position"].transform("size") > 1]

    def _of_types(self, types: Iterable[str], attribute: str) -> np.ndarray:
        """An attribute of the rule of each type, as numbers."""
        codes, names = pd.factorize(pd.Series(types, dtype=object))
        return np.array([float(getattr(self.rules.of(name), attribute)) for name in names] or [0.0])[codes]

    def _value_pairs(self) -> pd.DataFrame:
        """Every pair of records that share a value which is not everybody's."""
        long = self.values.assign(rank=self.rank[self.values["position"].astype(int)])
        long = long.sort_values(["code", "rank"]).reset_index(drop=True)
        size = long.groupby("code")["position"].transform("size")
        crowded = size > self._of_types(long["type"], "records_max")
        self.all_values = self.all_values[~self.all_values["code"].isin(long.loc[crowded, "code"])]
        first = long[crowded].assign(records_n=size).drop_duplicates("code")
        first = first[first["type"].isin({t for t, r in self.rules.by_type.items() if r.links_alone})]
        self.suspects.append(
            pd.DataFrame(
                {
                    "left": first["position"],
                    "right": -1,
                    "rule": first["type"],
                    "confidence": first["confidence"],
                    "strength": 0,
                    "why": "value of too many",
                    "records_n": first["records_n"],
                }
            )
        )
        long = long[~crowded].reset_index(drop=True)
        per_source = long.groupby(["code", self.source[long["position"].astype(int)]])["position"].transform(
            "size"
        )
        long["exclusive"] = per_source.groupby(long["code"]).transform("max") == 1
        parts = []
        code, position = long["code"].to_numpy(), long["position"].to_numpy(dtype=np.int64)
        confidence, observed = long["confidence"].to_numpy(), long["observed_at"].to_numpy()
        for step in range(1, int(size[long.index].max()) if len(long) else 0):
            left = np.flatnonzero(code[step:] == code[:-step])
            if not len(left):
                break
            right = left + step
            parts.append(
                pd.DataFrame(
                    {
                        "left": position[left],
                        "right": position[right],
                        "type": long["type"].to_numpy()[left],
                        "code": code[left],
                        "confidence": np.minimum(confidence[left], confidence[right]),
                        "observed_at": np.maximum(observed[left], observed[right]),
                        "exclusive": long["exclusive"].to_numpy()[left],
                    }
                )
            )
        return pd.concat(parts, ignore_index=True) if parts else _no_pairs()

    def _judged(self, pairs: pd.DataFrame) -> pd.DataFrame:
        """The good edges; the doubtful ones become suspects."""
        left, right = pairs["left"].to_numpy(dtype=np.int64), pairs["right"].to_numpy(dtype=np.int64)
        types_n = pairs.groupby(["left", "right"])["type"].transform("nunique").to_numpy()
        agree = np.zeros(len(pairs), dtype=bool)
        against = np.zeros(len(pairs), dtype=bool)
        for mark in self.marks:
            known = (mark[left] >= 0) & (mark[right] >= 0)
            agree |= known & (mark[left] == mark[right])
            against |= known & (mark[left] != mark[right])
        for mark in self.member_marks:
            against |= (mark[left] >= 0) & (mark[right] >= 0) & (mark[left] != mark[right])
        sure = (agree | (types_n > 1)).astype(bool)
        alone = self._of_types(pairs["type"], "links_alone").astype(bool)
        edges = pairs.assign(
            strength=self._of_types(pairs["type"], "strength").astype(np.int64),
            confidence=pairs["confidence"].to_numpy(dtype=float)
            * self._of_types(pairs["type"], "confidence"),
            sure=sure,
            weighed=False,
        )
        # Who shares a value that two people have, and says nothing of who they are, may be either of them.
        of_several = pairs["code"].isin(pairs.loc[against, "code"]).to_numpy()
        exclusive = pairs["exclusive"].to_numpy(dtype=bool) & ~of_several
        low = pairs["confidence"].to_numpy(dtype=float) < self.rules.confidence_min
        self._suspect(edges[alone & against & sure], "contradiction")
        self._suspect(edges[alone & ~against & ~sure & ~exclusive], "shared value")
        self._suspect(edges[alone & ~against & ~sure & exclusive & low], "low confidence")
        return edges[alone & ~against & (sure | (exclusive & ~low))].drop(columns="exclusive")

    def _with_pairs(self, edges: pd.DataFrame) -> pd.DataFrame:
        if self.pairs is None or not len(self.pairs):
            return edges
        more = self._edges_of(self.pairs["left"].to_numpy(), self.pairs["right"].to_numpy(), PAIRS)
        more["strength"] = self.rules.of(PAIRS).strength
        more["confidence"] = self.pairs["probability"].to_numpy(dtype=float)
        left, right = more["left"].to_numpy(), more["right"].to_numpy()
        against = np.zeros(len(more), dtype=bool)
        for mark in self.member_marks:
            against |= (mark[left] >= 0) & (mark[right] >= 0) & (mark[left] != mark[right])
        self._suspect(more[against], "contradiction")
        return pd.concat([edges, more[~against]], ignore_index=True)

    def _decided(self, edges: pd.DataFrame) -> pd.DataFrame:
        same, different = self.decisions.same, self.decisions.different
        if different:
            apart = {frozenset(pair) for pair in different}
            between = [frozenset(pair) in apart for pair in zip(edges["left"], edges["right"], strict=True)]
            edges = edges[~np.array(between, dtype=bool)]
        if same:
            more = self._edges_of(np.array([a for a, _ in same]), np.array([b for _, b in same]), REVIEWED)
            more = more.assign(strength=0, confidence=1.0, sure=True)
            edges = pd.concat([edges, more], ignore_index=True)
        return edges.reset_index(drop=True)

    def _edges_of(self, left: np.ndarray, right: np.ndarray, kind: str) -> pd.DataFrame:
        """Edges that stand for no shared value; each has a code of its own."""
        left, right = left.astype(np.int64), right.astype(np.int64)
        earlier = self.rank[left] <= self.rank[right]
        offset = 1 if kind == PAIRS else 1 + len(self.pairs if self.pairs is not None else ())
        return pd.DataFrame(
            {
                "left": np.where(earlier, left, right),
                "right": np.where(earlier, right, left),
                "type": kind,
                "code": -offset - np.arange(len(left)),
                "observed_at": np.maximum(self.first[left], self.first[right]),
                "sure": False,
                "weighed": True,
            }
        )

    def _oversized(self, cluster: np.ndarray) -> np.ndarray:
        """Per cluster number: whether it has more ids, or more values of one type, than one person."""
        sizes = np.bincount(cluster, minlength=1)
        over = sizes > self.rules.ids_max
        if not len(self.values):
            return over
        linked = sizes[cluster[self.all_values["position"]]] > 1
        held = self.all_values[linked]
        held = held.assign(cluster=cluster[held["position"]]).drop_duplicates(["cluster", "code"])
        counts = held.groupby(["cluster", "type"]).size()
        limits = self._of_types(counts.index.get_level_values("type"), "values_max")
        over[counts.index.get_level_values("cluster")[counts.to_numpy() > limits]] = True
        return over

    def _without_oversized(self, edges: pd.DataFrame) -> pd.DataFrame:
        """First the links that one identifier alone makes go, then, where that is not enough, all but the reviewed."""
        n = len(self.records)
        whole = _components(n, edges)
        over = self._oversized(whole)
        if not over.any():
            return edges
        for keeps in (edges["sure"] | (edges["strength"] == 0), edges["strength"] == 0):
            cluster = _components(n, edges)
            hit = self._oversized(cluster)[cluster[edges["left"].to_numpy(dtype=np.int64)]]
            edges = edges[~hit | keeps.loc[edges.index]]
        members = pd.DataFrame({"cluster": whole, "rank": self.rank, "position": np.arange(n)})
        members = members[over[whole]].sort_values("rank")
        first = members.groupby("cluster").agg(left=("position", "first"), records_n=("position", "size"))
        still = pd.Series(_components(n, edges)).groupby(whole).nunique()
        first = first[still.loc[first.index] > 1]
        self.suspects.append(
            first.reset_index(drop=True).assign(
                right=-1, rule="*", confidence=0.0, strength=0, why="too many ids"
            )
        )
        return edges

    def _without_bridges(self, edges: pd.DataFrame) -> pd.DataFrame:
        """No value that by itself joins two groups of records which hold together without it."""
        side = self.rules.bridge_side
        cluster = _components(len(self.records), edges)
        large = np.bincount(cluster, minlength=1) >= 2 * side
        where = cluster[edges["left"].to_numpy(dtype=np.int64)] if len(edges) else np.empty(0, dtype=np.int64)
        inside = edges[large[where]] if len(edges) else edges
        bridges: list[int] = []
        for _, own in inside.groupby(where[large[where]]):
            if len(_dense(own, side)) < 2:
                continue
            for code in own.loc[~own["sure"] & (own["strength"] > 0), "code"].unique():
                rest = own[own["code"] != code]
                groups = nx.connected_components(_graph(rest))
                if sum(bool(_dense(rest, side, group)) for group in groups) > 1:
                    bridges += own.index[(own["code"] == code) & ~own["sure"]].tolist()
        self._suspect(edges.loc[bridges], "bridge")
        return edges.drop(index=bridges)

    def _without_two_people(self, edges: pd.DataFrame) -> np.ndarray:
        """Cluster of each record. What holds two people is built up again edge by edge, surest first."""
        n = len(self.records)
        cluster = _components(n, edges).astype(np.int64)
        suspect = self._holding_two(cluster)
        if not suspect.any():
            return cluster
        taken = edges[suspect[cluster[edges["left"].to_numpy(dtype=np.int64)]]]
        order = np.lexsort(
            (
                self.rank[taken["right"].to_numpy(dtype=np.int64)],
                self.rank[taken["left"].to_numpy(dtype=np.int64)],
                taken["strength"],
                ~taken["sure"].to_numpy(dtype=bool),
                taken["strength"] > 0,
            )
        )
        apart: dict[int, set[int]] = {}
        for a, b in self.decisions.different:
            apart.setdefault(a, set()).add(b)
            apart.setdefault(b, set()).add(a)
        members = {int(i): [int(i)] for i in np.flatnonzero(suspect[cluster])}
        root = {i: i for i in members}
        joined = {frozenset(p) for p in zip(taken["left"].tolist(), taken["right"].tolist(), strict=True)}
        rows = zip(
            taken["left"].to_numpy()[order].tolist(),
            taken["right"].to_numpy()[order].tolist(),
            taken["weighed"].to_numpy()[order].tolist(),
            (taken["strength"].to_numpy()[order] == 0).tolist(),
            strict=True,
        )
        for a, b, weighed, reviewed in rows:
            one, other = root[a], root[b]
            if one == other or any(y in apart.get(x, ()) for x in members[one] for y in members[other]):
                continue
            if not reviewed and not self._one_person(a, b, members[one], members[other], weighed, joined):
                continue
            for i in members[other]:
                root[i] = one
            members[one] += members.pop(other)
        for i, r in root.items():
            cluster[i] = n + r
        return cluster

    def _holding_two(self, cluster: np.ndarray) -> np.ndarray:
        """Per cluster number: whether names, birth dates, member ids, one source's records or a decision differ."""
        two = np.zeros(int(cluster.max(initial=-1)) + 1, dtype=bool)
        for mark in (*self.marks, *self.member_marks):
            stated = mark >= 0
            kinds = pd.Series(mark[stated]).groupby(cluster[stated]).nunique()
            two[kinds.index[kinds > 1]] = True
        groups = pd.DataFrame({"cluster": cluster, "source": self.source})
        twice = groups.duplicated(keep=False).to_numpy()
        if twice.any():
            agree = np.zeros(len(cluster), dtype=bool)
            for mark in self.marks:
                own = pd.Series(np.where(mark >= 0, mark, -1 - np.arange(len(mark))))
                agree |= (own.groupby([cluster, self.source]).transform("nunique") == 1).to_numpy()
            two[cluster[twice & ~agree]] = True
        for a, b in self.decisions.different:
            if cluster[a] == cluster[b]:
                two[cluster[a]] = True
        return two

    def _one_person(
        self, a: int, b: int, one: list[int], other: list[int], weighed: bool, joined: set[frozenset[int]]
    ) -> bool:
        """Whether two groups may be one person, joined by the edge a–b."""
        for mark in (*self.marks, *self.member_marks):
            if weighed and mark[a] >= 0 and mark[b] >= 0:
                continue
            left = {mark[i] for i in one if mark[i] >= 0}
            right = {mark[i] for i in other if mark[i] >= 0}
            if left and right and not left & right:
                return False
        return weighed or all(
            self._agree(x, y) or frozenset((x, y)) in joined
            for x in one
            for y in other
            if self.source[x] == self.source[y]
        )

    def _agree(self, x: int, y: int) -> bool:
        return any(mark[x] >= 0 and mark[x] == mark[y] for mark in self.marks)

    def _suspect(self, edges: pd.DataFrame, why: str) -> None:
        if len(edges):
            self.suspects.append(
                edges.rename(columns={"type": "rule"})[
                    ["left", "right", "rule", "confidence", "strength"]
                ].assign(why=why, records_n=2)
            )

    def _suspect_left_out(self, cluster: np.ndarray) -> None:
        """How many records each suspect pair would bring together."""
        sizes = pd.Series(cluster).groupby(cluster).size()
        for part in self.suspects:
            pair = part["right"].to_numpy() >= 0
            if pair.any():
                left, right = (part.loc[pair, s].to_numpy(dtype=np.int64) for s in ("left", "right"))
                part.loc[pair, "records_n"] = (
                    sizes.loc[cluster[left]].to_numpy() + sizes.loc[cluster[right]].to_numpy()
                )

    def _open_suspects(self, cluster: np.ndarray) -> pd.DataFrame:
        """Suspects that nothing has settled: not decided, and not one person by another way."""
        parts = [part for part in self.suspects if len(part)]
        if not parts:
            return pd.DataFrame({c: [] for c in SUSPECT_COLUMNS})
        found = pd.concat(parts, ignore_index=True).astype({"left": np.int64, "right": np.int64})
        pair = found["right"].to_numpy() >= 0
        together = pair & (cluster[found["left"]] == cluster[np.where(pair, found["right"], found["left"])])
        apart = {frozenset(p) for p in self.decisions.different}
        refused = [frozenset(p) in apart for p in zip(found["left"], found["right"], strict=True)]
        found = found[~together & ~np.array(refused, dtype=bool)]
        found = found.sort_values(["left", "right", "strength"], kind="stable")
        found["whole"] = found["rule"].where(found["right"] < 0, "")
        found = found.drop_duplicates(["left", "right", "whole"])
        order = np.lexsort((self.rank[found["left"]], -found["records_n"]))
        return found.iloc[order][list(SUSPECT_COLUMNS)].reset_index(drop=True)


def _no_pairs() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "left": np.empty(0, dtype=np.int64),
            "right": np.empty(0, dtype=np.int64),
            "type": np.empty(0, dtype=object),
            "code": np.empty(0, dtype=np.int64),
            "confidence": np.empty(0),
            "observed_at": np.empty(0, dtype="datetime64[us]"),
            "exclusive": np.empty(0, dtype=bool),
        }
    )


def _components(n: int, edges: pd.DataFrame) -> np.ndarray:
    """Number of each record's connected component."""
    left, right = edges["left"].to_numpy(dtype=np.int64), edges["right"].to_numpy(dtype=np.int64)
    graph = coo_matrix((np.ones(len(edges), dtype=bool), (left, right)), shape=(n, n))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def _inside(cluster: np.ndarray, edges: pd.DataFrame) -> np.ndarray:
    return cluster[edges["left"].to_numpy(dtype=np.int64)] == cluster[edges["right"].to_numpy(dtype=np.int64)]


def _graph(edges: pd.DataFrame) -> nx.Graph:
    return nx.Graph(zip(edges["left"].tolist(), edges["right"].tolist(), strict=True))


def _dense(edges: pd.DataFrame, side: int, group: set[int] | None = None) -> list[set[int]]:
    """Groups of at least `side` records that stay together whichever one record is taken away."""
    graph = _graph(edges)
    blocks = nx.biconnected_components(graph if group is None else graph.subgraph(group))
    return [block for block in blocks if len(block) >= side]
