"""Token ids of many rows, encoded once and kept in the cache, addressed by a hash of all they depend on.

Encoding a million rows takes minutes, and each start of a run, each of its processes and each run with
other training settings would do it again. Blocks of rows are written one by one, so that what was
encoded before a stop is not encoded again. Few rows are not worth a file, and leave none outside the
run's folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np

from afina.data.chat import Encoded, encode_row
from afina.data.roles import Row
from afina.errors import StorageError
from afina.language import _
from afina.models.tokenizer import Tokens
from afina.recipe import Recipe
from afina.runs.files import atomic, sha256_of_value
from afina.runs.stages import code_hash
from afina.runs.store import cache_folder, writing_cache

Array = np.ndarray[Any, np.dtype[Any]]
FEWEST_ROWS = 5_000
BLOCK_ROWS = 10_000
_CODE = ("data/chat", "data/token_cache", "models/tokenizer")


class CachedRows(Sequence[Encoded]):
    """Encoded rows, held as arrays: a fifth of the memory of lists of numbers.

    Args:
        ids: token ids one row after another; [tokens]. trained: whether each is trained; [tokens].
        ends: where each piece ends in these; [pieces].
    """

    def __init__(self, ids: Array, trained: Array, ends: Array) -> None:
        self._ids, self._trained = ids, trained
        self._bounds = np.concatenate([[0], ends])

    def __len__(self) -> int:
        return len(self._bounds) - 1

    @overload
    def __getitem__(self, index: int) -> Encoded: ...
    @overload
    def __getitem__(self, index: slice) -> list[Encoded]: ...
    def __getitem__(self, index: int | slice) -> Encoded | list[Encoded]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        start, stop = self._bounds[number], self._bounds[number + 1]
        return Encoded(self._ids[start:stop].tolist(), self._trained[start:stop].tolist())


def encode_rows(
    tokens: Tokens,
    recipe: Recipe,
    labels: list[str],
    rows: list[Row],
    rows_sha256: Callable[[], str],
    say: Callable[[str], None],
    progress: Callable[[str], None],
) -> tuple[Sequence[Encoded], list[int]]:
    """Every row as it is trained; from the cache, or into it, when there are many.

    Args:
        rows_sha256: gives the hash of the file that the rows are in; asked only when there are many.
    Returns:
        The pieces (a document may give several), and the number of the row that each is of.
    """
    if len(rows) < FEWEST_ROWS:
        pieces = [
            (number, p)
            for number, row in enumerate(rows)
            for p in encode_row(tokens, recipe, labels, row)
        ]
        return [piece for _number, piece in pieces], [number for number, _piece in pieces]
    folder = cache_folder() / "tokens" / _key(tokens, recipe, labels, rows_sha256())[:32]
    blocks = list(_blocks(tokens, recipe, labels, rows, folder, say, progress))
    lengths = [len(block["ids"]) for block in blocks]
    before = np.cumsum([0, *lengths[:-1]])
    return CachedRows(
        np.concatenate([block["ids"] for block in blocks]),
        np.concatenate([block["trained"] for block in blocks]),
        np.concatenate([block["ends"] + start for block, start in zip(blocks, before, strict=True)]),
    ), np.concatenate([block["rows"] for block in blocks]).tolist()


def _blocks(
    tokens: Tokens,
    recipe: Recipe,
    labels: list[str],
    rows: list[Row],
    folder: Path,
    say: Callable[[str], None],
    progress: Callable[[str], None],
) -> Iterator[dict[str, Array]]:
    """The blocks in order, read where they are there, encoded and kept where they are not."""
    known, writable = 0, True
    for start in range(0, len(rows), BLOCK_ROWS):
        path = folder / f"{start:09}.safetensors"
        block = _read(path)
        if block is None:
            block = _encode(tokens, recipe, labels, rows[start : start + BLOCK_ROWS], start)
            writable = writable and _write(path, block, say)
        else:
            known += len(np.unique(block["rows"]))
        done = min(start + BLOCK_ROWS, len(rows))
        progress(_("encoding {done:,} of {total:,} rows").format(done=done, total=len(rows)))
        yield block
    if known:
        say(_("token ids of {count:,} rows were encoded before").format(count=known))


def _encode(
    tokens: Tokens, recipe: Recipe, labels: list[str], rows: list[Row], first: int
) -> dict[str, Array]:
    ids: list[int] = []
    trained: list[bool] = []
    ends, owners = [], []
    for number, row in enumerate(rows, first):
        for piece in encode_row(tokens, recipe, labels, row):
            ids += piece.ids
            trained += piece.trained
            ends.append(len(ids))
            owners.append(number)
    return {
        "ids": np.array(ids, dtype=np.int32),
        "trained": np.array(trained, dtype=np.bool_),
        "ends": np.array(ends, dtype=np.int64),
        "rows": np.array(owners, dtype=np.int64),
    }


def _read(path: Path) -> dict[str, Array] | None:
    """A block; None where there is none, or a damaged one."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return dict(load_file(str(path)))
    except (OSError, SafetensorError):
        return None


def _write(path: Path, block: dict[str, Array], say: Callable[[str], None]) -> bool:
    """Keeps a block. False, and said, when there is no room: training goes on without the cache."""
    from safetensors.numpy import save_file

    try:
        with writing_cache():
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic(path) as temporary:
                save_file(block, str(temporary))
    except StorageError as error:
        say(_("token ids are not kept: {error}").format(error=error.what))
        return False
    return True


def _key(tokens: Tokens, recipe: Recipe, labels: list[str], rows_sha256: str) -> str:
    """Hash of all that token ids depend on."""
    return sha256_of_value(
        {
            "rows": rows_sha256,
            "tokenizer": tokens.tokenizer.backend_tokenizer.to_str(),
            "template": tokens.template,
            "date": tokens.date,
            "special": [tokens.bos, tokens.pad, sorted(tokens.ends)],
            "task": recipe.task.model_dump(mode="json"),
            "labels": labels,
            "max_length": recipe.data.max_length,
            "code": code_hash(_CODE),
        }
    )
