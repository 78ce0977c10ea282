"""Random numbers that are a function of a key and a position: the generator SplitMix64, all keys at once.

A generator with a state has to be seeded for one key after the other; here the i-th number of a key is a hash of
key + i · γ, so whole tables of numbers are made by a few operations on integers.  [steele2014splitmix]
"""

import torch
from torch import Tensor

# Of the algorithm, as the signed integers that torch computes with; products and sums wrap modulo 2⁶⁴ as they should.
GOLDEN_GAMMA = 0x9E3779B97F4A7C15 - 2**64
FIRST_FACTOR = 0xBF58476D1CE4E5B9 - 2**64
SECOND_FACTOR = 0x94D049BB133111EB - 2**64


def keyed_bits(keys: Tensor, count: int) -> Tensor:
    """The first `count` outputs of SplitMix64 seeded with each of the keys [N]: [N, count], 64 bits as int64."""
    z = keys.long().unsqueeze(-1) + GOLDEN_GAMMA * torch.arange(1, count + 1, device=keys.device)
    z = (z ^ shifted(z, 30)) * FIRST_FACTOR
    z = (z ^ shifted(z, 27)) * SECOND_FACTOR
    return z ^ shifted(z, 31)


def keyed_uniforms(keys: Tensor, count: int) -> Tensor:
    """Uniform in (0, 1), both ends excluded: [N, count], float64, the middles of 2⁵² equal intervals."""
    return (shifted(keyed_bits(keys, count), 12).double() + 0.5) * 2.0**-52


def shifted(z: Tensor, places: int) -> Tensor:
    """z shifted right with zeros coming in, which `>>` of a negative number would not do."""
    return (z >> places) & (2 ** (64 - places) - 1)
