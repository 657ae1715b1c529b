"""Near-duplicates against exact Jaccard similarity, on planted pairs."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from afina.data.duplicates import Clusters, NearDuplicates, content_hash, shingles

WORDS = [f"w{number}" for number in range(4000)]


def jaccard(left: str, right: str) -> float:
    one, two = shingles(left), shingles(right)
    return len(one & two) / len(one | two)


def clusters(texts: list[str], threshold: float = 0.8) -> np.ndarray:
    near = NearDuplicates(threshold)
    for text in texts:
        near.add(text)
    return near.clusters()


def changed(words: list[str], count: int, dice: random.Random) -> list[str]:
    """The same words with `count` of them exchanged."""
    words = list(words)
    for place in dice.sample(range(len(words)), count):
        words[place] = dice.choice(WORDS) + "x"
    return words


def test_equal_content_ignores_case_and_spaces():
    assert content_hash("Hola  MUNDO\n") == content_hash("hola mundo")
    assert content_hash("hola mundo") != content_hash("hola, mundo")
    assert 0 <= content_hash("") < 2**64


def test_shingles_are_word_triples():
    assert shingles("The cat sat. The cat") == {b"the cat sat", b"cat sat the", b"sat the cat"}
    assert shingles("Two words") == {b"two words"}
    assert shingles("¡!") != shingles("🙂")
    assert shingles("") == {b""}


def test_planted_pairs_are_found_and_unlike_ones_are_not():
    dice = random.Random(5)
    texts, pairs = [], []
    for number in range(200):
        words = dice.choices(WORDS, k=150)
        other = changed(words, 1 if number % 2 else 20, dice)
        texts += [" ".join(words), " ".join(other)]
        pairs.append(jaccard(*texts[-2:]))
    found = clusters(texts)
    assert min(pairs[1::2]) >= 0.9
    assert max(pairs[::2]) <= 0.5 * 1.3
    joined = [found[2 * number] == found[2 * number + 1] for number in range(200)]
    assert all(joined[1::2])
    assert not any(same for same, exact in zip(joined, pairs, strict=True) if exact <= 0.5)
    assert sum(exact <= 0.5 for exact in pairs) > 20
    assert len(set(found.tolist())) >= 300  # and no two texts that were not planted together


def test_a_chain_of_many_near_equal_rows_is_one_cluster_named_by_its_first():
    dice = random.Random(1)
    words = dice.choices(WORDS, k=300)
    texts = ["something else entirely here"] + [" ".join(changed(words, 1, dice)) for _ in range(60)]
    assert clusters(texts).tolist() == [0] + [1] * 60


def test_more_rows_than_a_block_and_no_rows():
    texts = [f"a{number} b{number} c{number} d{number}" for number in range(10_050)] + ["a7 b7 c7 d7"]
    found = clusters(texts)
    assert found[-1] == 7
    assert len(np.unique(found)) == 10_050
    assert clusters([]).tolist() == []


@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=40))
def test_disjoint_sets_equal_a_plain_search(pairs):
    sets = Clusters(20)
    for left, right in pairs:
        sets.join(left, right)
    reach = {number: {number} for number in range(20)}
    for left, right in pairs:
        whole = reach[left] | reach[right]
        for number in whole:
            reach[number] = whole
    assert sets.roots().tolist() == [min(reach[number]) for number in range(20)]
