"""Whatever is done to a sealed file, it gives what was sealed or one error that says what is wrong."""

from __future__ import annotations

import hashlib
import json
import random
import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from afina.errors import AfinaError, SealError
from afina.seals.contents import Contents, SealedFile
from afina.seals.header import MAGIC, Header, read_header
from afina.seals.opening import open_to_bytes, open_to_folder
from afina.seals.streams import ContentsCipher, FileCipher, header_mac
from afina.seals.unlocking import unlock_by
from afina.seals.wrapping import wrap_for
from afina.seals.writer import seal_folder
from tests.seals.conftest import CHUNK, LOG2_N, files_of, write_release

HEADER = "the header of this sealed file was changed"
CHUNK_MOVED = r"chunk \d of \d of .+ is not the one that was sealed there"
CUT = "this sealed file was cut: at least {count} bytes are missing at its end"


def refused(sealed, raw: bytes, tmp_path, match: str, key: str = "ana") -> None:
    """Such bytes are refused with one message, and nothing is left of them."""
    path = tmp_path / "tampered.sealed"
    path.write_bytes(raw)
    with pytest.raises(SealError) as caught:
        open_to_folder(path, tmp_path / "out", sealed.opener(key, path))
    assert re.search(match, caught.value.what), caught.value.what
    assert caught.value.where == str(path)
    assert list(tmp_path.iterdir()) == [path]


def joined(head: bytes, files: list[list[bytes]]) -> bytes:
    return head + b"".join(chunk for file in files for chunk in file)


def test_a_changed_byte_anywhere_is_refused(sealed, tmp_path) -> None:
    """1,000 bytes drawn from all of the file, and each of the first 40."""
    raw, path = sealed.path.read_bytes(), tmp_path / "x.sealed"
    path.write_bytes(raw)
    drawn = random.Random(11)
    places = [*range(40), *(drawn.randrange(len(raw)) for _ in range(1000))]
    unlock = sealed.opener(where=path)
    with path.open("r+b", buffering=0) as file:
        for number, place in enumerate(places):
            file.seek(place)
            file.write(bytes([raw[place] ^ drawn.randrange(1, 256)]))
            with pytest.raises(SealError):
                open_to_bytes(path, unlock)
            if number % 50 == 0:  # a disk takes its time to make and remove a folder
                with pytest.raises(SealError):
                    open_to_folder(path, tmp_path / "out", unlock)
                assert list(tmp_path.iterdir()) == [path]
            file.seek(place)
            file.write(raw[place : place + 1])
    assert sealed.read(path) == files_of(sealed.release)


def test_chunks_left_out_swapped_and_repeated(sealed, tmp_path) -> None:
    head, files = sealed.chunks()
    names = [file.path for file in sealed.contents.files]
    weights, exact = names.index("adapter/weights"), names.index("exact")

    def with_weights(*chunks: bytes) -> bytes:
        return joined(head, [*files[:weights], list(chunks), *files[weights + 1 :]])

    one, two, three, four, five, last = files[weights]
    refused(sealed, with_weights(two, one, three, four, five, last), tmp_path, CHUNK_MOVED)
    refused(sealed, with_weights(one, one, three, four, five, last), tmp_path, CHUNK_MOVED)
    refused(sealed, with_weights(one, two, three, four, last), tmp_path, CUT.format(count="1,040"))
    refused(
        sealed, with_weights(one, two, three, four, five, five, last), tmp_path, "1,040 bytes too many"
    )
    # A chunk of another file in its place, also the one of the same number.
    mixed = [list(file) for file in files]
    mixed[weights][0], mixed[exact][0] = mixed[exact][0], mixed[weights][0]
    refused(sealed, joined(head, mixed), tmp_path, "chunk 1 of 6 of adapter/weights is not")
    # Whole files in another order.
    order = [*files]
    order[0], order[-1] = order[-1], order[0]
    refused(sealed, joined(head, order), tmp_path, "is not the one that was sealed there")


