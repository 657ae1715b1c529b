"""Rows in Parquet: the files of a run's `data/` folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from afina.data.roles import Row

_COLUMNS = ("id", "text", "label", "messages", "extra", "source", "weight", "masked")


class RowWriter:
    """Writes rows to a Parquet file in blocks, so that memory stays small."""

    def __init__(self, path: Path, block: int = 2000) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        kinds = [*[pa.string()] * 6, pa.float64(), pa.string()]
        self._schema = pa.schema(list(zip(_COLUMNS, kinds, strict=True)))
        self._writer: Any = pq.ParquetWriter(str(path), self._schema, compression="zstd")
        self._block = block
        self._rows: list[dict[str, Any]] = []
        self.count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._flush()
        self._writer.close()

    def write(self, row: Row) -> None:
        """Takes one row."""
        self._rows.append(
            {
                "id": row.id,
                "text": row.text,
                "label": row.label,
                "messages": json.dumps(row.messages) if row.messages else None,
                "extra": json.dumps(row.extra),
                "source": row.source,
                "weight": row.weight,
                "masked": json.dumps(row.masked) if row.masked else None,
            }
        )
        self.count += 1
        if len(self._rows) == self._block:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
            self._rows = []


def iterate_rows(path: Path) -> Iterator[Row]:
    """The rows of a file that RowWriter wrote, one block in memory at a time."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(str(path)) as file:
        for batch in file.iter_batches(batch_size=2000):
            for value in batch.to_pylist():
                yield Row(
                    text=value["text"],
                    label=value["label"],
                    messages=json.loads(value["messages"]) if value["messages"] else None,
                    extra=json.loads(value["extra"]),
                    source=value["source"],
                    weight=value["weight"],
                    id=value["id"],
                    masked=json.loads(value.get("masked") or "{}"),
                )


def read_rows(path: Path) -> list[Row]:
    """All rows of a file that RowWriter wrote."""
    return list(iterate_rows(path))


def blocks_of(rows: Iterable[Row], size: int = 500) -> Iterator[list[Row]]:
    """Rows in lists of `size`, the last one shorter."""
    iterator = iter(rows)
    while block := list(islice(iterator, size)):
        yield block
