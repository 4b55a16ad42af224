"""Pieces of names, addresses and comments. Everything is combined at random: no piece stands for a person."""

from __future__ import annotations


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


SURNAMES = tuple("王李张刘陈杨黄赵吴周徐孙马朱胡郭何林罗高郑梁谢宋唐许韩冯邓曹彭曾萧田董潘袁蔡蒋余")
GIVEN = {
    "male": _words(
        "伟 强 磊 洋 勇 军 杰 涛 明 超 浩然 子轩 宇航 俊杰 志强 建国 文博 思远 一鸣 家豪 晨曦 国栋 立新 海波"
    ),
    "female": _words(
        "芳 娜 敏 静 丽 艳 娟 霞 秀英 桂兰 雨桐 欣怡 梓涵 诗琪 佳怡 雅婷 晓燕 玉兰 思琪 婉清 若曦 春梅 慧敏"
    ),
}
ENGLISH_FIRST = _words(
    "Alice Ben Clara Daniel Emma Felix Grace Henry Irene Jack Laura Martin Nora Oscar Paula Simon"
)
ENGLISH_LAST = _words(
    "Abbott Brook Carver Dale Ellis Fenwick Garner Holt Kerr Lowe Marsh Naylor Porter Reeve Stone Wells"
)
MAIL_HOSTS = ("example.com", "example.net", "example.org")
MAIL_WORDS = _words("sunny xiaoyu lemon cloud panda haitang moon tea river yun star lan")
PHONE_PREFIXES = _words("134 135 136 137 138 139 150 151 152 157 158 159 177 178 180 181 182 186 187 188 189")
STREETS = _words(
    "望江路 文昌街 春江大道 梅园路 青石巷 湖滨北路 运河东路 学院路 松柏路 银杏街 新城大道 荷塘路"
)
ESTATES = _words("翠苑 和家园 江南春晓 锦绣里 阳光水岸 桂花城 星河湾里 枫林小区 云栖府 学府苑")
# (province, city, postcode, region code of the store master)
CITIES = (
    ("浙江省", "杭州市", "310000", "浙北"),
    ("浙江省", "宁波市", "315000", "浙东"),
    ("浙江省", "绍兴市", "312000", "浙东"),
    ("浙江省", "嘉兴市", "314000", "浙北"),
    ("浙江省", "湖州市", "313000", "浙北"),
    ("江苏省", "苏州市", "215000", "苏南"),
    ("江苏省", "无锡市", "214000", "苏南"),
    ("江苏省", "常州市", "213000", "苏南"),
)
CITY_WEIGHTS = (0.26, 0.17, 0.12, 0.10, 0.07, 0.15, 0.08, 0.05)
OCCUPATIONS = _words("教师 工程师 个体经营 医护 公务员 退休 学生 服务业 自由职业 工人")
INCOME_BANDS = ("<5k", "5k-10k", "10k-20k", "20k-40k", ">40k")
EDUCATION = ("初中及以下", "高中", "大专", "本科", "硕士及以上")

# What can go wrong with an order. Complaints by event: (topic, priority, Chinese comments, English comments).
EVENTS = ("none", "late", "damaged", "stale", "wrong_item", "rude")
COMPLAINTS = {
    "late": (
        "logistics",
        2,
        (
            "等了两个多小时才送到, 冰淇淋都化了。",
            '配送太慢, 客服只会说"请耐心等待"。',
            "说好一小时达, 结果晚上才到!",
        ),
        ("Delivery was two hours late, again.", "Promised 60 minutes, took three hours."),
    ),
    "damaged": (
        "packaging",
        2,
        (
            "鸡蛋碎了一半, 包装太差。",
            "油瓶漏了, 整箱都湿了。\n麻烦处理一下。",
            "快递箱压扁了, 牛奶爆了两盒。",
        ),
        ("Half of the eggs were broken.", "The bottle leaked over everything, very poor packing."),
    ),
    "stale": (
        "product_function",
        1,
        ("买回家发现肉有异味, 不敢给孩子吃。", "菠菜已经发黄了, 不新鲜。", "酸奶离过期只剩一天。"),
        ("The chicken smelled bad.", "Yoghurt was one day from its date."),
    ),
    "wrong_item": (
        "service_experience",
        3,
        ("发错货了, 我要的是粳米, 来的是糯米。", "少了一件, 订单里有但是箱子里没有。"),
        ("Wrong item in the bag.", 'One item was missing, "out of stock" nobody told me.'),
    ),
    "rude": (
        "service_experience",
        2,
        ("收银员态度很差, 排队二十分钟。", "店员不理人, 问了三遍才回答。"),
        ("Staff at the till were rude.", "Twenty minutes in the queue, one till open."),
    ),
}
# (topic, type of ticket, text)
QUESTIONS = (
    ("other", "question", "请问会员积分怎么用?"),
    ("stock", "question", "稻花香什么时候补货?"),
    ("price", "question", "上周的券还能用吗, 差一天。"),
    ("other", "suggestion", "希望增加自提柜, 晚上也能取。"),
    ("other", "question", "How do I change my delivery address?"),
    ("other", "service", "需要开发票, 谢谢。"),
    ("product_function", "repair", "电动牙刷充不上电, 可以保修吗?"),
)
PRAISE = (
    "菜很新鲜, 配送员很有礼貌。",
    "价格实惠, 离家近。",
    "自提方便, 会一直买。",
    "小程序好用, 推荐给邻居了。",
    "Great range of imported food.",
    "Fast delivery, friendly staff.",
    "周末活动多, 孩子喜欢。",
)
NEUTRAL = ("还可以。", "价格一般, 品种再多些就好了。", "OK, nothing special.", "结账有时要排队。")
MOTIVES = ("need", "interest", "social")

RETURN_REASONS = _words("质量问题 不想要了 发错货 包装破损 临期 尺寸不合 7天无理由")
SEARCH_WORDS = (
    *_words(
        "牛奶 鸡蛋 大米 纸尿裤 猫粮 橄榄油 酸奶 排骨 水饺 洗衣液 啤酒 蓝莓 抽纸 咖啡豆 保洁 coffee diapers"
    ),
    "olive oil",
)
LANDING_PAGES = _words(
    "/ /promo/weekly /category/fresh /category/grain-oil /category/snacks /search /product /member"
)
