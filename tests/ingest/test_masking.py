"""Free text leaves the vault without the personal data in it, and otherwise as it was written."""

import re
from collections.abc import Callable
from datetime import date
from pathlib import Path

import phonenumbers
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.ingest.vault.masking import candidates, mask
from pipeline.sample import labels

QUICK = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
COMMENTS = (
    *(text for event in labels.COMPLAINTS.values() for texts in event[2:] for text in texts),
    *(question[2] for question in labels.QUESTIONS),
    *labels.PRAISE,
    *labels.NEUTRAL,
)
PLAIN = (
    *COMMENTS,
    "我叫了外卖, 我叫不到车。",
    "对于先生们来说, 店里没有停车位; 任何女士都可以。",
    "请让语文老师推荐, 送单师傅很好, 打包师傅很快。",
    "我是新顾客, 我是常客, 我是高级会员。",
    "15.9 18.9 19.9 20.9 都涨价了, 从 19.90 涨到 25.90, 又降到 15.50",
    "订单 20260504123456789012 还没到, 商品条码 6901234567892 扫不出来",
    "2026-05-04 09:30 到 10:45 一直没人, 2024-05-06 2024-05-07 都没货",
    "买了12瓶, 3箱, 500ml, 满199减50, 299减100",
    "客服电话 400-820-8820 打不通, 电话 24 小时没人接",
    "营业时间 09:00-21:00, 一二三四五六七八九十",
    "The order 4711 has not arrived, see you at the store. dot matrix",
    "Dr Pepper was out of stock, and my name is missing from the card.",
    "Dear team, I would rate it 10/10 on 2026-05-04. Regards from Hangzhou!",
    "138****5678 是打过码的, @所有人 也不是邮箱",
    "8 items at 3.50 each, total 28.00; ref AB-12345678-X",
    "微信支付失败, wechat payment failed, wechat: , QQ音乐会员, 微信公众号推的券, 加微信群领券",
    "QQ糖 100g 3袋, 扣扣搜搜的, QQ 红包 20元, 微信红包 50元, 微信里付了 1288 元",
    "三档: 150、200、3000; 满1380, 2000, 567 各减 10; 1380,12,34,567",
    "一三五配送, 二四六休息; 一三五七九, 三八妇女节买的, 一二三四五六七八九十一",
    "条码 012345678905 与 6901234567892, 订单 202605041234567, 013 号货架",
    "流水 990000123456789, 批号 123456789012345",
    "IMEI 356938035643809, 串号 990000862471854, 机身码 490154203237518",
    "13:30:45 下单, 15:00 发货; 1-3-5 周, 尺码 36,37,38,39,40,41",
    "一千三百八十元, 十一月十二日 13点 到 15点, 一箱二十四瓶",
    "my wx is broken, the vx model, v信 sounds odd",
)
AROUND = st.sampled_from(
    [
        ("", ""),
        ("请联系", "谢谢"),
        ("电话：", "。"),
        ("(", ")"),
        ("鸡蛋碎了, ", "\n麻烦处理"),
        ("call ", " please"),
        ("是", "，急"),
    ]
)
BARE = re.compile(r"[^0-9a-z@]")


def digits(text: str) -> str:
    """All digits of the text in a row, whatever they are written in."""
    return "".join(str(int(c)) for c in text if c.isdigit())


@pytest.mark.parametrize("text", PLAIN)
def test_text_without_personal_data_stays_as_it_is(text: str) -> None:
    assert mask([text]) == [text]


MOBILES = st.from_regex(r"1[3-9][0-9]{9}", fullmatch=True)
SPELLED: tuple[Callable[[str], str], ...] = (
    str,
    lambda p: f"{p[:3]} {p[3:7]} {p[7:]}",
    lambda p: f"{p[:3]}-{p[3:7]}-{p[7:]}",
    lambda p: f"+86 {p}",
    lambda p: f"+86{p[:3]} {p[3:7]} {p[7:]}",
    lambda p: f"0086{p}",
    lambda p: f"86-{p}",
    lambda p: f"({p[:3]}) {p[3:7]}.{p[7:]}",
    lambda p: p.translate(str.maketrans("0123456789", "０１２３４５６７８９")),
    lambda p: p.translate(str.maketrans("123456789", "①②③④⑤⑥⑦⑧⑨")),
    lambda p: p.translate(str.maketrans("0123456789", "零一二三四五六七八九")),
    lambda p: " ".join(p),
    lambda p: f"{p[:3]}\u200b{p[3:7]}\u00a0{p[7:]}",
    lambda p: f"0{p}",
    lambda p: f"0-{p[:3]}-{p[3:7]}-{p[7:]}",
    lambda p: f"{p[:3]},{p[3:7]},{p[7:]}",
    lambda p: f"{p[:3]}，{p[3:7]}、{p[7:]}",
    lambda p: f"{p[:3]}：{p[3:7]}～{p[7:]}",
    lambda p: f"{p[:3]}**{p[3:7]}#{p[7:]}",
    lambda p: f"{p[:7]}|{p[7:]}",
    lambda p: ",".join(p),
    lambda p: "、".join(p),
    lambda p: "；".join(p.translate(str.maketrans("0123456789", "０１２３４５６７８９"))),
    lambda p: p.translate(str.maketrans("0123456789", "〇幺两三四五六七八九")),
    lambda p: p.translate(str.maketrans("0123456789", "零壹贰叁肆伍陆柒捌玖")),
    lambda p: " ".join((p[:3], p[3:7], p[7:])).translate(str.maketrans("0123456789", "零一二三四五六七八九")),
    lambda p: "，".join(p.translate(str.maketrans("0123456789", "零一二三四五六七八九"))),
    lambda p: p[:3].translate(str.maketrans("0123456789", "零一二三四五六七八九")) + p[3:],
    lambda p: p[:1] + p[1:].translate(str.maketrans("13579", "一三五七九")),
)


