"""The head in a policy's name: `metarl_exp.policy.MLP` is a network, `GaussianMLP` the same network with its head.

An option such as `policy=mlp` names the network alone, and the tasks' actions decide the head. Nodes were complete
before there were such options: with the head in the name, and the settings of that head alone. Fingerprints take
this form, runs store it, and the options of then (`policy=gaussian_mlp`) still have it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

POLICY = "metarl_exp.policy."
# Settings of each head, which are the arguments of its class: said here since composing a configuration needs no class.
HEADS: dict[str, tuple[str, ...]] = {"Gaussian": ("init_std", "min_std", "max_std"), "Categorical": ()}
NETWORKS = ("MLP", "ContextMLP", "CriticMLP", "Conv", "RNN", "CriticRNN")
# Today's option and its settings, by the former option's name after `gaussian_` or `categorical_`.
FORMER: dict[str, tuple[str, dict[str, Any]]] = {
    "mlp": ("mlp", {}),
    "linear": ("mlp", {"hidden_sizes": []}),
    "mlp_context": ("mlp_context", {}),
    "mlp_critic": ("mlp_critic", {}),
    "conv": ("conv", {}),
    "gru": ("rnn", {}),
    "lstm": ("rnn", {"cell": "lstm"}),
    "gru_critic": ("rnn_critic", {}),
}
FORMER_OPTIONS = frozenset(f"{head.lower()}_{end}" for head in HEADS for end in FORMER)
WITHOUT_HEAD = frozenset(f"{POLICY}{network}" for network in NETWORKS)
_WITH_HEAD = {f"{POLICY}{head}{network}": (head, f"{POLICY}{network}") for head in HEADS for network in NETWORKS}


def network(target: str) -> str:
    """A class without the head in its name; as it is, if it is no policy of this package."""
    return _WITH_HEAD.get(target, ("", target))[1]


def head_of(target: str) -> str | None:
    """The head in a class's name, `Gaussian` or `Categorical`, if there is one."""
    return _WITH_HEAD[target][0] if target in _WITH_HEAD else None


def head_for(discrete: bool) -> str:
    """The head for such actions."""
    return "Categorical" if discrete else "Gaussian"


def fitting(node: Mapping[str, Any], discrete: bool) -> dict[str, Any]:
    """A node without the settings of a Gaussian head, if actions are discrete."""
    idle = HEADS["Gaussian"] if discrete else ()
    return {key: value for key, value in node.items() if key not in idle}


def with_head(node: Mapping[str, Any], discrete: bool) -> dict[str, Any]:
    """The node of a network with the head for such actions: in its name, and its settings alone."""
    name = str(node["_target_"]).removeprefix(POLICY)
    return fitting(node, discrete) | {"_target_": f"{POLICY}{head_for(discrete)}{name}"}


def former_options(offered: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The options of `policy` that had a head in their name, with their nodes, from those `offered` today."""
    for end, (option, settings) in FORMER.items():
        for head in HEADS:
            yield f"{head.lower()}_{end}", with_head({**offered[option], **settings}, head == "Categorical")
