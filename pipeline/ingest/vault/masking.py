"""Personal data in free text, found and replaced before the text leaves the vault.

E-mails, phones, numbers of identity documents and bank cards, street addresses with a room, and names become
‹email›, ‹phone›, ‹id›, ‹address› and ‹name›; all else stays as it was written. Two ways find a name: its
surroundings (王先生, 我叫…, Mr Smith) and the names that the vault knows. Where a text cannot be told from
personal data (eleven digits that begin like a mobile number) it is masked: a lost order number is repairable.
"""

import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

import phonenumbers

Span = tuple[int, int, str]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Common surnames. Characters that are everyday words (和, 都, 时, 有, 从, 别 …) are left out.
_SURNAMES = frozenset(
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何林罗高郑梁谢宋唐许韩冯邓曹彭曾肖萧田董潘袁蔡蒋余于杜叶程苏魏吕丁任沈姚卢姜崔钟谭"
    "陆汪范金石廖贾夏韦付傅方白邹孟熊秦邱江尹薛闫阎段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔汤常温康施文牛樊葛邢安齐易乔伍"
    "庞颜倪庄聂章鲁岳翟殷詹申欧耿关兰焦俞柳甘祝包宁尚符舒阮柯纪梅童凌毕单季裴霍涂成苗谷盛曲翁冉骆蓝路游辛靳管卫蒙"
)
_COMPOUND = "欧阳|上官|司马|诸葛|慕容|司徒|皇甫|尉迟|长孙|东方|令狐|端木|公孙|夏侯|宇文|轩辕|南宫"
# Surnames that end or begin ordinary words: they count only where a name can begin.
_ORDINARY = frozenset(
    "文万金易关成单安包江龙康常童季曲路高石白方田马牛毛温汤武蓝章尚宁游任何于程管卫项谢时梅兰"
)
# Rare ones, and words of every day: enough for a name that the vault knows, too little for a guess.
_RARE_SURNAMES = frozenset(
    "褚尤华戚喻柏水窦云奚郎昌凤花酆鲍费廉岑滕邬乐时皮卞元卜平和穆湛祁禹狄米贝明臧计伏谈茅屈项闵席麻强娄危刁虞支昝经房裘缪干解"
    "应宗宣贲郁杭洪诸吉钮嵇滑荣荀羊於惠甄家封芮羿储汲邴糜松井富巫乌巴弓牧隗山车宓蓬全郗班仰秋仲伊宫仇栾暴钭厉戎祖景束幸司韶郜"
    "蓟薄印宿怀蒲邰从鄂索咸籍赖卓蔺屠池阴胥能苍双闻莘党贡劳逄姬扶堵宰郦雍却璩桑桂濮寿通边扈燕冀郏浦农别晏柴瞿充慕连茹习宦艾"
    "鱼容向古慎戈庾终暨居衡步都满弘匡国寇广禄阙东殳沃利蔚越夔隆师巩厍晁勾敖融冷訾阚那简饶空毋沙乜养鞠须丰巢蒯相查后荆红竺权"
    "逯盖益桓公晋楚鄢汝缑亢况有琴归海岳帅仝揭佟候雒撒闪"
)
# Words that nobody is called, spelled like a name: left alone even where the vault has them as one.
_WORDS = _words(
    "高兴 高级 高大 高低 高温 高手 方便 方法 方向 方面 方式 方案 马上 马路 马虎 马桶 谢谢 谢意 "
    "包装 包裹 包子 包含 包邮 安全 安静 安排 安装 安心 任何 任务 常常 常见 常用 常温 常客 成功 成本 成分 成品 "
    "成熟 成员 程度 程序 时间 何时 何况 何必 金额 金牌 金色 金属 金融 白色 白天 白酒 白菜 白糖 白给 黄色 黄金 黄瓜 黄油 黄酒 "
    "石榴 石头 田园 江南 江湖 江米 康复 温度 温柔 温馨 汤圆 文化 文具 文字 文件 单独 单价 单位 单子 关于 关心 关注 关系 "
    "关门 关机 万一 万元 万分 易碎 易拉 于是 路上 路过 路口 游客 游戏 管理 管用 管家 卫生 盛夏 齐全 全部 季节 "
    "梅花 兰花 牛奶 牛肉 牛排 毛巾 毛病 毛衣 马蹄 龙虾 龙眼 明天 蓝色 蓝莓 苏打 苏州 温州 杭州 郑州 徐州 广州 "
    "武汉 宁波 宁可 宁愿 尚可 尚未 范围 许多 许可 严重 严格 严肃 严谨 顾客 顾虑 顾及 贺卡 史上 夏天 夏季 秋天 叶子 陶瓷 "
    "陈旧 陈列 陈皮 陈醋 张开 张贴 周到 周末 周围 周边 周期 周一 周二 周三 周四 周五 周六 周日 朱红 胡乱 胡椒 林子 高价 高端 "
    "水果 曾经 施工 舒服 舒适 舒心 纪念 童装 童年 单纯 祝愿 祝福 钱包 钱款 甘蔗 甘甜 焦急 焦虑 申请 申诉 申报 葛根 章程 "
    "欧洲 柳州 会员 用户 客户 顾问 微信用户 匿名用户 普通会员"
)
_NOT_GIVEN = "的了是在有和给让把被也就都很我你他她它您请想要买不没这那之与跟对从到还又再吗呢吧啊呀哦嘛么什谁"
_TITLES = "先生|女士|小姐|太太|夫人"
_TRADES = "师傅|老师|经理|医生|阿姨|叔叔"
_STARTS = r"(?:(?<=^)|(?<=[\s,，.。;；:：!！?？、()（）“”\"'‘’/|]) ?|(?<=[是叫找位给跟与请系人你问给交谢]))"
_GIVEN = rf"[\u3400-\u9fff](?<![{_NOT_GIVEN}])"
_ENDS = (
    r"(?=$|[\s,，.。;；:：!！?？、()（）…~\d+]|["
    + _NOT_GIVEN
    + r"]|电话|手机|联系|地址|邮箱|微信|住|来|今|昨|前天"
    r"|上[周个次月]|订|麻烦|已|一|先生|女士|小姐|太太|身份|号码|家)"
)
_ANY_SURNAME = f"(?:{_COMPOUND}|[{''.join(sorted(_SURNAMES))}])"
_PLAIN_SURNAME = f"(?:{_COMPOUND}|[{''.join(sorted(_SURNAMES - _ORDINARY))}])"
_BRANDS = r"(?i:pepper|oetker|martens|bronner|muscle|kipling|clean)\b"
_WORD = r"[^\W\d_\u3400-\u9fff][^\W\d_\u3400-\u9fff'’\-]*"

