"""Personal data that customers write into comments, at a known rate, each told to the truth file."""

from __future__ import annotations

from typing import NamedTuple

from .draws import Draws
from .people import People, phone_spelling

RATE = 0.25
# How a person is written of: (kind, Chinese, English). A bare name is found only where the name is known.
SAID = (
    ("phone", "请打我电话{phone}。", "Please call me at {phone}."),
    ("email", "发我邮箱{email}就行。", "Mail me at {email}, please."),
    ("name phone", "我叫{name}, 手机{phone}。", "My name is {name}, phone {phone}."),
    ("name", "{name}的订单, 请查一下。", "{name} ordered it, please check."),
    ("name", "联系人：{name}。", "Kind regards, {name}"),
    ("wide phone", "电话：{wide}，随时可以打。", "Phone: {wide}"),
    ("name email", "姓名：{name}，邮箱：{email}", "Dear team, answer to {email}. Yours, {name}"),
)
_WIDE = str.maketrans("0123456789", "０１２３４５６７８９")


class Said(NamedTuple):
    """One comment that holds personal data."""

    feed: str
    record_id: str
    person_id: str
    kind: str
    text: str


def add_personal(
    feed: str, ids: list[str], persons: list[int], texts: list[str | None], people: People, draws: Draws
) -> tuple[list[str | None], list[Said]]:
    """The texts, some with their writer's name, phone or e-mail added, and what was added to which."""
    hit = draws.hits(f"personal.{feed}", len(texts), RATE).tolist()
    words = [int(w) for w in draws.words(f"personal.{feed}.how", len(texts))]
    out, said = list(texts), []
    for k, text in enumerate(texts):
        if not hit[k] or text is None:
            continue
        person = persons[k]
        kind, chinese, english = SAID[words[k] % len(SAID)]
        email = people.email[person]
        if email is None and "email" in kind:
            kind, chinese, english = SAID[0]
        added = (english if people.english[person] else chinese).format(
            name=people.name[person],
            email=email,
            phone=phone_spelling(people.phone[person], words[k] // 64 % 4),
            wide=people.phone[person].translate(_WIDE),
        )
        out[k] = f"{text} {added}"
        said.append(Said(feed, ids[k], str(people.person_id[person]), kind, out[k]))
    return out, said