def test_cut_anywhere_is_refused(sealed, tmp_path) -> None:
    raw = sealed.path.read_bytes()
    refused(sealed, raw[:-1], tmp_path, CUT.format(count=1))
    refused(sealed, raw[: -CHUNK - 16], tmp_path, CUT.format(count="1,040"))
    refused(sealed, raw + b"\0", tmp_path, "has 1 bytes too many")
    refused(sealed, b"", tmp_path, "this is no sealed file")
    for length in (1, 15, 17, 200, len(sealed.header.framed()) + 5, len(sealed.chunks()[0]) - 1):
        refused(sealed, raw[:length], tmp_path, "this sealed file was cut")


def test_chunks_and_headers_of_another_seal(sealed, tmp_path, pairs) -> None:
    """The same release for the same people, sealed again: nothing of it fits."""
    people = pairs[1]
    other_path = tmp_path / "other.sealed"
    publics = [people["ana"].public, people["bob"].public]
    header, contents = seal_folder(
        sealed.release, other_path, publics, None, "release", chunk_bytes=CHUNK
    )
    other = replace(sealed, path=other_path, header=header, contents=contents)
    head, files = sealed.chunks()
    other_head, other_files = other.chunks()
    other_path.unlink()
    refused(sealed, joined(head, [*other_files[:1], *files[1:]]), tmp_path, CHUNK_MOVED)
    refused(sealed, joined(other_head, files), tmp_path, CHUNK_MOVED)
    # The key that was wrapped in another seal, in this one's header.
    mixed = replace(sealed.header, keys=header.keys)
    rest = joined(head, files)[len(sealed.header.framed()) :]
    refused(sealed, mixed.framed() + rest, tmp_path, "what was sealed for the key .* was changed")


def test_recipients_cannot_be_left_out_or_added_without_the_key(sealed, tmp_path, pairs) -> None:
    rest = sealed.path.read_bytes()[len(sealed.header.framed()) :]
    alone = replace(sealed.header, keys=sealed.header.keys[:1])
    refused(sealed, alone.framed() + rest, tmp_path, HEADER)
    swapped = replace(sealed.header, keys=sealed.header.keys[::-1])
    refused(sealed, swapped.framed() + rest, tmp_path, HEADER)
    # Eve wraps a file key of her own for herself: it fits nothing.
    eve = wrap_for(pairs[1]["eve"].public, bytes(32), sealed.header.seal)
    added = replace(sealed.header, keys=(*sealed.header.keys, eve))
    refused(sealed, added.framed() + rest, tmp_path, HEADER, key="eve")
    refused(sealed, added.framed() + rest, tmp_path, HEADER, key="ana")
    for changed in (
        replace(sealed.header, chunk_bytes=2 * CHUNK),
        replace(sealed.header, seal=bytes(32)),
    ):
        refused(sealed, changed.framed() + rest, tmp_path, "was changed")


def test_another_key_or_passphrase_is_told(sealed, tmp_path) -> None:
    with pytest.raises(SealError, match="not sealed for the key") as caught:
        sealed.read(sealed.path, "eve")
    assert sealed.header.keys[0].key in (caught.value.fix or "")
    with pytest.raises(SealError, match="not sealed with a passphrase"):
        unlock_by(None, "some passphrase", None, sealed.keys, sealed.path)(sealed.header)
    with pytest.raises(SealError, match="no private key here opens this file"):
        unlock_by(None, None, None, tmp_path, sealed.path)(sealed.header)
    path = tmp_path / "p.sealed"
    header, _contents = seal_folder(sealed.release, path, [], "right and long", "r", CHUNK, LOG2_N)
    with pytest.raises(SealError, match="this is not the passphrase of this sealed file"):
        unlock_by(None, "wrong and long", None, sealed.keys, path)(header)
    with pytest.raises(SealError, match="needs a passphrase, and none was given"):
        unlock_by(None, None, None, tmp_path, path)(header)
    with pytest.raises(SealError, match="not sealed for the key"):
        unlock_by("ana", None, None, sealed.keys, path)(header)


