"""The page as it is looked at: on a phone, on paper, in one language, by keyboard alone, and by a screen reader.

Each look is followed by one at a page that was spoilt on purpose, so that finding nothing means something.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from pipeline.publish import customers
from pipeline.publish.report import CLASS_FACTS
from pipeline.settings import Settings
from tests.publish.browser import Browser, Tab
from tests.publish.test_customer_shards import candidate, token
from tests.publish.test_report import WARNING, company, render_page

pytestmark = pytest.mark.browser
PHONE = 380
# The width of A4 between the margins of the style sheet, in CSS pixels of a 96th of an inch.
PAPER = round((210 - 2 * 12) / 25.4 * 96)
ASKED = token(6)
# What the data of the company below calls its things, in one language.
DATA = {
    *(
        "CNY",
        "Li Wei",
        WARNING["description"],
        "NPS",
        "门店 Stores",
        "App",
        "小程序 Mini-program",
        "Marketplace",
        "经销商 Dealers",
    ),
    *("online_retail", "store_pos", "of an earlier version"),
}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    one = Browser(tmp_path_factory.mktemp("profile"))
    yield one
    one.close()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with every part filled: warnings, tables without their feed, lists, the facts of classes, single customers."""
    folder = tmp_path_factory.mktemp("release")
    tables, manifest = company()
    tables[CLASS_FACTS] = pd.DataFrame(
        [("rfm", "champions", 400, 12.0, 0.625), ("rfm", "loyal", 900, 77.0, 0.111)],
        columns=["scheme", "class", "customers", "median_recency", "reachable"],
    )
    manifest["checks"] += [
        WARNING,
        WARNING | {"level": "block", "check": "rfm_few_moved", "approved": "Li Wei"},
    ]
    manifest["tables"]["marts.care_plan"] = {"rows": 0, "status": "not_enabled"}
    manifest["tables"]["audiences.segment_membership"]["columns"] = {"customer_key": "VARCHAR"}
    manifest["before"] = {
        "release": "2026-03-31",
        "as_of_date": "2026-03-31",
        "customers": "3990",
        "buyers": "3000",
        "revenue": "1000000",
        "orders": "9000",
        "repeat": "2000",
    }
    names = {
        "winback": ("唤回沉睡客户", "Win back sleeping customers"),
        "high_value_ads": ("高价值广告", "Ads for high value"),
    }
    manifest["audiences"] = {
        "since": "2026-03-31",
        "lists": [
            {
                "audience": audience,
                "name_zh": zh,
                "name_en": en,
                "channel": "email",
                "destinations": [
                    {"destination": "google_ads", "name_zh": "谷歌广告", "name_en": "Google Ads"},
                    {"destination": "excel_csv", "name_zh": "表格文件", "name_en": "Excel CSV"},
                ],
                "file": f"audiences/{audience}.csv",
                "members": 211,
                "joined": 12,
                "left": 3,
            }
            for audience, (zh, en) in names.items()
        ],
    }
    tables["marts.nps"] = tables["marts.nps"].assign(
        survey_id="nps-2026Q1", wave="2026Q1", segment=["all", "potential_loyalist", "all"], scope=None
    )
    ledger = tables["operations.ingest_ledger"]
    tables["operations.ingest_ledger"] = ledger.assign(
        source=ledger["source"].replace("store_pos", "dealer_portal"), rows_read=ledger["rows_read"] * 12_345
    )
    settings = Settings(folder / "home", folder / "landing", None, "Asia/Shanghai", None, None)
    manifest["customers"] = customers.write(settings, candidate(folder))
    file = folder / "index.html"
    file.write_text(render_page(tables, manifest), "utf-8")
    return file


def ask(tab: Tab) -> None:
    """Ask for a customer who is there, so that the answer is looked at, too."""
    tab.js(f"document.getElementById('q').value = '{ASKED}'; document.getElementById('find').click()")
    tab.until("document.querySelectorAll('#answer tbody tr').length === 2")


def spoil(tab: Tab, html: str, into: str = "main") -> None:
    tab.js(f"document.querySelector({json.dumps(into)}).insertAdjacentHTML('afterbegin', {json.dumps(html)})")


