"""The scan finds a value wherever it is packed or escaped, and says what it could not read."""

import bz2
import gzip
import json
import lzma
import sqlite3
import zipfile
from collections.abc import Callable
from pathlib import Path

import duckdb
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.home_scan import Hit, Needles, scan

NAME, PHONE, EMAIL = "欧阳娜娜", "13812345678", "nana@example.org"
VALUES = (NAME, PHONE, EMAIL)
TEXT = f"{NAME} {PHONE} {EMAIL.upper()}"


def parquet(path: Path) -> None:
    # A dictionary or a short column would hold it in clear; many rows are compressed.
    pq.write_table(pa.table({"x": [f"{n} {TEXT}" for n in range(500)]}), path, compression="zstd", use_dictionary=False, write_statistics=False)  # fmt: skip


def nested_parquet(path: Path) -> None:
    pq.write_table(pa.table({"x": [{"a": [TEXT]}], "n": [1]}), path, compression="gzip")


def duckdb_table(path: Path) -> None:
    with duckdb.connect(str(path)) as con:
        con.execute("create table t as select $1 || range as x from range(5000)", [TEXT])


def duckdb_view(path: Path) -> None:
    with duckdb.connect(str(path)) as con:
        con.execute(f"create view v as select '{TEXT}' as x")


def sqlite_row(path: Path) -> None:
    con = sqlite3.connect(path)
    con.execute("create table events (body text, packed blob)")
    con.execute(
        "insert into events values (?, ?)",
        [json.dumps({"message": NAME}), gzip.compress(f"{PHONE} {EMAIL}".encode())],
    )
    con.commit()
    con.close()


def xlsx(path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.append([NAME, PHONE, EMAIL])
    book.save(path)


def archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("inner.json.gz", gzip.compress(json.dumps({"x": TEXT}).encode()))


def overwritten_table(path: Path) -> None:
    """Changed for DuckDB, but its old block still stands in the file: only the raw bytes have it."""
    with duckdb.connect(str(path)) as con:
        con.execute("set force_compression = 'uncompressed'")
        con.execute("create table t as select $1 || range as x from range(200)", [TEXT])
        con.execute("checkpoint")
        con.execute("update t set x = 'gone'")


PACKED: dict[str, Callable[[Path], object]] = {
    "compressed.parquet": parquet,
    "nested.parquet": nested_parquet,
    "table.duckdb": duckdb_table,
    "view.duckdb": duckdb_view,
    "overwritten.duckdb": overwritten_table,
    "events.sqlite": sqlite_row,
    "book.xlsx": xlsx,
    "archive.zip": archive,
    "log.gz": lambda p: p.write_bytes(gzip.compress(TEXT.encode())),
    "log.bz2": lambda p: p.write_bytes(bz2.compress(TEXT.encode())),
    "log.xz": lambda p: p.write_bytes(lzma.compress(TEXT.encode())),
    "escaped.json": lambda p: p.write_text(json.dumps({"x": TEXT})),
    "twice_escaped.jsonl": lambda p: p.write_text(json.dumps({"x": json.dumps(TEXT)})),
    "page.html": lambda p: p.write_text("".join(f"&#{ord(c)};" for c in TEXT)),
    "utf16.txt": lambda p: p.write_bytes(TEXT.encode("utf-16")),
    "gb18030.csv": lambda p: p.write_bytes(TEXT.encode("gb18030")),
    "spelled.txt": lambda p: p.write_text(f"{NAME}, +86 138-1234-5678, {EMAIL.title()}"),
    "wide.txt": lambda p: p.write_text(f"{NAME} １３８１２３４５６７８ {EMAIL}"),
    "large.bin": lambda p: p.write_bytes(b"\0" * (16 * 1024 * 1024 - 7) + TEXT.encode()),
}


@pytest.mark.parametrize("file", PACKED)
def test_a_value_is_found_wherever_it_is_packed(tmp_path: Path, file: str) -> None:
    PACKED[file](tmp_path / file)
    hits = scan(tmp_path, Needles(VALUES))
    assert {hit.value for hit in hits} == set(VALUES), hits
    assert {hit.file for hit in hits} == {file}


def test_a_search_for_the_bytes_would_miss_what_is_compressed(tmp_path: Path) -> None:
    missed = set()
    for file, write in PACKED.items():
        write(tmp_path / file)
        data = (tmp_path / file).read_bytes().lower()
        if not any(value.encode() in data for value in VALUES):
            missed.add(file)
    assert missed >= {"compressed.parquet", "book.xlsx", "archive.zip", "log.gz", "page.html", "utf16.txt"}


def test_clean_files_have_no_hit(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("欧阳 娜 1381234567 913812345678 nana(at)example.org")
    (tmp_path / "empty").touch()
    pq.write_table(pa.table({"x": ["0" * 32], "n": [None]}), tmp_path / "a.parquet")
    assert scan(tmp_path, Needles(VALUES)) == []


def test_the_vault_is_left_out_and_nothing_else(tmp_path: Path) -> None:
    for folder in ("vault", "vault2"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x").write_text(NAME)
    assert scan(tmp_path, Needles(VALUES), skip=[tmp_path / "vault"]) == [Hit("vault2/x", "raw bytes", NAME)]


@pytest.mark.parametrize(
    "start", [b"PAR1", b"\x1f\x8b\x08", b"SQLite format 3\0", b"PK\x03\x04", b"12345678DUCK"]
)
def test_what_cannot_be_decoded_is_told(tmp_path: Path, start: bytes) -> None:
    """A scan that cannot read a file has not shown that it is clean."""
    (tmp_path / "torn").write_bytes(start + b"garbage" * 50)
    hits = scan(tmp_path, Needles(VALUES))
    assert [(h.file, h.value) for h in hits] == [("torn", None)]
    assert hits[0].where.startswith("cannot be decoded")
