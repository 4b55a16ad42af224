"""The language of audiences.csv: what it means, that it means the same in SQL, and what is said of a bad line."""

import csv
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from pipeline import duck
from pipeline.errors import StrataError
from pipeline.publish.audiences import policy
from pipeline.publish.audiences.rules import BadRule, Everyone, IsIn, Join, Not, parse
from pipeline.transform.context import POLICY_DIR

KNOWN = {"rfm": {"loyal", "at_risk", "new"}, "abc": {"A", "B"}, "custom:vip": {"yes"}}
DAY = date(2026, 7, 1)


@pytest.mark.parametrize(
    ("text", "classes", "holds"),
    [
        ("all", {}, True),
        ("rfm = loyal", {"rfm": "loyal"}, True),
        ("rfm = loyal", {"rfm": "new"}, False),
        ("rfm != loyal", {}, True),
        ("rfm not in (loyal, new)", {"rfm": "at_risk"}, True),
        ("rfm in(loyal,new)and abc=A", {"rfm": "new", "abc": "A"}, True),
        ("rfm = loyal or rfm = new and abc = A", {"rfm": "loyal"}, True),
        ("(rfm = loyal or rfm = new) and abc = A", {"rfm": "loyal"}, False),
        ("not (rfm = loyal or not abc = A)", {"rfm": "new", "abc": "A"}, True),
        ("custom:vip = yes", {"custom:vip": "yes"}, True),
    ],
)
def test_what_a_rule_means(text: str, classes: dict[str, str], holds: bool) -> None:
    assert parse(text, KNOWN).holds(classes) is holds


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "character 1: expected a scheme, `not`, `all` or `(`, found the end"),
        ("rfm", "character 4: expected =, !=, `in` or `not in`, found the end"),
        ("rfm = ", "character 7: expected a class of rfm, found the end"),
        ("rfm = lojal", "character 7: rfm has no class lojal; it has: at_risk, loyal, new"),
        ("rmf = loyal", "character 1: there is no scheme rmf; there are: abc, custom:vip, rfm"),
        ("rfm = loyal and", "character 16: expected a scheme"),
        ("rfm = loyal abc = A", "character 13: expected and, or, or the end, found `abc`"),
        ("rfm in (loyal", "character 14: expected `,` or `)`, found the end"),
        ("rfm in ()", "character 9: expected a class of rfm, found `)`"),
        ("rfm = 'loyal'", 'character 7: "\'" has no meaning here'),
        ("rfm = loyal; drop table people", "character 12: ';' has no meaning here"),
        ("rfm = loyal -- x", "character 13: '-' has no meaning here"),
        ("(" * 30 + "all" + ")" * 30, "character 21: more than 20 levels"),
        ("not " * 5000 + "all", "more than 20 levels"),
    ],
)
def test_a_bad_rule_is_told_with_its_place(text: str, says: str) -> None:
    with pytest.raises(BadRule) as caught:
        parse(text, KNOWN)
    assert says in str(caught.value)


_one = st.one_of(
    st.just(Everyone()),
    st.sampled_from(sorted(KNOWN)).flatmap(
        lambda s: st.lists(st.sampled_from(sorted(KNOWN[s])), min_size=1, max_size=3).map(
            lambda found: IsIn(s, tuple(found))
        )
    ),
)
RULES = st.recursive(
    _one,
    lambda part: st.one_of(
        part.map(Not),
        st.tuples(st.sampled_from(["and", "or"]), st.lists(part, min_size=2, max_size=3)).map(
            lambda found: Join(found[0], tuple(found[1]))
        ),
    ),
    max_leaves=6,
)


def spelled(rule) -> str:  # type: ignore[no-untyped-def]
    match rule:
        case Everyone():
            return "all"
        case IsIn():
            return f"{rule.scheme} in ({', '.join(rule.classes)})"
        case Not():
            return f"not ({spelled(rule.rule)})"
    return "(" + f") {rule.word} (".join(spelled(part) for part in rule.parts) + ")"


@effort(max_examples=60, deadline=None)
@given(RULES)
def test_sql_and_python_agree_on_everybody(rule) -> None:  # type: ignore[no-untyped-def]
    people = [
        {k: v for k, v in zip(KNOWN, found, strict=True) if v}
        for found in [("loyal", "A", "yes"), ("new", None, None), (None, "B", "yes"), (None, None, None)]
    ]
    parsed = parse(spelled(rule), KNOWN)
    sql, values = parsed.sql()
    with duck.connect([]) as con:
        for classes in people:
            columns = ", ".join(f"cast(? as varchar) as {duck.quote(s)}" for s in KNOWN)
            got = con.execute(
                f"select {sql} from (select {columns})", [*values, *(classes.get(s) for s in KNOWN)]
            )
            assert got.fetchone() == (parsed.holds(classes),) == (rule.holds(classes),)