_HAN_RUN = re.compile(r"[\u3400-\u9fff]{2,}")
_DOTTED_NAME = re.compile(r"[\u3400-\u9fff]{2,8}(?:[·•][\u3400-\u9fff]{1,8})+")
_LATIN_RUN = re.compile(rf"{_WORD}\.?(?: {{1,2}}{_WORD}\.?)+")
_LATIN_WORD = re.compile(_WORD)
# Only a text with one of these goes through the finders of its kind.
_MANY_DIGITS = re.compile(r"\d(?:[^\dA-Za-z]{0,3}\d){5}")
_MAY_NAME = re.compile(
    rf"{_TITLES}|{_TRADES}|我叫|名叫|我是|姓名|名字|联系人|收[件货]人|本人|(?i:\bmr|\bms|\bmiss|\bdr\b|\bprof|\bname|\bdear\b"
    r"|called|regards|sincerely|yours)"
)

_TLD = "com|cn|net|org|edu|gov|info|io|co|me|cc|top|xyz|biz|name|email|app|dev|shop|vip|uk|de|fr|jp|kr|hk|tw|mo|sg|us|ca|au|eu|ru|in|it|es|nl"
# Letters of every script but Chinese, which stands beside an address without a blank: 邮箱a@b.cn谢谢.
_LETTER = r"[^\W\u3400-\u9fff]"
_LOCAL = rf"(?:{_LETTER}|[.!#$%&'*+/=?^`{{|}}~\-])+"
_RUN = r"[^\s@<>,，。;；:：!！?？()（）\"“”、]"
_EMAILS = (
    re.compile(rf"{_LOCAL}@(?:(?:{_LETTER}|-)+\.)+{_LETTER}{{2,24}}"),
    # Chinese at the @ or as the last part: all that stands around it up to a blank or a mark.
    re.compile(
        rf"{_RUN}+(?:[\u3400-\u9fff]@{_RUN}+\.{_RUN}+|@[\u3400-\u9fff]{_RUN}*\.{_RUN}+|@{_RUN}+\.[\u3400-\u9fff]+)"
        rf"|[\u3400-\u9fff]@{_RUN}+\.{_RUN}+"
    ),
    re.compile(
        rf"{_LOCAL}\s*(?:@|[(\[{{<（【]\s*(?:at|@|艾特)\s*[)\]}}>）】]|艾特)\s*"
        rf"[A-Za-z0-9\-]+(?:\s*(?:[.。点]|[(\[{{<（【]\s*(?:dot|\.|点)\s*[)\]}}>）】])\s*[A-Za-z0-9\-]+)*?"
        rf"\s*(?:[.。点]|[(\[{{<（【]\s*(?:dot|\.|点)\s*[)\]}}>）】])\s*(?:{_TLD})(?![A-Za-z0-9])",
        re.IGNORECASE,
    ),
    re.compile(
        rf"[A-Za-z0-9._+\-]+ at [A-Za-z0-9\-]+(?: dot [A-Za-z0-9\-]+)*? dot (?:{_TLD})\b", re.IGNORECASE
    ),
)
_SEPARATOR = r"(?:\W|_){0,3}"
_USUAL_SEPARATORS = re.compile(r"[\d\s\-–—.·•_/()]+")
# How a number is grouped by other marks (138,1234,5678): a list of prices or sizes seldom is.
_PHONE_GROUPS = ([3, 4, 4], [3, 8], [7, 4], [3, 2, 2, 2, 2], [3, 3, 5], [1] * 11)
_IDENTITY = re.compile(
    r"(?<![0-9A-Za-z])[1-9]\d{5}[ \-]?(?:18|19|20)\d\d[ \-]?(?:0[1-9]|1[0-2])[ \-]?(?:0[1-9]|[12]\d|3[01])[ \-]?\d{3}[\dXx]"
    r"(?![0-9A-Za-z])"
)
# Before 1999 a number had fifteen digits: province and district, YYMMDD, and three more.
_OLD_IDENTITY = re.compile(
    r"(?<![0-9A-Za-z])(?:1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-5]|71|8[12])\d{4}[ \-]?\d\d[ \-]?(?:0[1-9]|1[0-2])[ \-]?"
    r"(?:0[1-9]|[12]\d|3[01])[ \-]?\d{3}(?![0-9A-Za-z])"
)
_CALLED = r"\s*(?:号码?|账号|帐号|同号|id|no\.?|number)?\s*"
_WECHAT = r"(?:[微薇威维v]信|wechat|weixin|(?<![a-z])[vw]x(?![a-z])|[加\+][vV](?![a-z]))"
_QQ = r"(?:(?<![a-z])qq|扣扣|企鹅号)"
_NAMED_ID = re.compile(
    r"(?:身份证|证件|护照|passport|id card)\s*(?:号码?|no\.?|number)?\s*[:：是为]?\s*([A-Za-z]{0,2}\d[\dA-Za-z]{6,17})"
    rf"|(?:{_WECHAT}|{_QQ}){_CALLED}[:：=是为叫]\s*([A-Za-z0-9][\w\-]{{4,19}})(?![\u3400-\u9fff]*元)"
    # Without a colon only what looks like nothing else: 微信支付, wechat payment and QQ音乐 are none.
    rf"|{_WECHAT}{_CALLED}(?:is\s+)?((?=[a-z_\-]*\d)[a-z][\w\-]{{5,19}}|(?=[a-z]+_)[a-z][\w\-]{{5,19}})"
    rf"|{_QQ}{_CALLED}([1-9]\d{{4,10}})(?![\dA-Za-z]|[\u3400-\u9fff]*元)",
    re.IGNORECASE | re.ASCII,
)
_CARD = re.compile(r"(?<![0-9A-Za-z])\d(?:[ \-]?\d){14,18}(?![0-9A-Za-z])")
_CARD_PREFIX = re.compile(r"62|4|5[1-5]|2[2-7]|35|60|65|9")
_SHORT_CARD_PREFIX = re.compile(r"3[47]")
_MOBILE = re.compile(
    rf"(?<!\d)(?:(?:\+|00){_SEPARATOR}86{_SEPARATOR}|\(\+?86\){_SEPARATOR}|86[\s\-]{{0,3}})?(?:0[\s\-]{{0,2}})?((?:\((?=1[3-9]\d\)))?1{_SEPARATOR}[3-9](?:{_SEPARATOR}\d){{9}})(?!\d)"
)
_HAN_DIGITS = "零〇○一幺壹二两兩贰貳三叁參四肆五伍六陆陸七柒八捌九玖"
_SPELLED = re.compile(rf"[{_HAN_DIGITS}](?:{_SEPARATOR}[{_HAN_DIGITS}\d]){{3}}")
_SPELLED_DIGITS = str.maketrans(_HAN_DIGITS, "000111222223334455666778899")
_LANDLINE = re.compile(
    r"(?<![\d.])\(?0(?:10|2\d|[3-9]\d\d)\)?[\s\-–]{0,2}[2-9]\d{2,3}[\s\-]?\d{4}(?:\s*(?:-|转|ext\.?|分机)\s*\d{1,6})?(?!\d)"
)
_FOREIGN = re.compile(r"\+[\s(]{0,2}[1-9](?:[\s\-–.()/]{0,3}\d){7,14}(?!\d)")
_NAMED_PHONE = re.compile(
    r"(?:电话|手机号?|座机|固话|号码|拨打|\btel|phone|mobile|\bcell|whatsapp|call me|\bring me)[^\d\n]{0,12}?"
    r"(?!(?:19|20)\d\d[\-/.]?(?:0?[1-9]|1[0-2])[\-/.]?(?:0?[1-9]|[12]\d|3[01])(?!\d))"
    r"(?![48]00[ \-]?\d)(\d(?:[ \-]?\d){6,11})(?!\d)",
    re.IGNORECASE,
)
_ADDRESS = re.compile(
    r"(?:[\u3400-\u9fff]{0,12}?(?:省|市|区|县|镇))*[\u3400-\u9fff]{1,8}?(?:路|街|道|巷|弄|里|村)\s*\d{1,5}\s*号?(?:[\u3400-\u9fff]{0,12}?"
    r"[A-Za-z]?\d{1,5}\s*(?:单元|号楼|栋|幢|座|楼|层|室|户))+"
    r"|(?i:(?:room|flat|apt\.?|unit)\s*\w{1,6},?\s*(?:unit\s*\w{1,4},?\s*)?(?:no\.?\s*)?\d{1,5}\s[^,.;\n]{2,40})"
)
_NAMES: tuple[re.Pattern[str], ...] = (
    # 王先生, 欧阳女士; a surname that ends ordinary words only where a name can begin
    re.compile(rf"({_PLAIN_SURNAME}|{_STARTS}{_ANY_SURNAME})(?={_TITLES})"),
    re.compile(rf"{_STARTS}({_ANY_SURNAME}(?:{_GIVEN}){{0,2}})(?={_TITLES}|{_TRADES})"),
    re.compile(rf"(?:我叫|名叫|我的名字[是叫])\s*({_ANY_SURNAME}(?:{_GIVEN}){{1,2}}?){_ENDS}"),
    re.compile(
        rf"(?:我是|本人)\s*({_ANY_SURNAME}(?:{_GIVEN}){{1,2}}?)(?=$|[\s,，.。;；!！、(（\d]|电话|手机|女士|先生)"
    ),
    re.compile(
        rf"(?:姓名|名字|联系人|收[件货]人)\s*[:：是为]\s*((?:{_GIVEN}){{2,4}}?(?:[·•][\u3400-\u9fff]{{1,8}})*){_ENDS}"
    ),
    re.compile(
        rf"\b(?:Mr|Mrs|Ms|Miss|Dr|Prof|MR|MRS|MS)\.? (?!{_BRANDS})((?=[^\W\d_a-z]){_WORD}(?: (?=[^\W\d_a-z]){_WORD}){{0,2}})"
    ),
    re.compile(rf"(?i:\bmrs?\b\.? )(?!{_BRANDS})({_WORD})"),
    re.compile(
        rf"(?i:\bmy (?:full |first |last )?name is |\bmy name's |\bi am called |\bname: ?)"
        rf"(?!(?i:on|in|not|spelled|misspelled|wrong|missing|the|a|correct|and|still)\b)"
        rf"({_WORD}(?: (?!(?i:and|but|from|i|my|the|please|call|phone|email|can|you|in|at|with)\b){_WORD}){{0,2}})"
    ),
    re.compile(
        rf"\b[Dd]ear (?!(?i:sirs?|madam|team|customer|store|all|service|manager|friends?|shop|staff|support)\b)((?=[^\W\d_a-z]){_WORD})"
    ),
    re.compile(
        rf"(?i:\b(?:best |kind |warm )?regards|\bsincerely|\byours(?: truly)?),?\s+((?=[^\W\d_a-z]){_WORD}(?: (?=[^\W\d_a-z]){_WORD}){{0,2}})\W*$"
    ),
)

