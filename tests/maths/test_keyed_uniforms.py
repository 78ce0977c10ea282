"""SplitMix64 against its published outputs, and what is drawn with it against the uniform law."""

import torch
from scipy import stats

from metarl_exp.maths.keyed_uniforms import keyed_bits, keyed_uniforms


def unsigned(bits):
    return [x % 2**64 for x in bits.tolist()]


def test_bits_are_splitmix64_s():
    """Its reference outputs for the seeds 0 and 1234567."""
    bits = keyed_bits(torch.tensor([0, 1234567]), 5)
    assert unsigned(bits[0, :3]) == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert unsigned(bits[1]) == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


def test_bits_equal_python_s_integers_modulo_two_to_the_sixty_four():
    """Of large keys, where signs and carries would show."""

    def reference(key, position):
        z = (key + position * 0x9E3779B97F4A7C15) % 2**64
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        return z ^ (z >> 31)

    keys = [2**53 - 1, 2**52 + 12345, 7]
    bits = keyed_bits(torch.tensor(keys), 40)
    assert [unsigned(row) for row in bits] == [[reference(key, i) for i in range(1, 41)] for key in keys]


def test_a_longer_table_begins_with_the_shorter_one_and_a_key_does_not_know_its_neighbours():
    keys = torch.tensor([5, 6, 2**50])
    long, short = keyed_uniforms(keys, 30), keyed_uniforms(keys, 10)
    assert torch.equal(long[:, :10], short)
    assert torch.equal(keyed_uniforms(keys[1:2], 10)[0], short[1])


def test_numbers_are_uniform_and_neither_neighbouring_keys_nor_positions_are_related():
    u = keyed_uniforms(torch.arange(1000), 100)
    assert u.dtype == torch.float64
    assert ((u > 0) & (u < 1)).all()
    assert stats.kstest(u.flatten().numpy(), "uniform").pvalue > 0.001
    for first, second in ((u[:-1], u[1:]), (u[:, :-1], u[:, 1:])):
        correlation = torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1]
        assert correlation.abs() < 4 / first.numel() ** 0.5
