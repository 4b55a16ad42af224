"""Rows → files, one writer per destination. Pure: bytes come out, nothing is read, written or sent.

A row holds the cells of its profile's columns, '' where there is none. Files are split where the destination's
limits say. Text is UTF-8 without BOM, but for Excel. Equal rows give equal bytes.
"""

import csv
import io
import json
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import StrataError
from pipeline.publish.audiences.normalise import FIELDS, FORMULA, is_hash
from pipeline.publish.audiences.selection import REFUSED

Kind = Literal["full", "adds", "removes"]
Row = tuple[str, ...]
_HASH_LENGTH = {"md5": 32, "sha256": 64}
# What a zip adds to the bytes in it: headers, directory, and blocks that do not compress.
_ZIP_ROOM = 4096
_NO_BYTES = 1 << 62


@dataclass(frozen=True)
class Batch:
    """What one file, or several, shall hold. `reasons` has one word for each row of `removes`, else none.

    Args:
        label: name for people, within the destination's limit.
        remote_id, account: the destination's own ids of the audience (list, tag) and of the account; may be ''.
    """

    destination: str
    audience: str
    label: str
    channel: str
    kind: Kind
    columns: tuple[str, ...]
    rows: Sequence[Row]
    reasons: Sequence[str] = ()
    remote_id: str = ""
    account: str = ""
    request_rows: int | None = None
    file_rows: int | None = None
    file_bytes: int | None = None

    def records(self) -> Iterator[tuple[dict[str, str], str]]:
        """Each row as a mapping, with its reason ('' where none is given)."""
        for i, row in enumerate(self.rows):
            yield dict(zip(self.columns, row, strict=True)), self.reasons[i] if self.reasons else ""


@dataclass(frozen=True)
class File:
    name: str
    content: bytes
    rows: int


def write(batch: Batch) -> Iterator[File]:
    """The files of a batch, in order; none where it has no rows.

    Raises StrataError where a cell is not what its column says: a hash in place of clear text, or the reverse.
    """
    _check(batch)
    if batch.rows:
        yield from _WRITERS[batch.destination](batch)


def escape(cell: str) -> str:
    """Text that no spreadsheet takes for a formula: an apostrophe before it. `unescape` is its reverse."""
    return "'" + cell if cell.startswith((*FORMULA, "'")) else cell


def unescape(cell: str) -> str:
    return cell[1:] if cell.startswith("'") else cell


def _check(batch: Batch) -> None:
    fields = FIELDS[batch.destination]
    for at, column in enumerate(batch.columns):
        if column == "customer_key":
            continue
        algo = fields[column].algo if not _in_clear(batch.destination, column) else None
        for row in batch.rows:
            cell = row[at]
            if (
                cell
                and is_hash(cell) != (algo is not None)
                or (algo and cell and len(cell) != _HASH_LENGTH[algo])
            ):
                raise StrataError(
                    f"audience {batch.audience} for {batch.destination}: column {column} must hold "
                    f"{f'a {algo} hash' if algo else 'clear text'}, and a value in it does not; nothing was written"
                )


def _in_clear(destination: str, column: str) -> bool:
    """Mailchimp's hash is the id in its addresses; its members are told in clear."""
    return FIELDS[destination][column].algo is None or destination == "mailchimp"


def _split(
    lines: Iterable[bytes], head: bytes, max_rows: int | None, max_bytes: int | None
) -> Iterator[tuple[bytes, int]]:
    """(content, rows) of each file: `head` and as many lines as fit."""
    rows_max, bytes_max = max_rows or _NO_BYTES, max_bytes or _NO_BYTES
    held: list[bytes] = []
    size = len(head)
    for line in lines:
        if len(head) + len(line) > bytes_max:
            raise StrataError(
                f"one row has {len(line)} bytes and a file may have {bytes_max}: raise file_bytes in destinations.csv"
            )
        if held and (len(held) >= rows_max or size + len(line) > bytes_max):
            yield head + b"".join(held), len(held)
            held, size = [], len(head)
        held.append(line)
        size += len(line)
    if held:
        yield head + b"".join(held), len(held)


def _named(batch: Batch, parts: Iterable[tuple[bytes, int]], suffix: str, extra: str = "") -> Iterator[File]:
    for n, (content, rows) in enumerate(parts, 1):
        yield File(f"{batch.audience}_{batch.kind}{extra}_{n:04d}{suffix}", content, rows)