def test_other_versions_and_other_files(sealed, tmp_path) -> None:
    raw = sealed.path.read_bytes()
    refused(sealed, raw.replace(b"v1\n", b"v2\n", 1), tmp_path, "another version of Afina")
    refused(sealed, b"PK\x03\x04" + raw, tmp_path, "this is no sealed file")


@pytest.mark.parametrize(
    "change",
    [
        {"log2_n": 40}, {"log2_n": 19}, {"log2_n": 13}, {"log2_n": True}, {"log2_n": "17"},
        {"kdf": "md5"}, {"salt": ""}, {"p": 4096},
    ],
)  # fmt: skip
def test_a_hostile_file_cannot_ask_for_memory_or_time(sealed, tmp_path, change) -> None:
    path = tmp_path / "p.sealed"
    header, _contents = seal_folder(sealed.release, path, [], "right and long", "r", CHUNK, LOG2_N)
    raw, before = path.read_bytes(), header.framed()
    value = json.loads(header.encoded())
    value["recipients"][0]["passphrase"].update(change)
    encoded = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    path.unlink()
    refused(
        sealed, MAGIC + len(encoded).to_bytes(4, "big") + encoded + raw[len(before) :], tmp_path, HEADER
    )


def test_a_header_of_gigabytes_is_not_read(sealed, tmp_path) -> None:
    refused(sealed, MAGIC + b"\xff\xff\xff\xff" + bytes(1000), tmp_path, HEADER)
    deep = b"[" * 100_000
    refused(sealed, MAGIC + len(deep).to_bytes(4, "big") + deep + bytes(40), tmp_path, HEADER)


# --- whoever holds the key may be hostile, too ---------------------------------------------------


def malicious(people, contents: Contents, chunks: dict[str, bytes]) -> bytes:
    """A file that is sealed by all the rules, with a list of files of the sealer's choice."""
    file_key, seal = bytes(range(32)), bytes(32)
    header = Header(seal, CHUNK, (wrap_for(people["ana"].public, file_key, seal),), None)
    listed = ContentsCipher(file_key, header).encrypt(contents.encoded())
    raw = header.framed() + header_mac(file_key, header) + len(listed).to_bytes(4, "big") + listed
    for number, file in enumerate(contents.files):
        cipher = FileCipher(file_key, header, bytes.fromhex(contents.manifest_sha256), number, file.path)
        with suppress(UnicodeEncodeError):  # a path that is no text has no chunk either
            raw += cipher.encrypt(0, True, chunks.get(file.path, b""))
    return raw


@pytest.mark.parametrize(
    "path",
    [
        "../x", "a/../../x", "/etc/passwd", "a//b", "./a", "a/.", "", "C:/x", "c:x", "a\\..\\x", "a\0b",
        "a\nb", "nul", "aux.txt", "a/com1", "end.", "end ", "x" * 256, "/".join(["y" * 100] * 11),
        "\ud800", "a:stream",
    ],
)  # fmt: skip
def test_paths_that_lead_out_or_mean_something_else(sealed, tmp_path, pairs, path) -> None:
    contents = Contents("r", "0" * 64, (SealedFile(path, 0), SealedFile("manifest.json", 0)))
    refused(sealed, malicious(pairs[1], contents, {}), tmp_path, "no safe path")


@pytest.mark.parametrize(
    "paths", [("a", "a"), ("a", "A"), ("a", "a/b"), ("\u00e9", "e\u0301"), ("a/b", "A")]
)
def test_names_that_are_there_twice(sealed, tmp_path, pairs, paths) -> None:
    files = (*(SealedFile(path, 0) for path in paths), SealedFile("manifest.json", 0))
    contents = Contents("r", "0" * 64, files)
    refused(sealed, malicious(pairs[1], contents, {}), tmp_path, "is there twice")


