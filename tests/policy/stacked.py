"""Numbers, parameters and an oracle for tests of policies whose tasks have parameters of their own."""

import torch

from metarl_exp.maths.parameters import stack


def double(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def perturbed(policy, num_tasks):
    """Other parameters for each task."""
    stacked = stack(dict(policy.named_parameters()), num_tasks)
    return {name: x + 0.1 * double(*x.shape, seed=i) for i, (name, x) in enumerate(stacked.items())}


def assert_tasks_apart(policy, x):
    """Assert that the stack in one call equals one call for each of six tasks, with its derivatives."""
    parameters = {name: p.requires_grad_() for name, p in perturbed(policy, 6).items()}
    together = policy(parameters, x)
    alone = [policy({name: p[i] for name, p in parameters.items()}, x[i : i + 1]) for i in range(6)]
    for found, *expected in zip(together, *alone, strict=True):
        torch.testing.assert_close(found, torch.cat(expected), rtol=1e-13, atol=1e-14)
    found, expected = (
        torch.autograd.grad(sum(o.sin().sum() for d in ds for o in d), list(parameters.values()))
        for ds in ([together], alone)
    )
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)
