"""Sentence embeddings, against the package's own way of computing them where that is installed."""

from __future__ import annotations

import numpy as np

from kinema.conditions.text import TEXT_DIMENSIONS, TextEncoder


def test_likeness_of_sentences() -> None:
    encoder = TextEncoder.load()
    walks, strolls, jumps = encoder.encode(["a person walks forward", "someone strolls ahead", "a man jumps"])
    assert walks.shape == (TEXT_DIMENSIONS,)
    np.testing.assert_allclose(np.linalg.norm(walks), 1, atol=1e-5)
    # the published model gives 0.756 for this pair
    assert abs(walks @ strolls - 0.756) < 2e-3
    assert walks @ jumps < 0.4


def test_padding_does_not_change_an_embedding() -> None:
    encoder = TextEncoder()
    long = "a person walks forward, then turns around slowly and waves with the left hand at somebody far away"
    together = encoder.encode(["a person sits", long])[0]
    np.testing.assert_allclose(together, TextEncoder().encode(["a person sits"])[0], atol=1e-5)


def test_sides_are_opposite_and_absent_where_none_is_named() -> None:
    left, right, none = TextEncoder.load().encode_sided(
        ["a person raises the left hand", "a person raises the right hand", "a person walks"]
    )
    np.testing.assert_allclose(left[TEXT_DIMENSIONS:], -right[TEXT_DIMENSIONS:], atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(left[TEXT_DIMENSIONS:]), 1, atol=1e-5)
    assert not none[TEXT_DIMENSIONS:].any()
    other = TextEncoder.load().encode_sided(["someone turns to the left"])[0]
    assert left[TEXT_DIMENSIONS:] @ other[TEXT_DIMENSIONS:] > 0.3  # left is left, whatever is done with it