# What is beyond the edge, and what is wider than the box it stands in. What stands in a region that scrolls by itself is
# reached there; of such a table the head column, which stays, must leave room for the others.
EDGES = """(() => {
  const edge = document.documentElement.clientWidth, found = [];
  const named = e => e.tagName.toLowerCase() + (e.className && e.className.baseVal === undefined ? "." + e.className : "")
    + " " + e.textContent.trim().slice(0, 40);
  if (document.documentElement.scrollWidth > edge) found.push(`the page scrolls to ${document.documentElement.scrollWidth}`);
  document.querySelectorAll("body *").forEach(e => {
    if (!e.checkVisibility() || e.closest(".sr, legend, .seg thead, .lang input") || e.closest("svg *")) return;
    const box = e.getBoundingClientRect(), style = getComputedStyle(e);
    const scrolls = style.overflowX === "auto" && e.tabIndex === 0;
    const inside = e.parentElement.closest("[tabindex='0']");
    const reached = inside && getComputedStyle(inside).overflowX === "auto";
    if (!reached && box.width && (box.right > edge + .5 || box.left < -.5)) found.push("beyond the edge: " + named(e));
    if (!scrolls && style.display !== "inline" && e.clientWidth && e.scrollWidth > e.clientWidth + 1)
      found.push(`wider than its box: ${named(e)} ${e.scrollWidth} > ${e.clientWidth}`);
    if (style.overflowY === "hidden" && e.scrollHeight > e.clientHeight + 1) found.push("cut off below: " + named(e));
    if (style.position === "sticky" && reached && box.width > inside.clientWidth * .6)
      found.push(`leaves no room beside it: ${named(e)} ${box.width} of ${inside.clientWidth}`);
    if (style.position === "sticky" && box.width < 64) found.push("letter below letter: " + named(e));
  });
  return found;
})()"""


def test_on_a_phone_nothing_scrolls_sideways_and_nothing_is_cut(browser: Browser, page: Path) -> None:
    with browser.open(page, width=PHONE) as tab:
        ask(tab)
        for language in ("both", "zh", "en"):
            tab.js(f"document.getElementById('lang-{language}').click()")
            tab.js("document.querySelectorAll('details').forEach(d => { d.open = true })")
            assert tab.js(EDGES) == [], language
        spoil(tab, '<div style="width:400px">wide</div><div style="width:40px"><b>unbreakable</b></div>')
        found = [line.split(":")[0] for line in tab.js(EDGES)]
    assert {"the page scrolls to 416", "beyond the edge", "wider than its box"} <= set(found)


# Sections and what is folded in them; paper that is not white; ink that cannot be seen on it. The colours of a scale say
# how much, and stay.
ON_PAPER = """(() => {
  const found = [], light = text => {
    const [r, g, b, a] = text.match(/[0-9.]+/g).map(Number);
    return a === 0 ? null : (0.2126 * r + 0.7152 * g + 0.0722 * b) / 255;
  };
  document.querySelectorAll("section, section tr, section p, details > *").forEach(e => {
    if (e.closest("#search")) return;
    if (!e.checkVisibility({contentVisibilityAuto: true}) || (e.textContent.trim() && !e.getBoundingClientRect().height))
      found.push("not printed: " + e.tagName + " " + (e.id || e.textContent.trim().slice(0, 40)));
  });
  document.querySelectorAll("html, body, body *").forEach(e => {
    if (!e.checkVisibility() || e.closest("svg, .bar, i, [class^='h']:is(td), [class*=' h']:is(td)")) return;
    const style = getComputedStyle(e), paper = light(style.backgroundColor), ink = light(style.color);
    if (paper !== null && paper < .8) found.push("dark paper: " + e.tagName + "." + e.className);
    if (ink > .5 && [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) found.push("pale ink: " + e.textContent);
  });
  document.querySelectorAll(".lang, nav, input, button").forEach(e => {
    if (e.checkVisibility()) found.push("a control: " + e.tagName + " " + e.textContent.trim().slice(0, 20));
  });
  return found;
})()"""


def test_on_paper_everything_stands_on_white_and_nothing_that_is_pressed(
    browser: Browser, page: Path
) -> None:
    """Printed from a dark screen, with what is folded left folded."""
    with browser.open(page, width=PAPER, media="print", scheme="dark") as tab:
        assert tab.js("document.querySelectorAll('details:not([open])').length") > 3
        for language in ("both", "zh", "en"):
            tab.js(f"document.getElementById('lang-{language}').click()")
            assert tab.js(ON_PAPER) == [], language
            assert tab.js(EDGES) == [], language
        spoil(tab, '<section style="display:none">gone</section><button>press</button>')
        spoil(tab, '<p style="background:#14181b;color:#e6e4dd">of the screen</p>')
        found = {line.split(":")[0] for line in tab.js(ON_PAPER)}
    assert found == {"not printed", "dark paper", "pale ink", "a control"}


# Every text that is seen, with the language that its element states; not commands, file names and codes.
_SEEN = """(() => {
  document.querySelectorAll("details").forEach(d => { d.open = true; });
  const texts = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement, text = walk.currentNode.data.trim();
    if (text && e.checkVisibility() && !e.closest("code, a[download], script, style, .lang"))
      texts.push([e.closest("[lang]").lang, e.closest("[lang]") === document.documentElement, text]);
  }
  return texts;
})()"""
_WORDS = {"zh": r"[A-Za-z]{2,}", "en": r"[\u3400-\u9fff\uff00-\uffef\u3000-\u303f]"}


def strange(texts: list, language: str, data: set[str]) -> list[str]:
    """What is seen in the other language; what the data calls itself is the same in both."""
    other = {"zh": "en", "en": "zh-Hans"}[language]
    return [
        text
        for lang, bare, text in texts
        if (lang == other and not bare) or (bare and text not in data and re.search(_WORDS[language], text))
    ]