def test_a_list_that_does_not_fit_the_manifest(sealed, tmp_path, pairs) -> None:
    def sealed_with(manifest: bytes, digest: str | None = None) -> bytes:
        files = (SealedFile("a", 1), SealedFile("manifest.json", len(manifest)))
        wanted = hashlib.sha256(manifest).hexdigest() if digest is None else digest
        return malicious(pairs[1], Contents("r", wanted, files), {"a": b"x", "manifest.json": manifest})

    def manifest(**digests: str) -> bytes:
        return json.dumps(
            {"files": {path: {"sha256": value} for path, value in digests.items()}}
        ).encode()

    right = manifest(a=hashlib.sha256(b"x").hexdigest())
    refused(sealed, sealed_with(right, "0" * 64), tmp_path, "manifest.json is not the one")
    refused(sealed, sealed_with(manifest(a="0" * 64)), tmp_path, "a is not the file that the release's")
    refused(sealed, sealed_with(manifest(b="0" * 64)), tmp_path, "names b, which is missing")
    for damaged in (b"{", b"[]", b'{"files": {"a": 1}}', b"[" * 1000):
        refused(sealed, sealed_with(damaged), tmp_path, "manifest.json cannot be read")
    contents = Contents("r", "0" * 64, (SealedFile("a", 0),))
    refused(sealed, malicious(pairs[1], contents, {}), tmp_path, "there is no manifest.json")
    huge = Contents("r", "0" * 64, (SealedFile("manifest.json", 1 << 45),))
    refused(sealed, malicious(pairs[1], huge, {}), tmp_path, "this sealed file was cut")


# --- any bytes ---------------------------------------------------------------------------------

FEW = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def right_or_refused(sealed, path: Path) -> None:
    refusal: AfinaError | None = None
    try:
        assert sealed.read(path) == files_of(sealed.release)
    except AfinaError as error:
        refusal = error
    assert refusal is None or (refusal.what and "\n" not in refusal.what)


@FEW
@given(raw=st.binary(max_size=300), begun=st.booleans())
def test_any_bytes_give_one_error(sealed, tmp_path, raw, begun) -> None:
    path = tmp_path / "any.sealed"
    path.write_bytes((MAGIC if begun else b"") + raw)
    right_or_refused(sealed, path)


@FEW
@given(st.data())
def test_any_edits_give_the_right_files_or_one_error(sealed, tmp_path, data) -> None:
    """Parts replaced, cut out, put in, repeated, in a file that was right."""
    raw = sealed.path.read_bytes()
    for _number in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(raw)))
        end = data.draw(st.integers(start, min(len(raw), start + 2000)))
        middle = data.draw(st.one_of(st.binary(max_size=20), st.just(raw[start:end] * 2)))
        raw = raw[:start] + middle + raw[end:]
    path = tmp_path / "edited.sealed"
    path.write_bytes(raw)
    right_or_refused(sealed, path)


PLAIN = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
JSON = PLAIN | st.lists(PLAIN, max_size=3) | st.dictionaries(st.text(max_size=8), PLAIN, max_size=3)


@FEW
@given(st.data())
def test_any_header_in_json_gives_a_header_with_the_same_bytes_or_one_error(
    tmp_path, sealed, data
) -> None:
    value = json.loads(sealed.header.encoded())
    target = data.draw(st.sampled_from([value, *value["recipients"]]))
    target[data.draw(st.sampled_from([*target, "other"]))] = data.draw(JSON)
    encoded = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    path = tmp_path / "header.sealed"
    path.write_bytes(MAGIC + len(encoded).to_bytes(4, "big") + encoded + bytes(32))
    with path.open("rb") as file:
        try:
            header, _mac = read_header(file, path)
        except SealError:
            return
    assert header.encoded() == encoded


def test_a_manifest_of_another_release_is_refused_when_sealing(tmp_path, pairs) -> None:
    release = write_release(tmp_path / "r", {"one": 5})
    (release / "one").write_bytes(b"12345")
    with pytest.raises(SealError, match="one is not the file that the release's manifest names"):
        seal_folder(release, tmp_path / "r.sealed", [pairs[1]["ana"].public], None, "r")
    assert list(tmp_path.iterdir()) == [release]
