"""Reads rows from where they are: JSON lines, CSV, Parquet, plain text, globs, folders, HF datasets.

Each reader yields (place, row): the place is `file:line`, so that an error can name it. Nothing here
knows what a row means; `roles.py` does.
"""

from __future__ import annotations

import codecs
import csv
import glob
import hashlib
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from afina.errors import DataError, MissingExtra
from afina.language import _
from afina.runs.files import sha256_of

BUILTIN = {"builtin:phishing": Path(__file__).parents[1] / "domains" / "phishing" / "corpus.jsonl"}
LONGEST_LINE_BYTES = 16 * 1024 * 1024
_TEXT_SUFFIXES = (".txt", ".md")
SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", *_TEXT_SUFFIXES)

RawRow = tuple[str, dict[str, Any]]


def files_of(source: str) -> list[Path]:
    """The files that a source names, sorted. Raises DataError when there are none."""
    if source.startswith("builtin:"):
        if source not in BUILTIN:
            raise DataError(
                _("there is no built-in corpus `{source}`").format(source=source),
                fix=_("built in: {names}").format(names=", ".join(BUILTIN)),
            )
        return [BUILTIN[source]]
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", source):
        raise DataError(
            _("data is read from this machine's disk only"),
            where=source,
            fix=_("download it first, and put the path of the file here"),
        )
    path = Path(source).expanduser()
    try:
        found = _found_at(path)
    except (OSError, ValueError) as error:  # a name that is too long, a folder that may not be listed
        raise DataError(_("this cannot be read: {error}").format(error=error), where=source) from None
    if not found:
        raise DataError(
            _("no data file here"),
            where=str(path),
            fix=_(
                "data.train takes a file, a glob or a folder with {suffixes} files; "
                "paths start at the current folder"
            ).format(suffixes=", ".join(SUFFIXES)),
        )
    tables = [p for p in found if p.suffix.lower() not in _TEXT_SUFFIXES]
    if path.is_dir() and 0 < len(tables) < len(found):
        raise DataError(
            _("this folder holds tables and text files: are the text files rows or notes?"),
            where=str(path),
            fix=_("name the rows with a glob, for example {glob}").format(
                glob=path / f"*{tables[0].suffix}"
            ),
        )
    unknown = [p for p in found if p.suffix.lower() not in SUFFIXES]
    if unknown:
        raise DataError(
            _("this kind of file is not read: {suffix}").format(
                suffix=unknown[0].suffix or _("no suffix")
            ),
            where=str(unknown[0]),
            fix=_("use one of {suffixes}").format(suffixes=", ".join(SUFFIXES)),
        )
    return found


