"""The files of single customers beside the page: who is in them, who never is, and that the gates look."""

import json
import re
import shutil
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import duck
from pipeline.privacy.consent import Refusals
from pipeline.publish import commit, customers, shelf, withheld
from pipeline.publish.redaction import Who, redact
from pipeline.settings import Settings

DAY = date(2026, 4, 1)


def token(n: int) -> str:
    return f"{n:x}".rjust(2, "0") + "ab" * 15


def candidate(folder: Path, people: int = 40, code: str = "SCORED|12|3|99.50|R4 F2 M3|HLL") -> Path:
    """A release folder with the tables that the files are made of."""
    members = [
        {
            "customer_key": token(n * 6),
            "scheme": scheme,
            "class": "loyal" if scheme == "rfm" else "A",
            "since_date": DAY,
            "reason_codes": code if scheme == "rfm" else "PROFIT_RANK|1|1|1|1",
            "consent_email": True,
        }
        for n in range(people)
        for scheme in ("abc", "rfm")
    ]
    everybody = [
        {"customer_key": token(n), "action_scheme": "rfm", "action_class": "loyal"} for n in range(people * 6)
    ]
    summary = [
        {"scheme": "rfm", "class": "loyal", "class_label_zh": "忠诚客户", "class_label_en": "Loyal"},
        {"scheme": "abc", "class": "A", "class_label_zh": "A类客户", "class_label_en": "Class A"},
    ]
    for name, rows in {
        "audiences/segment_membership": members,
        "audiences/segment_summary": summary,
        "segments/customer_360": everybody,
    }.items():
        path = folder / "tables" / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows), path)
    return folder


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path / "home", tmp_path / "landing", None, "Asia/Shanghai", None, None)


def read(path: Path) -> dict:
    """The value that a file hands to the page."""
    (told,) = re.findall(r"^strata\w+\((.*)\);$", path.read_text(encoding="utf-8"), re.S)
    return json.loads(told)


def shown(folder: Path) -> dict:
    found: dict = {}
    for path in sorted((folder / customers.FOLDER).glob("*.js")):
        if path.name != "words.js":
            part = read(path)
            assert {key[: len(path.stem)] for key in part} == {path.stem}, "where the page looks for them"
            found |= part
    return found


def test_every_member_is_in_the_file_of_its_first_digits_and_nobody_else(
    settings: Settings, tmp_path: Path
) -> None:
    folder = candidate(tmp_path / "c")
    assert customers.write(settings, folder) == {"customers": 40, "digits": 1}
    found = shown(folder)
    assert set(found) == {token(n * 6) for n in range(40)}
    assert found[token(6)] == {
        "a": "rfm|loyal",
        "c": [
            ["abc", "A", "2026-04-01", "PROFIT_RANK|1|1|1|1"],
            ["rfm", "loyal", "2026-04-01", "SCORED|12|3|99.50|R4 F2 M3|HLL"],
        ],
    }
    words = read(folder / "customers" / "words.js")
    assert words["classes"]["rfm"] == {"loyal": ["忠诚客户", "Loyal"]}
    assert words["reasons"]["rfm|SCORED"][1].startswith("Days since the last purchase: {1}")
    with duck.connect([folder]) as con:
        keys = con.execute(customers.keys(folder) or "").fetchall()
    assert {row[0] for row in keys} == set(found), "what the gates read"


