"""Every file format with known rows; hostile files give one clear error that names its place."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afina.data.sources import files_of, read_source, source_hash
from afina.errors import AfinaError, DataError

ROWS = [
    {"text": "Hola, ¿qué tal?", "label": "a"},
    {"text": 'She said "no", twice; then\tleft', "label": "b"},
]


def rows_of(source: Path | str) -> list[dict]:
    return [row for _where, row in read_source(str(source))]


def fault_of(source: Path | str) -> DataError:
    """The one error of reading a source; any other exception fails the test."""
    with pytest.raises(AfinaError) as caught:
        rows_of(source)
    assert isinstance(caught.value, DataError)
    assert caught.value.what.strip()
    return caught.value


def put(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


# Formats


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.ndjson", "rows.json", "ROWS.JSONL"])
def test_json_lines_with_blank_lines_and_windows_ends(tmp_path, name):
    lines = [json.dumps(row, ensure_ascii=False) for row in ROWS]
    file = put(tmp_path / name, lines[0] + "\r\n\r\n" + lines[1])
    assert rows_of(file) == ROWS


def test_places_name_file_and_line(tmp_path):
    file = put(tmp_path / "rows.jsonl", "\n" + json.dumps(ROWS[0]) + "\n\n" + json.dumps(ROWS[1]) + "\n")
    assert [where for where, _row in read_source(str(file))] == [f"{file}:2", f"{file}:4"]


@pytest.mark.parametrize("indent", [None, 2])
def test_json_array(tmp_path, indent):
    file = put(tmp_path / "rows.json", json.dumps(ROWS, indent=indent))
    assert rows_of(file) == ROWS


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_csv_delimiters_and_line_ends(tmp_path, delimiter, line_end):
    lines = [delimiter.join(cells) for cells in (["text", "label"], ["uno", "a"], ["dos", "b"])]
    file = put(tmp_path / "rows.csv", line_end.join(lines) + line_end)
    assert rows_of(file) == [{"text": "uno", "label": "a"}, {"text": "dos", "label": "b"}]


def test_csv_quoted_delimiters_quotes_and_line_breaks(tmp_path):
    file = put(tmp_path / "rows.csv", 'text,label\n"one, ""two""\nthree\r\nfour",a\nfive,b\n')
    found = list(read_source(str(file)))
    assert [row for _where, row in found] == [
        {"text": 'one, "two"\nthree\r\nfour', "label": "a"},
        {"text": "five", "label": "b"},
    ]
    assert [where for where, _row in found] == [f"{file}:2", f"{file}:5"]


def test_csv_delimiter_inside_a_quoted_header_is_not_counted(tmp_path):
    file = put(tmp_path / "rows.csv", '"text, or body, or both";label\nuno, dos;a\n')
    assert rows_of(file) == [{"text, or body, or both": "uno, dos", "label": "a"}]


def test_csv_of_one_column(tmp_path):
    assert rows_of(put(tmp_path / "rows.csv", "text\nhello, world\n")) == [{"text": "hello, world"}]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.csv", "text,label\nñandú,a\n"),
        ("rows.jsonl", '{"text": "ñandú", "label": "a"}\n'),
        ("rows.json", '[{"text": "ñandú", "label": "a"}]'),
        ("a/rows.txt", "ñandú"),
    ],
)
def test_byte_order_mark_is_no_text(tmp_path, name, content):
    file = put(tmp_path / name, b"\xef\xbb\xbf" + content.encode())
    assert rows_of(file) == [{"text": "ñandú", "label": "a"}]


def test_parquet(tmp_path):
    pq.write_table(pa.Table.from_pylist(ROWS * 1200), tmp_path / "rows.parquet", row_group_size=700)
    assert rows_of(tmp_path / "rows.parquet") == ROWS * 1200


def test_text_folders_are_labelled_by_folder(tmp_path):
    put(tmp_path / "ham" / "1.txt", "hola\n\nadiós")
    put(tmp_path / "spam" / "1.txt", "gana ya")
    assert rows_of(tmp_path) == [
        {"text": "hola\n\nadiós", "label": "ham"},
        {"text": "gana ya", "label": "spam"},
    ]


def test_text_file_in_the_current_folder_is_labelled_by_it(tmp_path, monkeypatch):
    put(tmp_path / "spam" / "1.txt", "gana ya")
    monkeypatch.chdir(tmp_path / "spam")
    assert rows_of("1.txt") == [{"text": "gana ya", "label": "spam"}]


def test_glob_and_folder_read_all_files_in_order(tmp_path):
    for number, name in enumerate(["b.jsonl", "a.csv", "in/c.jsonl"]):
        row = {"text": f"t{number}", "label": "x"}
        lines = f"text,label\nt{number},x\n" if name.endswith("csv") else json.dumps(row)
        put(tmp_path / name, lines)
    put(tmp_path / ".hidden.jsonl", "not rows")
    assert [row["text"] for row in rows_of(tmp_path)] == ["t1", "t0", "t2"]
    assert [row["text"] for row in rows_of(tmp_path / "*.jsonl")] == ["t0"]
    assert [row["text"] for row in rows_of(tmp_path / "**" / "*.jsonl")] == ["t0", "t2"]


def test_a_read_me_beside_the_tables_is_not_taken_for_a_row(tmp_path):
    put(tmp_path / "rows.jsonl", json.dumps(ROWS[0]))
    put(tmp_path / "README.md", "# About these rows")
    fault = fault_of(tmp_path)
    assert fault.where == str(tmp_path)
    assert "*.jsonl" in (fault.fix or "")


def test_hf_local_folder(tmp_path):
    put(tmp_path / "set" / "train.jsonl", "".join(json.dumps(row) + "\n" for row in ROWS))
    put(tmp_path / "set" / "test.jsonl", json.dumps(ROWS[0]))
    assert rows_of(f"hf:{tmp_path / 'set'}") == ROWS
    assert rows_of(f"hf:{tmp_path / 'set'}@test") == ROWS[:1]


def test_hf_folder_without_data_is_one_error(tmp_path):
    put(tmp_path / "set" / "notes.xyz", "x")
    assert "hf:" in (fault_of(f"hf:{tmp_path / 'set'}").where or "")


def test_hash_follows_content_and_not_place(tmp_path):
    one, two = put(tmp_path / "1" / "a.csv", "text\nx\n"), put(tmp_path / "2" / "a.csv", "text\nx\n")
    assert source_hash(str(one)) == source_hash(str(two))
    before, hub = source_hash(str(two)), source_hash(f"hf:{tmp_path / '2'}")
    put(two, "text\ny\n")
    assert source_hash(str(two)) != before
    assert source_hash(f"hf:{tmp_path / '2'}") != hub
    assert source_hash("hf:someone/set@train") == "hf:someone/set@train"


def test_the_built_in_corpus_is_a_source():
    assert [path.name for path in files_of("builtin:phishing")] == ["corpus.jsonl"]
    with pytest.raises(DataError, match="builtin:nothing"):
        files_of("builtin:nothing")


# Hostile files: (name, bytes, what the place ends with, a part of the message)
HOSTILE = {
    "empty": ("r.jsonl", b"", "r.jsonl", "empty"),
    "empty csv": ("r.csv", b"", "r.csv", "empty"),
    "empty parquet": ("r.parquet", b"", "r.parquet", "empty"),
    "17 MB line": ("r.jsonl", b'{"a":1}\n{"a":"' + b"x" * 17_000_000 + b'"}\n', "r.jsonl:2", "16 MiB"),
    "17 MB csv field": ("r.csv", b'text\n"' + b"x" * 17_000_000 + b'"\n', "r.csv:2", "16 MiB"),
    "csv field over lines": ("r.csv", b'text\nok\n"' + b"xy\n" * 6_000_000, "r.csv:3", "field limit"),
    "latin 1 line": (
        "r.jsonl",
        b'{"a":1}\n\n{"a":"\xe9"}\n',
        "r.jsonl:3",
        "byte 7 of this line is not UTF-8",
    ),
    "latin 1 json": ("r.json", b'[{"a":1},\n{"a":"\xe9"}]', "r.json:2", "not UTF-8"),
    "latin 1 csv": ("r.csv", b"text,label\nuno,a\nma\xf1ana,b\n", "r.csv:3", "byte 3"),
    "latin 1 text": ("a/r.txt", b"uno\ndos\nma\xf1ana\n", "r.txt:3", "byte 3"),
    "utf-16": ("r.csv", "text,label\n".encode("utf-16"), "r.csv:1", "is UTF-16, not UTF-8"),
    "utf-16 big end first": ("r.jsonl", "\ufeff{}".encode("utf-16-be"), "r.jsonl:1", "is UTF-16"),
    "utf-16 text": ("r.txt", "uno\ndos".encode("utf-16"), "r.txt:1", "is UTF-16"),
    "array as lines": ("r.jsonl", b'\n[\n {"a": 1}\n]\n', "r.jsonl:2", "holds a JSON array"),
    "array in one line": ("r.ndjson", b'[{"a": 1}, {"a": 2}]', "r.ndjson:1", "holds a JSON array"),
    "17 MB text": ("r.txt", b"x" * 17_000_000, "r.txt", "longer than 16 MiB"),
    "half a character": (
        "r.jsonl",
        b'{"a":"ok"}\n{"a":"\\ud83d"}\n',
        "r.jsonl:2",
        "`a` holds half a character",
    ),
    "half a character, nested": ("r.json", b'[{"a":[{"b":"\\uDC00"}]}]', "row 1", "`a` holds half"),
    "half a character in a name": ("r.jsonl", b'{"\\ud83d":1}', "r.jsonl:1", "half a character"),
    "NUL byte": ("r.jsonl", b'{"a":"x\x00y"}\n', "r.jsonl:1", "not JSON"),
    "deep nesting": ("r.jsonl", b"[" * 200_000 + b"]" * 200_000, "r.jsonl:1", "not JSON"),
    "deep nesting in json": ("r.json", b'[{"a":' * 200_000, "r.json:1", "not JSON"),
    "number of 5000 digits": ("r.jsonl", b'{"a":' + b"9" * 5000 + b"}", "r.jsonl:1", "not JSON"),
    "broken array": ("r.json", b'[{"a":1},\n{"a":2},\n{"a" 3}]', "r.json:3", "not JSON"),
    "array of texts": ("r.json", b'["a"]', "row 1", "found str"),
    "list as line": ("r.jsonl", b"[1]\n", "r.jsonl:1", "found list"),
    "duplicate header": ("r.csv", b"text,label,text\na,b,c\n", "r.csv:1", "`text`"),
    "ragged row": ("r.csv", b"text,label\nuno,a\ndos\n", "r.csv:3", "1 cells, the header has 2"),
    "ragged row after breaks": ("r.csv", b'text,label\n"u\nn\no",a\nd,o,s\n', "r.csv:5", "3 cells"),
    "quote never closed": ("r.csv", b'label,text\na,uno\nb,"dos\nc,tres\n', "r.csv:3", "not CSV"),
    "not parquet": ("r.parquet", b"PAR1 something else PAR1", "r.parquet", "not a readable Parquet"),
    "other kind": ("r.xlsx", b"PK", "r.xlsx", ".xlsx"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_file_is_one_error_with_its_place(tmp_path, name):
    file, content, where, what = HOSTILE[name]
    fault = fault_of(put(tmp_path / file, content))
    assert (fault.where or "").endswith(where)
    assert what in fault.what
    assert fault.fix
    assert len(str(fault)) < 1000
    assert "Traceback" not in str(fault)


def test_what_to_do_fits_the_fault(tmp_path):
    def fix_of(name: str, content: bytes) -> str:
        return fault_of(put(tmp_path / name, content)).fix or ""

    assert "iconv -f UTF-16 -t UTF-8" in fix_of("a.csv", "text,label\n".encode("utf-16"))
    assert "iconv -f LATIN1" in fix_of("b.csv", b"text,label\nma\xf1ana,b\n")
    assert fix_of("rows.jsonl", b'[\n{"a": 1}]') == "rename it to rows.json"
    (tmp_path / "rows.jsonl").rename(tmp_path / "rows.json")
    assert rows_of(tmp_path / "rows.json") == [{"a": 1}]


@pytest.mark.parametrize("source", ["s3://bucket/rows.csv", "http://x.org/a.jsonl", "HTTPS://x.org/*"])
def test_data_is_read_from_disk_only(source):
    fault = fault_of(source)
    assert "disk only" in fault.what
    assert "download it first" in (fault.fix or "")
    assert fault.where == source


@pytest.mark.parametrize("content", [b"\n\n \n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n\n"])
@pytest.mark.parametrize("name", ["r.jsonl", "r.json", "r.csv"])
def test_a_file_of_nothing_but_space_has_no_rows(tmp_path, name, content):
    file = put(tmp_path / name, content)
    assert rows_of(file) == []


@pytest.mark.parametrize("source", ["nowhere.csv", "no/*.jsonl", "a\0b.csv", "x" * 5000])
def test_a_source_that_is_not_there(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fault_of(source)


def test_parquet_with_two_columns_of_one_name(tmp_path):
    table = pa.table([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    pq.write_table(table, tmp_path / "r.parquet")
    assert "`text`" in fault_of(tmp_path / "r.parquet").what


def test_csv_strips_spaces_and_keeps_nul_for_the_row_check(tmp_path):
    assert rows_of(put(tmp_path / "r.csv", b" text , label\na\x00b,c\n")) == [
        {"text": "a\0b", "label": "c"}
    ]


# Any rows survive


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**62), 2**62),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs"])),
)


@given(st.lists(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), VALUES), max_size=8))
@settings(max_examples=60, deadline=None)
def test_any_rows_survive_json(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("json")
    lines = put(folder / "r.jsonl", "".join(json.dumps(row) + "\n" for row in rows) + "\n")
    assert rows_of(lines) == rows
    assert rows_of(put(folder / "r.json", json.dumps(rows))) == rows


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "text": st.text(st.characters(exclude_categories=["Cs"])),
                "number": st.integers(-(2**62), 2**62) | st.none(),
                "truth": st.booleans() | st.none(),
                "share": st.floats(allow_nan=False) | st.none(),
                "list": st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=3),
            }
        ),
        min_size=1,
        max_size=8,
    )
)
@settings(max_examples=40, deadline=None)
def test_any_rows_survive_parquet(tmp_path_factory, rows):
    schema = {"text": pa.string(), "number": pa.int64(), "truth": pa.bool_(), "share": pa.float64()}
    path = tmp_path_factory.mktemp("parquet") / "r.parquet"
    table = pa.Table.from_pylist(rows, schema=pa.schema({**schema, "list": pa.list_(pa.string())}))
    pq.write_table(table, path)
    assert rows_of(path) == rows


@given(st.binary(max_size=300), st.sampled_from(["r.jsonl", "r.json", "r.csv", "r.parquet", "r.txt"]))
@settings(max_examples=150, deadline=None)
def test_any_bytes_give_rows_or_one_error(tmp_path_factory, content, name):
    path = put(tmp_path_factory.mktemp("bytes") / name, content)
    fault = None
    try:
        rows_of(path)
    except DataError as error:
        fault = error
    assert fault is None or str(path) in fault.where
