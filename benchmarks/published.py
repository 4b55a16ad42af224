"""What a release of many customers costs: its page, and going back to it when somebody has refused since.

    strata sample --out L --customers 300 --days 120 --seed 7; strata run --landing L --home H
    python -m benchmarks.published --home H --customers 500000 [--refused 20] [--work FOLDER] [--json FILE]
    python -m benchmarks.published --home H --customers 5000000 --page [--work FOLDER]

Every customer of the home's current release is repeated, under tokens of their own, until there are so many; all tables,
the database, the files of single customers, the lists and the page are those of a release of that size, made by the
product's own functions. The texts repeat, so files are smaller than in life. A second release says the same and is
current; then each step is a process of its own:

| step | what runs |
|---|---|
| page | `index.html` from the written tables |
| rollback | `strata releases rollback`, nobody has refused |
| refused | the same after `--refused` people withdrew from profiling and as many from marketing: the release is made again without them |

Wall time is worth what the machine's load is worth; CPU seconds (user + system) stand.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import duckdb

from benchmarks.measure import measure, say
from pipeline import settings as settings_module
from pipeline.publish import commit, customers, release, shelf
from pipeline.publish.report import PAGE_TABLES
from pipeline.publish.tables import PARQUET, path_of, stated_tables, write_database
from pipeline.settings import Settings

# What a rollback asks of the build about people.
WAREHOUSE = ("core.fct_consent_states", "core.dim_customers", "intermediate.int_persons_excluded")
_KEY = "case when i = 0 then {0} else md5({0} || i) end as {0}"
_PAGE = (
    "import json, sys; from pathlib import Path; from pipeline.publish import release, tables; "
    "folder = Path(sys.argv[1]); told = json.loads((folder / 'manifest.json').read_text()); "
    "out = folder / 'index.html'; out.unlink(); release.write_page(folder, tables.stated_tables(told), told)"
)


def multiplied(con: duckdb.DuckDBPyConnection, rows: str, times: int) -> str:
    """SQL of a relation with each person so many times; the records of sources are theirs, too."""
    names = {row[0] for row in con.execute(f"describe select * from {rows}").fetchall()}
    if "customer_key" not in names:
        return f"select * from {rows}"
    own = [_KEY.format("customer_key")]
    if "source_customer_id" in names:
        own.append(
            "case when i = 0 then source_customer_id else source_customer_id || '-' || i end as source_customer_id"
        )
    return f"select * exclude (i) replace ({', '.join(own)}) from {rows}, range({times}) as t (i)"


def make(home: Settings, work: Settings, times: int) -> tuple[str, str]:
    """The home `work` with two releases of the same large tables; their ids, the current one last."""
    before = shelf.current(home)
    assert before, "the home has no release: run `strata run`"
    source = home.releases / before["release"]
    for part in ("identity", "raw", "vault", "decisions", "token.key", "home.json", "evaluation"):
        if (home.home / part).is_dir():
            shutil.copytree(home.home / part, work.home / part, symlinks=True)
        elif (home.home / part).exists():
            shutil.copy(home.home / part, work.home / part)
    work.warehouse.parent.mkdir()
    work.build.mkdir()
    folder = work.releases / ".tmp-made"
    folder.mkdir(parents=True)
    tables = stated_tables(before)
    with duckdb.connect(config={"threads": 2, "memory_limit": "6GB"}) as con:
        con.execute(f"set temp_directory = '{work.build}'")
        con.execute(f"attach '{home.warehouse}' as small (read_only)")
        con.execute(f"attach '{work.warehouse}' as large")
        for name in WAREHOUSE:
            con.execute(f"create schema if not exists large.{name.split('.')[0]}")
            con.execute(f"create table large.{name} as {multiplied(con, f'small.{name}', times)}")
        for table in tables:
            target = folder / path_of(table)
            target.parent.mkdir(parents=True, exist_ok=True)
            rows = multiplied(con, f"read_parquet('{source / path_of(table)}')", times)
            order = ", ".join(f'"{c}" nulls first' for c in table.grain or table.columns)
            con.execute(f"copy ({rows} order by {order}) to '{target}' {PARQUET}")
        for one in before["audiences"]["lists"]:
            target = folder / one["file"]
            target.parent.mkdir(exist_ok=True)
            rows = multiplied(con, f"read_csv('{source / one['file']}', all_varchar = true)", times)
            con.execute(f"copy ({rows} order by customer_key) to '{target}' (format csv, header)")
            one["members"] *= times
        for key, entry in before["tables"].items():
            path = folder / "tables" / f"{key.replace('.', '/')}.parquet"
            entry["rows"] = con.execute(f"select count(*) from '{path}'").fetchone()[0]
    say(f"{times} times the tables are written")
    before["customers"] = customers.write(work, folder)
    write_database(folder, tables)
    shutil.copytree(source / "docs", folder / "docs")
    before |= {"previous_release": None, "warehouse": None}
    release.write_page(folder, tables, before)
    first = before["release"]
    commit.seal(work, folder, before, is_current=True)
    name = commit.next_id(work, date.fromisoformat(before["as_of_date"]))
    second = work.releases / ".tmp-second"
    shutil.copytree(
        work.releases / first,
        second,
        copy_function=os.link,
        ignore=shutil.ignore_patterns("manifest.json", "manifest.sha256"),
    )
    for path in (second, *second.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)
    commit.seal(work, second, before | {"release": name, "previous_release": first}, is_current=True)
    return first, name


def page_of(home: Settings, folder: Path, times: int) -> dict[str, Any]:
    """`index.html` of so many times the people: only the tables that the page reads grow. What it cost."""
    told = shelf.current(home)
    assert told
    source = home.releases / told["release"]
    page = folder / "page"
    shutil.copytree(source, page, ignore=shutil.ignore_patterns("customers", "marts.duckdb"))
    for path in (page, *page.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    with duckdb.connect(config={"threads": 2, "memory_limit": "4GB"}) as con:
        con.execute(f"set temp_directory = '{folder / 'spill'}'")
        con.execute("set preserve_insertion_order = false")
        for key in {*PAGE_TABLES, "segments.customer_360"} & told["tables"].keys():
            path = page / "tables" / f"{key.replace('.', '/')}.parquet"
            rows = multiplied(con, f"read_parquet('{source / path.relative_to(page)}')", times)
            path.unlink()
            con.execute(f"copy ({rows}) to '{path}' {PARQUET}")
    say(f"{times} times the tables are written")
    sample = measure([sys.executable, "-c", _PAGE, str(page)], folder / "measured", env=dict(os.environ))
    return {
        "customers": times * told["tables"]["segments.customer_360"]["rows"],
        "index_html_bytes": (page / "index.html").stat().st_size,
        "cpu_s": round(sample.cpu_s, 2),
        "wall_s": round(sample.wall_s, 2),
        "peak_mb": round(sample.peak_mb),
    }


def refuse(work: Settings, people: int) -> None:
    """In the newest build so many members have withdrawn from profiling and as many others from marketing."""
    current = shelf.current(work)
    assert current
    members = (
        work.releases / current["release"] / "tables" / "audiences" / "segment_membership.parquet"
    ).as_posix()
    with duckdb.connect(str(work.warehouse)) as con:
        keys = f"select distinct customer_key from '{members}' order by 1"
        con.execute(f"create temp table one as {keys} limit {people}")
        con.execute(f"create temp table other as {keys} limit {people} offset {people}")
        con.execute("insert into intermediate.int_persons_excluded by name from one")
        con.execute(
            "update core.fct_consent_states set is_granted = false where customer_key in (from other)"
        )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--customers", type=int, default=500_000)
    parser.add_argument("--refused", type=int, default=20)
    parser.add_argument("--work", type=Path, help="folder for the large home; removed at the end")
    parser.add_argument("--page", action="store_true", help="the page only, which is kept to be looked at")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(argv)
    home = replace(settings_module.load(), home=args.home.resolve())
    told = shelf.current(home)
    assert told
    times = -(-args.customers // told["tables"]["segments.customer_360"]["rows"])
    folder = Path(tempfile.mkdtemp(dir=args.work))
    if args.page:
        print(json.dumps(page_of(home, folder, times), indent=1))
        say(f"the page is {folder / 'page' / 'index.html'}")
        return 0
    work = replace(home, home=folder / "home")
    work.home.mkdir()
    found: dict[str, Any] = {"customers": times * told["tables"]["segments.customer_360"]["rows"]}
    try:
        first, second = make(home, work, times)
        files = shelf.load_manifest(work, first)["files"]
        found |= {
            "release_mb": round(sum(f["bytes"] for f in files.values()) / 1e6, 1),
            "database_mb": round(files["marts.duckdb"]["bytes"] / 1e6, 1),
            "index_html_bytes": files["index.html"]["bytes"],
            "members": shelf.load_manifest(work, first)["customers"]["customers"],
        }
        environment = os.environ | {"STRATA_HOME": str(work.home)}
        rollback = [sys.executable, "-m", "pipeline.cli", "releases", "rollback", "--by", "bench", "--json"]
        page = folder / "page"
        shutil.copytree(work.releases / first, page, copy_function=os.link)
        page.chmod(0o755)
        steps = [
            ("page", [sys.executable, "-c", _PAGE, str(page)]),
            ("rollback", [*rollback, first]),
            ("refused", [*rollback, second]),
        ]
        for name, command in steps:
            if name == "refused":
                refuse(work, args.refused)
            sample = measure(command, folder / name, env=environment)
            found[name] = {
                "wall_s": round(sample.wall_s, 2),
                "cpu_s": round(sample.cpu_s, 2),
                "peak_mb": round(sample.peak_mb),
            }
            if name == "refused":
                found[name] |= {k: json.loads(sample.output)[k] for k in ("release", "rows", "persons")}
            say(f"{name}: {found[name]}")
        again = work.releases / found["refused"]["release"]
        found["page_is_the_same"] = (page / "index.html").read_bytes() == (
            work.releases / first / "index.html"
        ).read_bytes()
        found["new_mb"] = round(
            sum(p.stat().st_size for p in again.rglob("*") if p.is_file() and p.stat().st_nlink == 1) / 1e6, 1
        )
    finally:
        commit.remove(folder / "home" / "releases")
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(found, indent=1))
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