def _csv_line(cells: Sequence[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(cells)
    return text.getvalue().encode()


def _csv(
    batch: Batch,
    header: Sequence[str],
    cells: Callable[[dict[str, str], str], Sequence[str]],
    *,
    suffix: str = ".csv",
    bom: bool = False,
) -> Iterator[File]:
    head = (b"\xef\xbb\xbf" if bom else b"") + _csv_line(header)
    lines = (_csv_line(cells(record, reason)) for record, reason in batch.records())
    yield from _named(batch, _split(lines, head, batch.file_rows, batch.file_bytes), suffix)


def _json(data: Any) -> bytes:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()


def _requests(
    batch: Batch, body: Callable[[list[tuple[dict[str, str], str]], int, bool], Any], *, extra: str = ""
) -> Iterator[File]:
    """One JSON file for each request: `body(records, number from 1, is last)`."""
    records = list(batch.records())
    size = batch.request_rows or len(records)
    parts = [records[i : i + size] for i in range(0, len(records), size)]
    made = ((_json(body(part, n, n == len(parts))), len(part)) for n, part in enumerate(parts, 1))
    yield from _named(batch, made, ".json", extra)


def _lines_of_requests(batch: Batch, body: Callable[[list[dict[str, str]]], Any]) -> Iterator[File]:
    """One file, one JSON request body on each line."""
    records = [record for record, _ in batch.records()]
    size = batch.request_rows or len(records)
    bodies = [_json(body(records[i : i + size])) + b"\n" for i in range(0, len(records), size)]
    yield from _named(batch, [(b"".join(bodies), len(records))], ".jsonl")


def _google_ads(batch: Batch) -> Iterator[File]:
    header = ("Email", "Phone", "First Name", "Last Name", "Country", "Zip")
    yield from _csv(batch, header, lambda r, _: (r["email"], r["phone"], "", "", "", ""))


def _google_data_manager(batch: Batch) -> Iterator[File]:
    destination: dict[str, Any] = {"productDestinationId": batch.remote_id}
    if batch.account:
        destination["operatingAccount"] = {"accountType": "GOOGLE_ADS", "accountId": batch.account}

    def member(record: Mapping[str, str]) -> dict[str, Any]:
        identifiers = [
            {name: record[column]}
            for column, name in (("email", "emailAddress"), ("phone", "phoneNumber"))
            if record[column]
        ]
        return {"userData": {"userIdentifiers": identifiers}}

    def body(part: list[tuple[dict[str, str], str]], _n: int, _last: bool) -> dict[str, Any]:
        common = {
            "destinations": [destination],
            "audienceMembers": [member(r) for r, _ in part],
            "encoding": "HEX",
        }
        if batch.kind == "removes":
            return common
        # Whoever is in an audience for advertising has consented to both; selection saw to it.
        consent = {"adUserData": "CONSENT_GRANTED", "adPersonalization": "CONSENT_GRANTED"}
        terms = {"customerMatchTermsOfServiceStatus": "ACCEPTED"}
        return common | {"consent": consent, "termsOfService": terms}

    yield from _requests(batch, body)


def _meta(batch: Batch) -> Iterator[File]:
    header = ("email", "phone", "madid", "fn", "ln", "zip", "ct", "st", "country")
    yield from _csv(batch, header, lambda r, _: (r["email"], r["phone"], *[""] * 7))
    total = len(batch.rows)
    # A number that is the same in all requests of one upload, and in no other upload.
    session = zlib.crc32(repr((batch.audience, batch.kind, batch.rows)).encode())

    def body(part: list[tuple[dict[str, str], str]], n: int, last: bool) -> dict[str, Any]:
        payload = {"schema": ["EMAIL", "PHONE"], "data": [[r["email"], r["phone"]] for r, _ in part]}
        told = {"session_id": session, "batch_seq": n, "last_batch_flag": last, "estimated_num_total": total}
        return {"session": told, "payload": payload}

    yield from _requests(batch, body)


def _tiktok(batch: Batch) -> Iterator[File]:
    yield from _csv(batch, ("Email_SHA256", "Phone_SHA256"), lambda r, _: (r["email"], r["phone"]))


def _linkedin(batch: Batch) -> Iterator[File]:
    yield from _csv(batch, ("email",), lambda r, _: (r["email"],))


def _klaviyo(batch: Batch) -> Iterator[File]:
    header = ("Email", "Phone Number", "Email Marketing Consent", "SMS Marketing Consent")

    def cells(record: dict[str, str], reason: str) -> tuple[str, ...]:
        word = "Subscribe" if batch.kind != "removes" else "Unsubscribed" if reason in REFUSED else ""
        mail = word if batch.channel == "email" and record["email"] else ""
        text = word if batch.channel == "sms" and record["phone"] else ""
        return record["email"], record["phone"], mail, text

    yield from _csv(batch, header, cells)


def _mailchimp(batch: Batch) -> Iterator[File]:
    """Members of the list, in calls of 500. Removes take the tag away; a withdrawal unsubscribes besides."""

    def upsert(part: list[tuple[dict[str, str], str]], _n: int, _last: bool) -> dict[str, Any]:
        members = [
            {"email_address": r["email"], "status": "subscribed", "tags": [batch.label]} for r, _ in part
        ]
        return {"members": members, "update_existing": True}

    def untag(part: list[tuple[dict[str, str], str]], _n: int, _last: bool) -> dict[str, Any]:
        return {"members_to_remove": [r["email"] for r, _ in part]}

    def unsubscribe(part: list[tuple[dict[str, str], str]], _n: int, _last: bool) -> dict[str, Any]:
        members = [{"email_address": r["email"], "status": "unsubscribed"} for r, _ in part]
        return {"members": members, "update_existing": True}

    if batch.kind != "removes":
        yield from _requests(batch, upsert)
        return
    yield from _requests(batch, untag)
    left = [(row, reason) for row, reason in zip(batch.rows, batch.reasons, strict=True) if reason in REFUSED]
    if left:
        rows, reasons = zip(*left, strict=True)
        some = Batch(**{**vars(batch), "rows": rows, "reasons": reasons})
        yield from _requests(some, unsubscribe, extra="_unsubscribed")


def _hubspot(batch: Batch) -> Iterator[File]:
    yield from _csv(batch, ("Email", "Phone Number"), lambda r, _: (r["email"], r["phone"]))


def _braze(batch: Batch) -> Iterator[File]:
    """Blanks do not overwrite there, so who leaves is told by an attribute."""
    header = ("external_id", "email", "phone", "email_subscribe", f"audience_{batch.audience}")

    def cells(record: dict[str, str], reason: str) -> tuple[str, ...]:
        stays = batch.kind != "removes"
        word = "subscribed" if stays else "unsubscribed" if reason in REFUSED else ""
        mail = word if batch.channel == "email" else ""
        return record["customer_key"], record["email"], record["phone"], mail, "true" if stays else "false"

    yield from _csv(batch, header, cells)


def _wecom(batch: Batch) -> Iterator[File]:
    word = "remove_tag" if batch.kind == "removes" else "add_tag"
    yield from _lines_of_requests(
        batch,
        lambda part: {k: part[0][k] for k in ("userid", "external_userid")} | {word: [batch.remote_id]},
    )


def _wechat(batch: Batch) -> Iterator[File]:
    yield from _lines_of_requests(
        batch, lambda part: {"openid_list": [r["openid"] for r in part], "tagid": int(batch.remote_id)}
    )


def zipped(name: str, content: bytes) -> bytes:
    """A zip `name` of one text file of that name; equal content gives equal bytes."""
    packed = io.BytesIO()
    entry = zipfile.ZipInfo(name.replace(".zip", ".txt"), (1980, 1, 1, 0, 0, 0))
    entry.compress_type = zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(entry, content)
    return packed.getvalue()


def _zip_of_ids(column: str) -> Callable[[Batch], Iterator[File]]:
    def writer(batch: Batch) -> Iterator[File]:
        lines = (record[column].encode() + b"\n" for record, _ in batch.records())
        room = max(1, batch.file_bytes - _ZIP_ROOM - batch.file_bytes // 1000) if batch.file_bytes else None
        parts = list(_named(batch, _split(lines, b"", batch.file_rows, room), ".zip"))
        for part in parts:
            yield File(part.name, zipped(part.name, part.content), part.rows)

    return writer


def _table_header(batch: Batch) -> tuple[str, ...]:
    return (*batch.columns, "reason") if batch.kind == "removes" else batch.columns


def _table_cells(batch: Batch, record: dict[str, str], reason: str) -> list[str]:
    return [*record.values(), reason] if batch.kind == "removes" else [*record.values()]


def _plain_csv(batch: Batch) -> Iterator[File]:
    yield from _csv(
        batch, _table_header(batch), lambda r, why: [escape(c) for c in _table_cells(batch, r, why)]
    )


def _excel_csv(batch: Batch) -> Iterator[File]:
    yield from _csv(
        batch,
        _table_header(batch),
        lambda r, why: [escape(c) for c in _table_cells(batch, r, why)],
        suffix="_excel.csv",
        bom=True,
    )


def _parquet(batch: Batch) -> Iterator[File]:
    rows = [_table_cells(batch, record, reason) for record, reason in batch.records()]
    size = batch.file_rows or len(rows)
    for n, start in enumerate(range(0, len(rows), size), 1):
        part = rows[start : start + size]
        columns = {
            name: pa.array(list(cells), pa.string())
            for name, cells in zip(_table_header(batch), zip(*part, strict=True), strict=True)
        }
        made = io.BytesIO()
        pq.write_table(pa.table(columns), made, compression="zstd")
        yield File(f"{batch.audience}_{batch.kind}_{n:04d}.parquet", made.getvalue(), len(part))


def create_tag(destination: str, label: str) -> File:
    """The request that makes the tag at WeChat or WeCom; its answer has the id that audiences.csv asks for."""
    body = (
        {"group_name": "Strata", "tag": [{"name": label}]}
        if destination == "wecom"
        else {"tag": {"name": label}}
    )
    return File("create_tag.json", _json(body), 0)


_WRITERS: Mapping[str, Callable[[Batch], Iterator[File]]] = {
    "google_ads": _google_ads,
    "google_data_manager": _google_data_manager,
    "meta": _meta,
    "tiktok": _tiktok,
    "linkedin": _linkedin,
    "klaviyo": _klaviyo,
    "mailchimp": _mailchimp,
    "hubspot": _hubspot,
    "braze": _braze,
    "wecom": _wecom,
    "wechat_official_account": _wechat,
    "tencent_ads": _zip_of_ids("phone"),
    "qianchuan": _zip_of_ids("phone_sha256"),
    "csv": _plain_csv,
    "excel_csv": _excel_csv,
    "parquet": _parquet,
}