_NARROW = {ord("\u3000"): " ", ord("\u00a0"): " ", ord("。"): "。"} | {
    c: chr(c - 0xFEE0) for c in range(0xFF01, 0xFF5F)
}
_ODD = re.compile(
    r"[^\x00-\x7f\u00a0-\u024f\u2010-\u203a\u3000-\u303f\u3400-\u9fff\uff00-\uffef]|[\u00b2\u00b3\u00b9]"
)


def mask(texts: Iterable[str], names: Collection[str] = (), country: str = "CN") -> list[str]:
    """The texts with the personal data in them replaced.

    Args:
        names: known names as `candidates` spells them; only those of the texts' own candidates are needed.
        country: ISO code whose national phone numbers are looked for.
    """
    known = frozenset(names)
    return [_masked(text, known, country) for text in texts]


def candidates(texts: Iterable[str]) -> set[str]:
    """Everything in the texts that is spelled like a name (lower case), for the vault to say which are names."""
    found: set[str] = set()
    for text in texts:
        found.update(name for _, _, name in _name_like(_folded(text)[0]))
    return found


def _masked(text: str, names: frozenset[str], country: str) -> str:
    folded, places = _folded(text)
    spans = sorted(_found(folded, names, country))
    if not spans:
        return text
    parts, done = [], 0
    for start, end, label in _joined(spans):
        first, last = (start, end) if places is None else (places[start], places[end - 1] + 1)
        parts += [text[done:first], f"‹{label}›"]
        done = last
    return "".join((*parts, text[done:]))