def test_more_people_are_in_more_and_smaller_files(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(customers, "_DIGITS", ((5, 1), (30, 2)))
    folder = candidate(tmp_path / "c")
    assert customers.write(settings, folder) == {"customers": 40, "digits": 3}
    assert len(shown(folder)) == 40 and (folder / "customers" / "06a.js").is_file()


def test_text_of_the_data_stays_text(settings: Settings, tmp_path: Path) -> None:
    hard = 'STATED|"}); alert(1); //|</script>|\\|\u2028'
    folder = candidate(tmp_path / "c", code=hard)
    customers.write(settings, folder)
    assert shown(folder)[token(0)]["c"][1][3] == hard


def test_without_an_audience_table_there_are_no_files(settings: Settings, tmp_path: Path) -> None:
    assert customers.write(settings, tmp_path) is None and customers.keys(tmp_path) is None
    folder = candidate(tmp_path / "c", people=1)
    path = folder / "tables" / "audiences" / "segment_membership.parquet"
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    assert customers.write(settings, folder) is None and not (folder / "customers").exists()


def test_a_redacted_release_shows_the_erased_no_more(settings: Settings, tmp_path: Path) -> None:
    made = candidate(settings.releases / ".tmp-made")
    told = customers.write(settings, made)
    (made / "customers" / "words.js").write_text('strataWords({"old": 1});\n')
    for name in ("index.html", "marts.duckdb"):
        (made / name).write_text("of the release")
    tables = {
        name: {
            "columns": dict.fromkeys(
                pq.read_schema(made / "tables" / f"{name.replace('.', '/')}.parquet").names, ""
            )
        }
        for name in ("audiences.segment_membership", "audiences.segment_summary", "segments.customer_360")
    }
    manifest = {"release": "2026-04-01", "as_of_date": "2026-04-01", "previous_release": None, "checks": []}
    commit.seal(settings, made, manifest | {"tables": tables, "customers": told}, is_current=True)
    gone = token(6)
    done = redact(settings, "2026-04-01", Who((gone,), ()), "E1", lambda a, b: shutil.copyfile(a, b))
    assert done is not None
    folder = settings.releases / done.release
    assert set(shown(folder)) == {token(n * 6) for n in range(40)} - {gone}
    assert shelf.load_manifest(settings, done.release)["customers"]["customers"] == 39
    assert "old" in (folder / "customers" / "words.js").read_text(), "the words of that day"
    assert (
        shelf.verify_folder(folder) == []
        and "customers/0.js" in shelf.load_manifest(settings, done.release)["files"]
    )


def test_files_that_hold_nobody_who_left_are_taken_over_and_the_others_are_as_if_all_were_written(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(customers, "_DIGITS", ((5, 1), (50, 2)))
    before = candidate(tmp_path / "before")
    told = customers.write(settings, before)
    assert told == {"customers": 40, "digits": 2}
    gone = {token(6), token(12)}
    made = []
    for name, kept in (("whole", None), ("kept", (told, gone))):
        folder = tmp_path / name
        shutil.copytree(before / "tables", folder / "tables")
        path = folder / customers._MEMBERSHIP
        rows = [row for row in pq.read_table(path).to_pylist() if row["customer_key"] not in gone]
        pq.write_table(pa.Table.from_pylist(rows), path)
        assert customers.write(settings, folder, words_of=before, kept=kept) == {"customers": 38, "digits": 2}
        made.append({p.name: p for p in (folder / "customers").iterdir()})
    whole, kept_files = made
    assert {n: p.read_bytes() for n, p in whole.items()} == {n: p.read_bytes() for n, p in kept_files.items()}
    assert "06.js" not in whole and whole.keys() >= {"00.js", "words.js"}
    taken_over = {n for n, p in kept_files.items() if p.samefile(before / "customers" / n)}
    assert taken_over == whole.keys(), "each stood alone in her file"


@pytest.mark.parametrize("kind", ["unprofiled", "unmarketed"])
def test_q_17_finds_who_refused_in_the_files_alone(settings: Settings, tmp_path: Path, kind: str) -> None:
    folder = candidate(tmp_path / "c")
    customers.write(settings, folder)
    gone = token(6)
    for path in (folder / "tables").rglob("*.parquet"):
        table = pq.read_table(path)
        if "customer_key" in table.column_names:
            kept = [row for row in table.to_pylist() if row["customer_key"] != gone]
            pq.write_table(pa.Table.from_pylist(kept, table.schema), path)
    refused = Refusals(
        frozenset({gone} if kind == "unprofiled" else ()),
        frozenset({gone} if kind == "unmarketed" else ()),
        {},
    )
    with duck.connect([folder]) as con:
        withheld.register(con, refused)
        stopped = withheld.still_published(con, folder)
    assert not stopped.passed and stopped.examples == (gone,) and stopped.gate == "Q-17"