def test_one_language_is_told_without_a_word_of_the_other(browser: Browser, page: Path) -> None:
    with browser.open(page) as tab:
        ask(tab)
        for language in ("zh", "en"):
            tab.js(f"document.getElementById('lang-{language}').click()")
            assert strange(tab.js(_SEEN), language, DATA) == []
        spoil(tab, "<p>两语 mixed</p>")
        assert strange(tab.js(_SEEN), "en", DATA) == ["两语 mixed"]


# What has the focus: where it stands among all that can have it, and whether its outline is seen. The outline of a
# language is that of its label, as the radio button itself is not drawn.
_REACHED = """(() => {
  const e = document.activeElement;
  if (e === document.body) return null;
  const drawn = e.type === "radio" ? e.nextElementSibling : e, style = getComputedStyle(drawn);
  const box = drawn.getBoundingClientRect();
  return [
    [...document.querySelectorAll("*")].indexOf(e),
    e.id || e.textContent.trim().slice(0, 40) || e.tagName,
    style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2 && box.width > 0 && box.height > 0
      && box.bottom > 0 && box.top < innerHeight,
  ];
})()"""
_REACHABLE = """[...document.querySelectorAll("a[href], button, input, summary, [tabindex]")]
  .filter(e => e.checkVisibility() && (e.type !== "radio" || e.checked))
  .map(e => [...document.querySelectorAll("*")].indexOf(e))"""


def tabbed(tab: Tab) -> list[list]:
    """What Tab leads to, from the top of the page to its end."""
    found: list[list] = []
    while len(found) < 500:
        tab.press("Tab")
        reached = tab.js(_REACHED)
        if reached is None or (found and reached[0] == found[0][0]):
            return found
        found.append(reached)
    raise AssertionError("Tab leads on and on")


def focus(tab: Tab, selector: str) -> None:
    tab.js(f"document.querySelector({json.dumps(selector)}).focus()")


def test_by_keyboard_alone_everything_is_reached_in_order_seen_and_used(browser: Browser, page: Path) -> None:
    with browser.open(page) as tab:
        reached = tabbed(tab)
        assert [place for place, _, _ in reached] == tab.js(_REACHABLE), (
            "all of it, in the order in which it is read"
        )
        assert [what for _, what, is_seen in reached if not is_seen] == []
        names = {what for _, what, _ in reached}
        assert {"lang-both", "q", "find", "audiences/winback.csv"} <= names
        focus(tab, "#lang-both")
        tab.press("Right")
        assert tab.js("document.getElementById('lang-zh').checked"), "the language"
        focus(tab, "nav a[href='#search']")
        tab.press("Enter")
        assert tab.js("location.hash") == "#search"
        folded = "details:not([open]) > summary"
        before = tab.js(f"document.querySelectorAll('{folded}').length")
        focus(tab, folded)
        tab.press("Enter")
        assert tab.js(f"document.querySelectorAll('{folded}').length") == before - 1
        for of in ("#q", "#find"):
            focus(tab, "#q")
            tab.js(
                "document.getElementById('q').value = ''; document.getElementById('answer').textContent = ''"
            )
            tab.type(ASKED)
            focus(tab, of)
            tab.press("Enter")
            tab.until("document.querySelectorAll('#answer tbody tr').length === 2")
        # An answer that is wider than its place is moved by the arrow keys, so it can have the focus.
        assert tab.js("document.getElementById('answer').tabIndex") == 0
    with browser.open(page) as tab:
        spoil(tab, '<a href="#x" style="outline:none">unseen</a><span onclick="1">no way in</span>')
        assert [what for _, what, is_seen in tabbed(tab) if not is_seen] == ["unseen"]


# In the dark only colours are other than in the light.
_AXE = """axe.run(%s, {resultTypes: ["violations"], %s})
  .then(found => found.violations.map(v => v.id + ": " + v.nodes.map(n => n.target.join(" ")).slice(0, 5)))"""
_COLOURS = 'runOnly: ["color-contrast"]'


def axe() -> str:
    found = importlib.util.find_spec("axe_core_python")
    if found is None or not found.submodule_search_locations:
        reason = "axe-core-python is not installed: accessibility was not looked at"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    return (Path(found.submodule_search_locations[0]) / "axe.min.js").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("scheme", "width", "rules"), [("light", 1280, ""), ("dark", 1280, _COLOURS), ("light", PHONE, "")]
)
def test_axe_finds_nothing(browser: Browser, page: Path, scheme: str, width: int, rules: str) -> None:
    with browser.open(page, width=width, scheme=scheme) as tab:
        ask(tab)
        tab.js("document.querySelectorAll('details').forEach(d => { d.open = true })")
        tab.js(axe() + "; true")
        assert tab.js(_AXE % ("document", rules)) == []
        spoil(tab, '<div id="spoilt"><p style="color:#888;background:#999">pale</p><input type="text"></div>')
        found = {line.split(":")[0] for line in tab.js(_AXE % ("'#spoilt'", rules))}
    assert found == ({"color-contrast"} if rules else {"color-contrast", "label"})