def _joined(spans: Sequence[Span]) -> Iterator[Span]:
    """Overlapping finds as one, under the label of the longest."""
    start, end, label = spans[0]
    longest = end - start
    for s, e, kind in spans[1:]:
        if s >= end:
            yield start, end, label
            start, end, label, longest = s, e, kind, e - s
            continue
        if e - s > longest:
            label, longest = kind, e - s
        end = max(end, e)
    yield start, end, label


def _folded(text: str) -> tuple[str, Sequence[int] | None]:
    """The text with full-width and other digits and letters as ASCII and without invisible characters.

    The second part is each character's place in `text`, or None where places are the same.
    """
    plain = text.translate(_NARROW)
    if not _ODD.search(plain):
        return plain, None
    characters, places = [], []
    for place, character in enumerate(text):
        for one in unicodedata.normalize("NFKC", character):
            if unicodedata.category(one) in ("Cf", "Me", "Mn") and not (
                unicodedata.category(one) == "Mn" and not "\ufe00" <= one <= "\ufe0f"
            ):
                continue
            digit = unicodedata.decimal(one, None)
            characters.append(one if digit is None else str(digit))
            places.append(place)
    return "".join(characters), places


def _found(text: str, names: frozenset[str], country: str) -> Iterator[Span]:
    """Start, end and kind of each find, in any order; finds may overlap."""
    lowered = text.lower()
    if "@" in text or "艾特" in text or "at" in lowered:
        for pattern in _EMAILS:
            yield from ((*m.span(), "email") for m in pattern.finditer(text))
    if _MANY_DIGITS.search(text):
        for pattern in (_IDENTITY, _OLD_IDENTITY):
            yield from ((*m.span(), "id") for m in pattern.finditer(text))
        yield from ((*m.span(), "id") for m in _CARD.finditer(text) if _is_card(m.group()))
        yield from _each(_MOBILE, text, lambda m: _grouped_as_phone(m.group(1)))
        for pattern in (_LANDLINE, _FOREIGN):
            yield from ((*m.span(), "phone") for m in pattern.finditer(text))
        yield from ((*m.span(1), "phone") for m in _NAMED_PHONE.finditer(text))
        yield from _national(text, country)
    for m in _NAMED_ID.finditer(text):
        yield (*m.span(m.lastindex or 0), "id")
    if _SPELLED.search(text):
        # Each is one character, so places stay.
        digits = text.translate(_SPELLED_DIGITS)
        yield from _each(_MOBILE, digits, lambda m: _grouped_as_phone(m.group(1)))
    yield from ((*m.span(), "address") for m in _ADDRESS.finditer(text))
    if _MAY_NAME.search(text):
        for pattern in _NAMES:
            yield from ((*m.span(1), "name") for m in pattern.finditer(text) if m.group(1) not in _WORDS)
    if names:
        yield from ((start, end, "name") for start, end, name in _name_like(text) if name in names)


