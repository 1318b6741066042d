"""The random llama: its geometry is what the tests of tensor parallelism count on."""

import numpy as np
import pytest

from e2e.models.tiny_llama import SHAPE, random_weights


@pytest.mark.parametrize("size", [2, 4, 8])
def test_every_dimension_that_tensor_parallelism_divides_is_divisible(size: int) -> None:
    dimensions = (SHAPE.heads, SHAPE.kv_heads, SHAPE.vocabulary, SHAPE.intermediate, SHAPE.hidden)
    assert [dimension % size for dimension in dimensions] == [0] * 5


def test_a_token_takes_32_kib_of_kv_cache() -> None:
    assert 2 * SHAPE.layers * SHAPE.kv_heads * SHAPE.head_dim * 2 == 32 * 1024


def test_the_same_seed_gives_the_same_weights_and_norms_are_one() -> None:
    tensors = {"a.weight": (4, 8), "norm.weight": (8,)}
    first, second, other = random_weights(tensors), random_weights(tensors), random_weights(tensors, seed=9)
    assert first["a.weight"].tobytes() == second["a.weight"].tobytes()
    assert first["a.weight"].tobytes() != other["a.weight"].tobytes()
    assert np.array_equal(first["norm.weight"], np.ones(8, np.float32))