def _found_at(path: Path) -> list[Path]:
    """The files of a folder (hidden ones left out), a file, or a glob."""
    if path.is_dir():
        inside = (p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        return sorted(p for p in inside if not p.name.startswith("."))
    if path.exists():
        return [path]
    return sorted(Path(name) for name in glob.glob(str(path), recursive=True) if Path(name).is_file())


def source_hash(source: str) -> str:
    """What a stage's key holds of a source: the SHA-256 of its files, or the name of a Hub dataset."""
    files = []
    digest = hashlib.sha256()
    if source.startswith("hf:"):
        folder = Path(_hf_parts(source)[0])
        if not folder.is_dir():
            return source
        digest.update(source.encode() + b"\0")
        files = sorted(p for p in folder.rglob("*") if p.is_file())
    for path in files or files_of(source):
        try:
            digest.update(path.name.encode() + b"\0" + sha256_of(path).encode())
        except PermissionError:
            raise DataError(_("there is no permission to read this file"), where=str(path)) from None
    return digest.hexdigest()


def read_source(source: str) -> Iterator[RawRow]:
    """Every row of a source with its place."""
    if source.startswith("hf:"):
        yield from _read_hf(source)
        return
    for path in files_of(source):
        try:
            yield from _read_file(path)
        except OSError as error:
            raise DataError(
                _("this cannot be read: {error}").format(error=error.strerror or error), where=str(path)
            ) from None


def _read_file(path: Path) -> Iterator[RawRow]:
    suffix = path.suffix.lower()
    if path.stat().st_size == 0:
        raise DataError(
            _("this file is empty"), where=str(path), fix=_("put rows into it, or leave it out")
        )
    if suffix in (".jsonl", ".ndjson"):
        yield from _read_json_lines(path)
    elif suffix == ".json":
        yield from _read_json(path)
    elif suffix in (".csv", ".tsv"):
        yield from _read_csv(path)
    elif suffix == ".parquet":
        yield from _read_parquet(path)
    else:
        yield _read_text(path)


def _read_text(path: Path) -> RawRow:
    """A whole file as one document; its folder is its label."""
    with path.open("rb") as file:
        data = file.read(LONGEST_LINE_BYTES + 1)
    if len(data) > LONGEST_LINE_BYTES:
        raise DataError(
            _("this text is longer than {limit} MiB").format(limit=LONGEST_LINE_BYTES >> 20),
            where=str(path),
            fix=_("a text file is one document: split it into several files"),
        )
    return f"{path}:1", {"text": _decode(data, path), "label": path.absolute().parent.name}


def _decode(data: bytes, path: Path, line: int = 1) -> str:
    """Text of bytes that begin at this line of a file."""
    try:
        return data.decode("utf-8-sig" if line == 1 else "utf-8")
    except UnicodeDecodeError as error:
        if line == 1 and data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise DataError(
                _("this file is UTF-16, not UTF-8"),
                where=f"{path}:1",
                fix=_("save the file as UTF-8, for example: iconv -f UTF-16 -t UTF-8 OLD > NEW"),
            ) from None
        start = data.rfind(b"\n", 0, error.start) + 1
        line += data.count(b"\n", 0, error.start)
        raise DataError(
            _("byte {position} of this line is not UTF-8 (found 0x{byte:02x})").format(
                position=error.start - start + 1, byte=data[error.start]
            ),
            where=f"{path}:{line}",
            fix=_("save the file as UTF-8, for example: iconv -f LATIN1 -t UTF-8 OLD > NEW"),
        ) from None


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a file with their numbers; a line that cannot be a row is refused, not read."""
    with path.open("rb") as file:
        for number in range(1, 1 << 62):
            line = file.readline(LONGEST_LINE_BYTES + 1)
            if not line:
                return
            if len(line) > LONGEST_LINE_BYTES:
                raise DataError(
                    _("this line is longer than {limit} MiB").format(limit=LONGEST_LINE_BYTES >> 20),
                    where=f"{path}:{number}",
                    fix=_("put one row on each line, and split a longer text into several rows"),
                )
            yield number, _decode(line, path, number)


def _read_json_lines(path: Path) -> Iterator[RawRow]:
    first = True
    for number, line in _lines(path):
        if line.strip():
            where = f"{path}:{number}"
            if first and re.match(r"\s*\[\s*(\{|$)", line):
                raise DataError(
                    _("this file holds a JSON array, not one JSON object on each line"),
                    where=where,
                    fix=_("rename it to {name}").format(name=path.with_suffix(".json").name),
                )
            first = False
            yield where, _as_row(_parse(line, where), where, may_hold_halves="\\u" in line)


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: a number with thousands of digits
        raise DataError(
            _("this is not JSON: {error}").format(error=error),
            where=where,
            fix=_('a valid line: {"text": "…", "label": "…"}'),
        ) from None


def _as_row(value: Any, where: str, may_hold_halves: bool) -> dict[str, Any]:
    """The object of a row; halves of characters, which only \\u escapes can write, are refused."""
    if not isinstance(value, dict):
        raise DataError(
            _("a row must be a JSON object; found {found}").format(found=type(value).__name__),
            where=where,
            fix=_('a valid line: {"text": "…", "label": "…"}'),
        )
    for name, field in value.items() if may_hold_halves else ():
        try:
            json.dumps([name, field], ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise DataError(
                _("field `{field}` holds half a character (a lone surrogate)").format(
                    field=name.encode(errors="replace").decode()
                ),
                where=where,
                fix=_("write the character whole, or take the \\ud800–\\udfff escape out"),
            ) from None
    return value


def _read_json(path: Path) -> Iterator[RawRow]:
    text = _decode(path.read_bytes(), path)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        if not text.lstrip().startswith("["):
            yield from _read_json_lines(path)  # many tools write JSON lines under this suffix
            return
        raise DataError(
            _("this is not JSON: {error}").format(error=error),
            where=f"{path}:{getattr(error, 'lineno', 1)}",
            fix=_('a valid file: [{"text": "…", "label": "…"}, …]'),
        ) from None
    for number, row in enumerate(value if isinstance(value, list) else [value], 1):
        where = _("{path}, row {number}").format(path=path, number=number)
        yield where, _as_row(row, where, may_hold_halves="\\u" in text)


def _csv_lines(path: Path) -> Iterator[str]:
    """Lines as csv.reader wants them: broken at a carriage return too."""
    for _number, line in _lines(path):
        if "\r" in line:
            yield from io.StringIO(line, newline="")
        else:
            yield line


def _delimiter(path: Path) -> str:
    """The commonest of tab, comma, semicolon and bar in the first line, outside quotes."""
    with path.open("rb") as probe:
        start = probe.read(65536).lstrip(b"\xef\xbb\xbf\r\n")
    first_line = re.split(rb"[\r\n]", re.sub(rb'"[^"]*"', b"", start), maxsplit=1)[0]
    return max([b"\t", b",", b";", b"|"], key=first_line.count).decode()


def _read_csv(path: Path) -> Iterator[RawRow]:
    csv.field_size_limit(LONGEST_LINE_BYTES)
    delimiter = _delimiter(path)
    fix = _("put quotes around cells that hold the delimiter {delimiter!r} or a line break").format(
        delimiter=delimiter
    )
    header: list[str] | None = None
    line = 0
    reader = csv.reader(_csv_lines(path), delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            where, line = f"{path}:{line + 1}", reader.line_num
            if not cells:
                continue
            if header is None:
                header = _header(cells, where)
                continue
            if len(cells) != len(header):
                raise DataError(
                    _("this row has {found} cells, the header has {wanted} columns").format(
                        found=len(cells), wanted=len(header)
                    ),
                    where=where,
                    fix=fix,
                )
            yield where, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise DataError(
            _("the row that begins here is not CSV: {error}").format(error=error),
            where=f"{path}:{line + 1}",
            fix=_(
                "a quote opened in a cell must be closed, and a quote inside it written twice; {more}"
            ).format(more=fix),
        ) from None


def _header(cells: list[str], where: str) -> list[str]:
    header = [name.strip() for name in cells]
    twice = next((name for name in header if header.count(name) > 1), None)
    if twice is not None:
        raise DataError(
            _("two columns have the same name, `{column}`").format(column=twice),
            where=where,
            fix=_("give every column its own name in the first line"),
        )
    return header


def _read_parquet(path: Path) -> Iterator[RawRow]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path)
        _header(table.schema_arrow.names, str(path))
        number = 0
        for batch in table.iter_batches(batch_size=1000):
            for row in batch.to_pylist():
                number += 1
                yield _("{path}, row {number}").format(path=path, number=number), row
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise DataError(
            _("this is not a readable Parquet file: {error}").format(error=_first_line(error)),
            where=str(path),
            fix=_("write it again, for example with pandas: table.to_parquet(…)"),
        ) from None


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _hf_parts(source: str) -> tuple[str, str, str]:
    """Path, configuration and split of `hf:PATH[:CONFIG][@SPLIT]`."""
    name, _at, split = source.removeprefix("hf:").partition("@")
    path, _colon, config = name.partition(":")
    return path, config, split


def _read_hf(source: str) -> Iterator[RawRow]:
    """`hf:PATH[:CONFIG][@SPLIT]`; PATH is a Hub dataset or a local folder that `datasets` can load."""
    try:
        import datasets
    except ImportError:
        raise MissingExtra(
            _("a source of the form hf:… needs the package `datasets`"),
            fix=_("pip install 'afina[hub]'"),
        ) from None
    path, config, split = _hf_parts(source)
    datasets.disable_progress_bars()
    try:
        loaded = datasets.load_dataset(path, config or None, split=split or "train")
    except Exception as error:  # what a dataset builder or the Hub's client may raise has no common kind
        raise DataError(
            _("this dataset cannot be loaded: {error}").format(error=_first_line(error)),
            where=source,
            fix=_(
                "the form is hf:NAME[:CONFIG][@SPLIT]; offline, only a local folder or the cache works"
            ),
        ) from None
    names = {
        column: feature.names
        for column, feature in loaded.features.items()
        if isinstance(feature, datasets.ClassLabel)
    }
    for number, row in enumerate(loaded, 1):
        for column, labels in names.items():
            if isinstance(row[column], int) and row[column] >= 0:
                row[column] = labels[row[column]]
        yield _("{path}, row {number}").format(path=source, number=number), row