def written(tmp_path: Path, seed: str, change) -> Path:  # type: ignore[no-untyped-def]
    """The project's policy with one seed changed by `change(rows)`."""
    for name in (
        "audiences",
        "destinations",
        "transfer_bases",
        "thresholds",
        "segment_labels",
        "custom_segments",
    ):
        (tmp_path / f"{name}.csv").write_bytes((POLICY_DIR / f"{name}.csv").read_bytes())
    with (tmp_path / f"{seed}.csv").open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        rows, header = list(reader), list(reader.fieldnames or ())
    rows = change(rows) or rows
    with (tmp_path / f"{seed}.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, header)
        writer.writeheader()
        writer.writerows(rows)
    return tmp_path


def test_the_projects_own_policy_is_sound() -> None:
    found = policy.load(DAY)
    assert [a.priority for a in found.audiences] == sorted(a.priority for a in found.audiences)
    assert {t.destination.name for a in found.audiences for t in a.targets} <= set(found.destinations)
    # Nothing leaves the country as shipped.
    assert not found.bases
    assert not [t for a in found.audiences for t in a.targets if t.destination.is_foreign]


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("rule", "rfm = nobody", "audiences.csv line 2: rule, character 7: rfm has no class nobody"),
        ("destination", "myspace", "audiences.csv line 2: there is no destination 'myspace'"),
        ("channel", "ads", "is declared differently on another line"),
        ("channel", "fax", "channel 'fax' is none of"),
        ("purpose", "", "purpose '' is none of"),
        ("priority", "first", "priority 'first' is no number"),
        ("priority", "", "priority is empty"),
        ("holdout_share", "1.5", "holdout_share 1.5 is not within 0 and 0.9"),
        ("audience", "Win Back", "audience 'Win Back' is no name"),
        ("audience", "../../x", "audience '../../x' is no name"),
        ("minimum", "0", "minimum 0 is not within"),
        ("valid_from", "yesterday", "no date such as"),
        ("name_en", "", "name_en is empty"),
        ("destination", "excel_csv", "audience winback goes to excel_csv twice"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, column: str, value: str, says: str) -> None:
    folder = written(tmp_path, "audiences", lambda rows: rows[0].__setitem__(column, value))
    with pytest.raises(StrataError) as caught:
        policy.load(DAY, folder)
    assert says in str(caught.value) and "audiences.csv line " in str(caught.value)


def test_two_audiences_cannot_both_go_first(tmp_path: Path) -> None:
    folder = written(tmp_path, "audiences", lambda rows: rows[-1].__setitem__("priority", "10"))
    with pytest.raises(StrataError, match="line 7: priority 10 is taken by winback"):
        policy.load(DAY, folder)


def test_a_tag_name_over_thirty_bytes_is_refused(tmp_path: Path) -> None:
    def longer(rows: list[dict[str, str]]) -> None:
        next(r for r in rows if r["destination"] == "wecom")["name_zh"] = "重要的忠诚客户权益通知"

    with pytest.raises(StrataError, match="33 bytes, wecom takes 30"):
        policy.load(DAY, written(tmp_path, "audiences", longer))


def test_a_row_that_is_not_in_force_is_not_there(tmp_path: Path) -> None:
    folder = written(tmp_path, "audiences", lambda rows: [r | {"valid_to": "2026-07-01"} for r in rows])
    assert not policy.load(DAY, folder).audiences
    assert policy.load(date(2026, 6, 30), folder).audiences


def test_a_basis_needs_a_kind_and_a_reference(tmp_path: Path) -> None:
    row = {
        "destination": "meta",
        "basis": "trust",
        "reference": "x",
        "valid_from": "",
        "valid_to": "",
        "reason": "",
    }
    with pytest.raises(StrataError, match="transfer_bases.csv line 2: basis 'trust' is none of"):
        policy.load(DAY, written(tmp_path, "transfer_bases", lambda _: [row]))
    good = row | {"basis": "standard_contract"}
    with pytest.raises(StrataError, match="reference is empty"):
        policy.load(DAY, written(tmp_path, "transfer_bases", lambda _: [good | {"reference": ""}]))
    assert (
        policy.load(DAY, written(tmp_path, "transfer_bases", lambda _: [good])).bases["meta"].reference == "x"
    )