def _each(pattern: re.Pattern[str], text: str, good: Callable[[re.Match[str]], bool]) -> Iterator[Span]:
    """Finds that are good; after one that is not, the search goes on at its second character."""
    at = 0
    while m := pattern.search(text, at):
        if good(m):
            yield (*m.span(), "phone")
            at = m.end()
        else:
            at = m.start() + 1


def _grouped_as_phone(number: str) -> bool:
    """Eleven digits in at most four groups, or each by itself: a list of prices is grouped otherwise."""
    groups = [len(g) for g in re.findall(r"\d+", number)]
    if not _USUAL_SEPARATORS.fullmatch(number):
        return groups in _PHONE_GROUPS
    return len(groups) <= 4 and min(groups) >= 2 or set(groups) == {1} or groups == [3, 2, 2, 2, 2]


def _is_card(number: str) -> bool:
    digits = [int(c) for c in number if c.isdigit()]
    written = "".join(map(str, digits))
    # Of 15 digits only American Express are cards; a telephone's IMEI has them as well, and the same check digit.
    if not (_CARD_PREFIX if len(digits) > 15 else _SHORT_CARD_PREFIX).match(written):
        return False
    doubled = (d if n % 2 == 0 else d * 2 - 9 * (d > 4) for n, d in enumerate(reversed(digits)))
    return sum(doubled) % 10 == 0


