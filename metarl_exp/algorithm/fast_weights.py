"""Fast weights: the parameters that the inner loop changes. The others are shared by all tasks.

What does not adapt is still learned outside, by way of what adapts on top of it; only a context is not. The choice is
among what actions depend on: a critic adapts by its own loss, or not at all (`adaptation.value_weight`).
"""

from collections.abc import Iterable
from typing import Protocol

from metarl_exp.types import Critic, Policy


def acting_names(policy: Policy) -> list[str]:
    """The names of the parameters that actions depend on: all but those of a critic."""
    critic = policy.critic_names if isinstance(policy, Critic) else frozenset()
    return [name for name, _ in policy.named_parameters() if name not in critic]


class FastWeights(Protocol):
    """A choice of what adapts."""

    def select(self, names: Iterable[str]) -> list[str]:
        """The names among `names` that adapt, in their order."""
        ...


class All:
    """Every parameter that actions depend on adapts, log-std included.  [finn2017maml]"""

    def select(self, names: Iterable[str]) -> list[str]:
        """All of them."""
        return list(names)


class Head:
    """ANIL: the output layer adapts, here with log-std, on features that all tasks share.  [raghu2020anil, Sec. 4]"""

    def __init__(self, policy: Policy) -> None:
        self.head = policy.head_names

    def select(self, names: Iterable[str]) -> list[str]:
        """Names of the head's parameters."""
        return [name for name in names if name in self.head]


class Body:
    """BOIL: everything but the head adapts.  [oh2021boil, Sec. 3]  ValueError for a policy that is all head."""

    def __init__(self, policy: Policy) -> None:
        self.head = policy.head_names
        if not self.select(acting_names(policy)):
            raise ValueError("fast_weights=body: the policy has a head only; it needs hidden layers")

    def select(self, names: Iterable[str]) -> list[str]:
        """Names of all parameters but the head's."""
        return [name for name in names if name not in self.head]


class Context:
    """CAVIA: only context parameters adapt, inputs that are zero at first.  [zintgraf2019cavia, Sec. 3]

    Raises ValueError for a policy that has none.
    """

    def __init__(self, policy: Policy) -> None:
        self.context = policy.context_names
        if not self.context:
            raise ValueError("fast_weights=context: the policy has no context parameters; take policy=mlp_context")

    def select(self, names: Iterable[str]) -> list[str]:
        """The context parameters."""
        return [name for name in names if name in self.context]
