"""Reads rows from where they are: JSON lines, CSV, Parquet, plain text, globs, folders, HF datasets.

Each reader yields (place, row): the place is `file:line`, so that an error can name it. Nothing here
knows what a row means; `roles.py` does.
"""

from __future__ import annotations

import csv
import glob
import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from afina.errors import DataError, MissingExtra
from afina.language import _
from afina.runs.files import sha256_of

BUILTIN = {"builtin:phishing": Path(__file__).parents[1] / "domains" / "phishing" / "corpus.jsonl"}
LONGEST_LINE_BYTES = 16 * 1024 * 1024
SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".txt", ".md")

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
    path = Path(source).expanduser()
    if path.is_dir():
        found = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    elif path.exists():
        found = [path]
    else:
        found = sorted(Path(name) for name in glob.glob(str(path), recursive=True) if Path(name).is_file())
    if not found:
        raise DataError(
            _("no data file here"),
            where=str(path),
            fix=_("data.train takes a file, a glob or a folder with {suffixes} files; paths start at the current folder").format(
                suffixes=", ".join(SUFFIXES)
            ),
        )
    unknown = [p for p in found if p.suffix.lower() not in SUFFIXES]
    if unknown:
        raise DataError(
            _("this kind of file is not read: {suffix}").format(suffix=unknown[0].suffix or _("no suffix")),
            where=str(unknown[0]),
            fix=_("use one of {suffixes}").format(suffixes=", ".join(SUFFIXES)),
        )
    return found


def source_hash(source: str) -> str:
    """What a stage's key holds of a source: the SHA-256 of its files, or the name of an HF dataset."""
    if source.startswith("hf:"):
        return source
    digest = hashlib.sha256()
    for path in files_of(source):
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
        yield from _read_file(path)


def _read_file(path: Path) -> Iterator[RawRow]:
    suffix = path.suffix.lower()
    if path.stat().st_size == 0:
        raise DataError(_("this file is empty"), where=str(path), fix=_("put rows into it, or leave it out"))
    if suffix in (".jsonl", ".ndjson"):
        yield from _read_json_lines(path)
    elif suffix == ".json":
        yield from _read_json(path)
    elif suffix in (".csv", ".tsv"):
        yield from _read_csv(path)
    elif suffix == ".parquet":
        yield from _read_parquet(path)
    else:
        yield f"{path}:1", {"text": _decode(path.read_bytes(), str(path)), "label": path.parent.name}


def _decode(data: bytes, where: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            _("byte {position} is not UTF-8 (found 0x{byte:02x})").format(
                position=error.start, byte=data[error.start]
            ),
            where=where,
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
                    fix=_("one JSON object a line; split the text into several rows"),
                )
            yield number, _decode(line, f"{path}:{number}")


def _read_json_lines(path: Path) -> Iterator[RawRow]:
    for number, line in _lines(path):
        if line.strip():
            yield f"{path}:{number}", _parse_object(line, f"{path}:{number}")


def _parse_object(text: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise DataError(
            _("this is not JSON: {error}").format(error=error),
            where=where,
            fix=_('a valid line: {"text": "…", "label": "…"}'),
        ) from None
    if not isinstance(value, dict):
        raise DataError(
            _("a row must be a JSON object; found {found}").format(found=type(value).__name__),
            where=where,
            fix=_('a valid line: {"text": "…", "label": "…"}'),
        )
    return value


def _read_json(path: Path) -> Iterator[RawRow]:
    text = _decode(path.read_bytes(), str(path))
    try:
        value = json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        yield from _read_json_lines(path)  # many tools write JSON lines under this suffix
        return
    rows = value if isinstance(value, list) else [value]
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise DataError(
                _("a row must be a JSON object; found {found}").format(found=type(row).__name__),
                where=_("{path}, row {number}").format(path=path, number=number),
            )
        yield _("{path}, row {number}").format(path=path, number=number), row


def _read_csv(path: Path) -> Iterator[RawRow]:
    csv.field_size_limit(LONGEST_LINE_BYTES)
    with path.open("rb") as probe:
        start = probe.read(65536)
    first_line = start.split(b"\n", 1)[0]
    delimiter = max([b"\t", b",", b";", b"|"], key=first_line.count).decode()
    with io.TextIOWrapper(path.open("rb"), encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter)
        try:
            header = [name.strip() for name in next(reader)]
            if len(set(header)) != len(header):
                raise DataError(_("two columns have the same name"), where=f"{path}:1")
            for cells in reader:
                if not cells:
                    continue
                where = f"{path}:{reader.line_num}"
                if len(cells) != len(header):
                    raise DataError(
                        _("this row has {found} cells, the header has {wanted} columns").format(
                            found=len(cells), wanted=len(header)
                        ),
                        where=where,
                        fix=_("put quotes around cells that hold the delimiter {delimiter!r} or a line break").format(
                            delimiter=delimiter
                        ),
                    )
                yield where, dict(zip(header, cells, strict=True))
        except csv.Error as error:
            raise DataError(str(error), where=f"{path}:{reader.line_num}") from None
        except UnicodeDecodeError:
            for number, line in enumerate(path.open("rb"), 1):
                _decode(line, f"{path}:{number}")
            raise


def _read_parquet(path: Path) -> Iterator[RawRow]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path)
        number = 0
        for batch in table.iter_batches(batch_size=1000):
            for row in batch.to_pylist():
                number += 1
                yield _("{path}, row {number}").format(path=path, number=number), row
    except pa.ArrowException as error:
        raise DataError(
            _("this is not a readable Parquet file: {error}").format(error=str(error).splitlines()[0]), where=str(path)
        ) from None


def _read_hf(source: str) -> Iterator[RawRow]:
    """`hf:PATH[:CONFIG][@SPLIT]`; PATH is a Hub dataset or a local folder that `datasets` can load."""
    try:
        import datasets
    except ImportError:
        raise MissingExtra(
            _("a source of the form hf:… needs the package `datasets`"), fix=_("pip install 'afina[hub]'")
        ) from None
    name, _at, split = source.removeprefix("hf:").partition("@")
    path, _colon, config = name.partition(":")
    datasets.disable_progress_bars()
    try:
        loaded = datasets.load_dataset(path, config or None, split=split or "train")
    except (OSError, ValueError, ConnectionError, datasets.exceptions.DatasetsError) as error:
        raise DataError(
            _("this dataset cannot be loaded: {error}").format(error=str(error).splitlines()[0]),
            where=source,
            fix=_("the form is hf:NAME[:CONFIG][@SPLIT]; offline, only a local folder or the cache works"),
        ) from None
    names = {
        column: feature.names for column, feature in loaded.features.items() if isinstance(feature, datasets.ClassLabel)
    }
    for number, row in enumerate(loaded, 1):
        for column, labels in names.items():
            if isinstance(row[column], int) and row[column] >= 0:
                row[column] = labels[row[column]]
        yield _("{path}, row {number}").format(path=source, number=number), row