def _national(text: str, country: str) -> Iterator[Span]:
    """Numbers that are valid when dialled from `country`, with a prefix for other countries or without."""
    if country == "CN" and "00" not in text:
        return
    for match in phonenumbers.PhoneNumberMatcher(text, country, phonenumbers.Leniency.VALID):
        # Ten digits without the leading 0 are a number in China as well, and more often an order's.
        number = match.raw_string
        if country != "CN" or number.lstrip("( ").startswith("00"):
            # A bracket that the number does not close is the writer's.
            yield match.start + (number.startswith("(") and ")" not in number), match.end, "phone"


def _name_like(text: str) -> Iterator[tuple[int, int, str]]:
    """Start, end and lower-case spelling of all that a known name could be.

    Two or three Chinese characters must begin with a surname: else the nickname 小仙女 would blot out every 小仙女.
    One Latin word alone is never looked for: Rose, Will and May are words.
    """
    for run in _HAN_RUN.finditer(text):
        word, base = run.group(), run.start()
        for i, character in enumerate(word[:-1]):
            for n in (2, 3, 4) if character in _KNOWN_FIRST else (4,):
                name = word[i : i + n]
                if len(name) == n and name not in _WORDS:
                    yield base + i, base + i + n, name
            if word[i : i + 2] in _COMPOUND_SET and len(word) >= i + 3:
                yield base + i, base + i + 3, word[i : i + 3]
    if "·" in text or "•" in text:
        for m in _DOTTED_NAME.finditer(text):
            first, last = re.search("[·•]", m.group()).start(), max(m.group().rfind(c) for c in "·•")  # type: ignore[union-attr]
            # Words may stand before and behind it without a blank.
            for start in range(m.start(), m.start() + first):
                yield from ((start, end, text[start:end]) for end in range(m.start() + last + 2, m.end() + 1))
    for run in _LATIN_RUN.finditer(text):
        words = [(m.start() + run.start(), m.end() + run.start()) for m in _LATIN_WORD.finditer(run.group())]
        for n in (2, 3, 4):
            for i in range(len(words) - n + 1):
                start, end = words[i][0], words[i + n - 1][1]
                yield start, end, " ".join(text[a:b] for a, b in words[i : i + n]).lower()


_COMPOUND_SET = frozenset(_COMPOUND.split("|"))
_KNOWN_FIRST = _SURNAMES | _RARE_SURNAMES