@QUICK
@given(MOBILES, st.sampled_from(SPELLED), AROUND)
def test_no_mobile_number_survives(phone: str, spell: Callable[[str], str], around: tuple[str, str]) -> None:
    assert mask([around[0] + spell(phone) + around[1]]) == [f"{around[0]}‹phone›{around[1]}"]


@pytest.mark.parametrize(
    ("country", "number"),
    [
        (region, phonenumbers.format_number(example, form))
        for region in ("GB", "DE", "FR", "US", "JP", "HK", "AU", "NL")
        for example in [phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.MOBILE)]
        for form in (
            phonenumbers.PhoneNumberFormat.INTERNATIONAL,
            phonenumbers.PhoneNumberFormat.E164,
            phonenumbers.PhoneNumberFormat.NATIONAL,
        )
    ],
)
def test_no_foreign_number_survives(country: str, number: str) -> None:
    """National spellings where the source's own country says so, the others everywhere."""
    at_home = mask([f"please ring {number}, thanks"], country=country)[0]
    assert digits(at_home) == "" and "‹phone›" in at_home
    if number.startswith("+"):
        assert digits(mask([f"请打{number}，谢谢"])[0]) == ""


@pytest.mark.parametrize("number", ["0571-88888888", "(010) 6552 9988", "021 62345678", "0755-23456789转123"])
def test_no_landline_survives(number: str) -> None:
    assert mask([f"座机{number}。"]) == ["座机‹phone›。"]


EMAILS = st.builds(
    lambda local, host, top: f"{local}@{host}.{top}",
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._%+\-]{0,12}[A-Za-z0-9]", fullmatch=True),
    st.from_regex(r"[A-Za-z][A-Za-z0-9\-]{1,10}(\.[a-z]{2,6})?", fullmatch=True).filter(
        lambda h: not h.endswith("-")
    ),
    st.sampled_from(["com", "cn", "org", "co.uk", "com.cn"]),
)
DISGUISES: tuple[Callable[[str], str], ...] = (
    str,
    str.upper,
    lambda e: e.replace("@", "＠"),
    lambda e: "".join(chr(ord(c) + 0xFEE0) for c in e),
    lambda e: e.replace("@", " @ "),
    lambda e: e.replace("@", "(at)"),
    lambda e: e.replace("@", " [at] "),
)


@QUICK
@given(EMAILS, st.sampled_from(DISGUISES), AROUND)
def test_no_email_survives(email: str, disguise: Callable[[str], str], around: tuple[str, str]) -> None:
    masked = mask([around[0] + disguise(email) + around[1]])[0]
    assert "‹email›" in masked
    assert masked.startswith(around[0].rstrip()) and masked.endswith(around[1])
    host = email.split("@")[1].lower()
    assert host not in BARE.sub("", masked.lower().replace("‹email›", ""))


@pytest.mark.parametrize(
    "email", ["nana@例子.中国", "张三@例子.公司", "josé@exämple.org", "a at example dot com"]
)
def test_emails_of_every_script(email: str) -> None:
    assert mask([f"mail: {email} !"]) == ["mail: ‹email› !"]


def identity_number(area: int, born: str, serial: int) -> str:
    body = f"{area:06d}{born}{serial:03d}"
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    return body + "10X98765432"[sum(w * int(c) for w, c in zip(weights, body, strict=True)) % 11]


@QUICK
@given(
    st.integers(110000, 659000),
    st.dates(min_value=date(1930, 1, 1), max_value=date(2020, 1, 1)),
    st.integers(0, 999),
    AROUND,
)
def test_no_identity_card_survives(area: int, born: date, serial: int, around: tuple[str, str]) -> None:
    number = identity_number(area, f"{born:%Y%m%d}", serial)
    for spelled in (number, number.lower(), f"{number[:6]} {number[6:14]} {number[14:]}"):
        assert "‹id›" in mask([around[0] + spelled + around[1]])[0]
        assert number[6:14] not in mask([around[0] + spelled + around[1]])[0]


