"""The gates of the policy: what each asks, and how it is called in the UI."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Gate:
    """One gate. `question` is what it asks of a delivery or of the built tables, in one sentence."""

    id: str
    name: str
    name_zh: str
    question: str

    @property
    def check_name(self) -> str:
        """Name of its asset check on a feed, such as `q_06_freshness`."""
        return f"{self.id.lower().replace('-', '_')}_{self.name}"

    @property
    def title(self) -> str:
        return f"{self.id} {self.name_zh} {self.name.replace('_', ' ')}"


GATES: dict[str, Gate] = {
    gate.id: gate
    for gate in (
        Gate(
            "Q-01",
            "schema_contract",
            "一致性",
            "Do the files have the columns, types and values of their contract?",
        ),
        Gate("Q-02", "pk_unique", "重复", "Does each key stand for one content?"),
        Gate("Q-03", "required_complete", "完整性", "Are the columns filled that this source usually fills?"),
        Gate("Q-04", "accuracy_ranges", "准确性", "Can the values be true, alone and beside each other?"),
        Gate("Q-05", "referential", "引用完整", "Does what an order names exist?"),
        Gate("Q-06", "freshness", "时效", "Has come what is due, with events of the days that it is for?"),
        Gate(
            "Q-07", "quarantine_share", "隔离比例", "Are the rejected rows few, and is little money in them?"
        ),
        Gate("Q-10", "volume_anomaly", "数量异常", "Are rows, revenue and channels those of such a weekday?"),
        Gate("Q-11", "reconciliation", "对账", "Do marts, facts and the source's own totals agree?"),
        Gate("Q-12", "no_future", "无未来数据", "Has everything that counts already happened?"),
        Gate(
            "Q-18",
            "erasure",
            "个人信息删除",
            "Is whoever was erased in nothing that is published, and is no delete request overdue?",
        ),
    )
}
_ID = re.compile(r"Q-\d{2}")


def gates_named(text: str) -> str:
    """The gate ids that a description names, such as `Q-16, Q-17`; empty where it names none."""
    return ", ".join(dict.fromkeys(_ID.findall(text)))
