"""The product range as a table. Made-up brands; prices in yuan; tax rates of China's VAT for the category."""

from __future__ import annotations

from typing import NamedTuple


class Group(NamedTuple):
    """A second-level category: every item is sold under each of its brands (later brands cost more)."""

    l1: str
    l2: str
    tax: float
    margin: float  # share of the list price without tax that is left after cost
    unit: str  # kg: sold by weight, qty with 3 decimals; ea: pieces; job: a service
    role: str
    weight: float  # popularity
    brands: tuple[str, ...]
    items: tuple[tuple[str, int], ...]  # name, list price in fen of the first brand


def _group(
    l1: str, l2: str, tax: float, margin: float, unit: str, role: str, weight: float, brands: str, items: str
) -> Group:
    """A row of the table below; items: name and price in yuan, in turn."""
    words = items.split()
    pairs = zip(words[::2], words[1::2], strict=True)
    priced = tuple((name, round(float(price) * 100)) for name, price in pairs)
    return Group(l1, l2, tax, margin, unit, role, weight, tuple(brands.split("|")), priced)


# fmt: off
CATALOG = (
    _group("生鲜", "蔬菜", 0.0, 0.3, "kg", "traffic", 9.0, "江南里|绿芽田有机",
           "上海青 6.8 土豆 4.6 番茄 8.9 黄瓜 7.6 菠菜 9.8 西兰花 12.8 胡萝卜 5.8 香菇 15.8"),
    _group("生鲜", "水果", 0.09, 0.28, "kg", "traffic", 8.0, "果满山|绿芽田有机",
           "苹果 11.8 香蕉 7.9 脐橙 10.8 蓝莓 59 西瓜 5.6 葡萄 19.8 草莓 39.8 猕猴桃 16.8"),
    _group("生鲜", "肉禽", 0.0, 0.2, "kg", "kvi", 7.0, "禾丰牧场|云岭散养",
           "五花肉 33.8 鸡胸肉 23.8 牛腩 79 排骨 49.8 鸭腿 21.8 羊肉卷 69"),
    _group("生鲜", "水产", 0.09, 0.24, "kg", "normal", 3.5, "东海渔家|蓝海捕捞",
           "鲈鱼 39.8 基围虾 89 花蛤 16.8 带鱼 35.8 三文鱼 139"),
    _group("生鲜", "蛋豆", 0.0, 0.16, "ea", "kvi", 6.0, "禾丰牧场|云岭散养",
           "鲜鸡蛋10枚 11.9 土鸡蛋15枚 25.9 嫩豆腐 3.5 千张 6.9 豆干 8.9"),
    _group("粮油", "大米", 0.09, 0.12, "ea", "kvi", 4.0, "谷雨坊|雪原仓",
           "粳米5kg 34.9 长粒香米5kg 45.9 五常稻花香5kg 79.9 糯米1kg 13.9"),
    _group("粮油", "面粉面条", 0.09, 0.14, "ea", "kvi", 3.5, "谷雨坊|麦乡人",
           "多用途面粉2.5kg 14.9 挂面1kg 9.9 意大利面500g 12.9 荞麦面 13.9 年糕 9.9"),
    _group("粮油", "食用油", 0.09, 0.11, "ea", "kvi", 3.5, "谷雨坊|金穗园",
           "大豆油5L 57.9 花生油5L 139.9 菜籽油5L 79.9 葵花籽油1.8L 36.9"),
    _group("粮油", "调味", 0.13, 0.3, "ea", "normal", 4.0, "小灶台|老绍坊",
           "生抽500ml 9.8 米醋500ml 6.9 豆瓣酱 10.9 食盐400g 2.5 白砂糖 6.5 料酒 8.8 辣椒油 12.9"),
    _group("乳品", "牛奶", 0.09, 0.18, "ea", "kvi", 6.5, "蓝湾牧|晨晓牧场",
           "鲜牛奶950ml 15.9 纯牛奶250ml×12 46.9 低脂奶1L 13.9 儿童奶190ml×12 52.9"),
    _group("乳品", "酸奶奶酪", 0.13, 0.27, "ea", "normal", 5.0, "蓝湾牧|Nordvik",
           "原味酸奶8杯 15.8 希腊酸奶 12.8 奶酪棒 26.9 芝士片 21.9 黄油 29.9"),
    _group("零食", "膨化饼干", 0.13, 0.34, "ea", "normal", 6.0, "小满家|咔咔脆",
           "薯片 8.9 苏打饼干 11.9 虾条 6.5 夹心饼干 9.9 锅巴 7.9 蛋卷 15.9 海苔 12.9"),
    _group("零食", "坚果", 0.13, 0.32, "ea", "value", 3.0, "小满家|山里红",
           "每日坚果30包 99 巴旦木 39.9 葵花籽 12.9 核桃仁 45.9 腰果 49.9"),
    _group("零食", "糖果蜜饯", 0.13, 0.38, "ea", "normal", 3.0, "甜语|山里红",
           "牛轧糖 19.9 话梅 12.9 水果软糖 9.9 原味奶糖 15.9 果脯 17.9"),
    _group("饮料", "水饮", 0.13, 0.28, "ea", "traffic", 6.0, "泉语|山泉记",
           "矿泉水550ml×12 18.9 乌龙茶 4.5 橙汁1L 13.9 气泡水 5.5 电解质水 5 豆奶 6.9 椰汁 7.5"),
    _group("饮料", "酒", 0.13, 0.26, "ea", "value", 2.0, "老绍坊|雪原仓",
           "黄酒500ml 15.9 啤酒500ml×12 55 白酒500ml 168 米酒 19.9"),
    _group("冷冻", "速冻食品", 0.13, 0.29, "ea", "normal", 4.0, "小灶台|冰点",
           "水饺 19.9 汤圆 14.9 手抓饼 13.9 冰淇淋 24.9 鸡米花 22.9 馄饨 17.9 披萨 29.9"),
    _group("日化", "纸品", 0.13, 0.22, "ea", "kvi", 4.5, "云朵柔|悦木",
           "抽纸24包 42.9 卷纸12卷 26.9 湿巾80抽 10.9 厨房纸 14.9 手帕纸 9.9"),
    _group("日化", "家清", 0.13, 0.33, "ea", "normal", 3.5, "悦木|净界",
           "洗衣液3kg 39.9 洗洁精1kg 11.9 垃圾袋 9.9 洁厕液 8.9 柔顺剂 29.9 保鲜膜 12.9"),
    _group("日化", "洗护口腔", 0.13, 0.4, "ea", "value", 3.0, "花时|Lumea",
           "洗发水500ml 45.9 沐浴露 35.9 牙膏 13.9 电动牙刷 159 护手霜 25.9 洗手液 15.9 洗面奶 39.9"),
    _group("母婴", "奶粉辅食", 0.13, 0.19, "ea", "value", 2.0, "萌芽|Alpenhof",
           "婴儿奶粉3段 258 米粉 42.9 果泥 9.9 儿童面 22.9 溶豆 25.9"),
    _group("母婴", "纸尿裤用品", 0.13, 0.21, "ea", "kvi", 2.0, "萌芽|云朵柔",
           "纸尿裤L 99 拉拉裤XL 109 婴儿湿巾 15.9 奶瓶 49 婴儿洗衣皂 12.9"),
    _group("宠物", "猫", 0.13, 0.3, "ea", "value", 1.6, "汪小野|Pawfield",
           "猫粮2kg 89 猫砂6L 25.9 猫条 19.9 冻干 49.9 猫抓板 19.9"),
    _group("宠物", "狗", 0.13, 0.3, "ea", "value", 1.4, "汪小野|Pawfield",
           "狗粮5kg 169 磨牙棒 23.9 尿垫 45.9 牵引绳 35"),
    _group("进口", "进口食品", 0.13, 0.36, "ea", "value", 1.6, "Nordvik|Alpenhof",
           "特级初榨橄榄油 89 黑巧克力 29.9 黄油曲奇 39.9 咖啡豆 79 麦片 45.9 花生酱 32.9"),
    _group("进口", "进口酒水", 0.13, 0.38, "ea", "value", 0.9, "Casa Lira|Alpenhof",
           "干红葡萄酒 98 起泡酒 129 精酿啤酒 15.9"),
    _group("家居", "厨具", 0.13, 0.42, "ea", "value", 1.1, "悦木|老铁匠",
           "炒锅 159 保鲜盒 29.9 保温杯 89 菜刀 69 砧板 59 玻璃杯 15.9"),
    _group("家居", "文具小电", 0.13, 0.4, "ea", "normal", 0.9, "悦木|亮堂",
           "笔记本 9.9 中性笔 12.9 插座 49 台灯 99 电池 15.9 雨伞 45"),
    _group("家政服务", "上门服务", 0.06, 0.35, "job", "value", 0.8, "安心到家",
           "日常保洁2小时 99 油烟机清洗 159 空调清洗 129 净水器安装 80 地板打蜡 199 钟点做饭 120"),
)
# fmt: on