@QUICK
@given(st.sampled_from(["622202", "621700", "4", "51", "35", "34", "37"]), st.integers(0, 10**15), AROUND)
def test_no_bank_card_survives(prefix: str, rest: int, around: tuple[str, str]) -> None:
    body = (prefix + f"{rest:015d}")[
        : 18 if prefix.startswith("62") else 14 if prefix in ("34", "37") else 15
    ]
    total = sum(d if n % 2 else d * 2 - 9 * (d > 4) for n, d in enumerate(int(c) for c in reversed(body)))
    number = body + str(-total % 10)
    for spelled in (number, " ".join(number[i : i + 4] for i in range(0, len(number), 4))):
        assert number[-8:] not in digits(mask([around[0] + spelled + around[1]])[0])


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("王先生说鸡蛋碎了", "‹name›先生说鸡蛋碎了"),
        ("请联系欧阳女士", "请联系‹name›女士"),
        ("请联系王小明女士", "请联系‹name›女士"),
        ("我叫王芳, 昨天买的", "我叫‹name›, 昨天买的"),
        ("我叫王芳昨天买的", "我叫‹name›昨天买的"),
        ("姓名：陈晨", "姓名：‹name›"),
        ("联系人: 阿依古丽", "联系人: ‹name›"),
        ("Mr. Smith told me", "Mr. ‹name› told me"),
        ("my name is Alice Brook and I wait", "my name is ‹name› and I wait"),
        ("Dear Alice, thanks", "Dear ‹name›, thanks"),
        ("It broke. Kind regards, Alice Brook", "It broke. Kind regards, ‹name›"),
    ],
)
def test_a_name_is_known_by_its_surroundings(text: str, masked: str) -> None:
    assert mask([text]) == [masked]


def test_a_name_that_the_vault_knows_is_masked_without_surroundings() -> None:
    texts = ["昨天王芳来过", "ALICE  Brook was here", "阿依古丽很好", "迪丽·木拉提来电", "Rose has a rose"]
    known = {"王芳", "alice brook", "阿依古丽", "迪丽·木拉提", "rose"}
    assert mask(texts, known & candidates(texts)) == [
        "昨天‹name›来过",
        "‹name› was here",
        "‹name›很好",
        "‹name›来电",
        "Rose has a rose",
    ]


def test_words_that_are_spelled_like_a_name_stay() -> None:
    """Nicknames of a CRM such as 会员 or 小仙女 would else blot out the words."""
    texts = ["会员很高兴, 包装方便", "小仙女都喜欢"]
    assert mask(texts, {"会员", "高兴", "方便", "包装", "小仙女"} & candidates(texts)) == texts


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("送到杭州市望江路88号翠苑3单元1201室没人", "‹address›没人"),
        ("身份证号 123456789012345", "身份证号 ‹id›"),
        ("微信: abc_12345", "微信: ‹id›"),
        ("望江路店, 88号桌", "望江路店, 88号桌"),
        ("证号 110105491231002 对吗", "证号 ‹id› 对吗"),
        ("110105 491231 002", "‹id›"),
        ("加我微信 nana_2024 谢谢", "加我微信 ‹id› 谢谢"),
        ("微信号nana2024, 急", "微信号‹id›, 急"),
        ("微信id：nana-cafe", "微信id：‹id›"),
        ("my wechat is nana_cafe, wechat is broken", "my wechat is ‹id›, wechat is broken"),
        ("WeChat nana_cafe", "WeChat ‹id›"),
        ("加v abc12345", "加v ‹id›"),
        ("vx abc12345", "vx ‹id›"),
        ("薇信=abcdef", "薇信=‹id›"),
        ("QQ 123456789", "QQ ‹id›"),
        ("qq号12345678，不是 10 元", "qq号‹id›，不是 10 元"),
        ("扣扣是10001234", "扣扣是‹id›"),
    ],
)
def test_addresses_and_named_numbers(text: str, masked: str) -> None:
    assert mask([text]) == [masked]


@QUICK
@given(st.text(max_size=60))
def test_any_text_can_be_masked_and_masking_it_again_changes_nothing(text: str) -> None:
    once = mask([text])
    assert mask(once) == once


def test_the_sample_companys_comments_lose_exactly_what_was_added(tmp_path: Path) -> None:
    """0 of the sample's own comments change, and each added name, phone and e-mail goes."""
    from pipeline.sample import generate

    generate(tmp_path, 300, 60, 11)
    said = pq.read_table(tmp_path / "_truth" / "personal_texts.parquet").to_pylist()
    people = {r["person_id"]: r for r in pq.read_table(tmp_path / "_truth" / "contacts.parquet").to_pylist()}
    assert len({row["kind"] for row in said}) > 3
    texts = [row["text"] for row in said]
    known = {p["name"].lower() for p in people.values()} & candidates(texts)
    for row, masked in zip(said, mask(texts, known), strict=True):
        person = people[row["person_id"]]
        assert person["name"] not in masked and person["phone"] not in digits(masked)
        assert (person["email"] or "@") not in masked and masked.count("‹") == len(
            row["kind"].removeprefix("wide ").split()
        )
        assert any(masked.startswith(comment) for comment in COMMENTS) or masked.startswith(
            ("申请退货", "Please pick up")
        )