PORTIONS = {"kg": ("散装", "小份", "家庭装"), "ea": ("标准装", "家庭装", "单人装"), "job": ("次",)}

# Household types; the columns of AFFINITY.
HOUSEHOLDS = ("young_single", "young_couple", "family", "older_couple", "senior")
AFFINITY = {
    "生鲜": (0.6, 0.9, 1.1, 1.4, 1.5),
    "粮油": (0.4, 0.8, 1.1, 1.3, 1.4),
    "乳品": (1.0, 1.0, 1.3, 0.8, 0.9),
    "零食": (1.7, 1.4, 1.1, 0.6, 0.5),
    "饮料": (1.6, 1.3, 1.0, 0.8, 0.5),
    "冷冻": (1.5, 1.2, 1.1, 0.8, 0.7),
    "日化": (0.9, 1.1, 1.0, 1.0, 0.8),
    "母婴": (0.02, 0.15, 2.8, 0.05, 0.25),
    "宠物": (1.6, 1.6, 0.8, 0.6, 0.4),
    "进口": (1.5, 1.6, 1.0, 0.7, 0.3),
    "家居": (1.0, 1.1, 1.0, 1.0, 0.8),
    "家政服务": (0, 0, 0, 0, 0),
}
# Month factors January … December where a category has a season.
SEASON = {
    "饮料": (0.8, 0.8, 0.9, 1.0, 1.1, 1.3, 1.5, 1.5, 1.2, 1.0, 0.9, 0.8),
    "零食": (1.6, 1.3, 0.9, 0.9, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.2),
    "冷冻": (1.2, 1.1, 0.9, 0.9, 1.0, 1.2, 1.3, 1.3, 1.0, 0.9, 1.0, 1.2),
    "粮油": (1.2, 1.1, 1.0, 1.0, 1.0, 1.0, 0.9, 0.9, 1.0, 1.0, 1.1, 1.1),
}
