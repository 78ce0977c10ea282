"""The head in a policy's name: `metarl_exp.policy.MLP` is a network, `GaussianMLP` the same network with its head.

An option such as `policy=mlp` names the network alone, and the tasks' actions decide the head. With it a node is
complete, and as nodes were before heads were chosen by tasks: so fingerprints take it, runs store it, and the options
that there were then (`policy=gaussian_mlp`) are such nodes.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from metarl_exp.policy import CategoricalHead, GaussianHead

POLICY = "metarl_exp.policy."
HEADS = {"Gaussian": GaussianHead, "Categorical": CategoricalHead}
NETWORKS = ("MLP", "ContextMLP", "CriticMLP", "Conv", "RNN", "CriticRNN")
# The network of an option of today, and settings, by the end of the options that there were for each head.
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

_NAMES = {f"{POLICY}{head}{network}": (head, f"{POLICY}{network}") for head in HEADS for network in NETWORKS}


def network(target: str) -> str:
    """A class without the head in its name; as it is, if it is no policy of this package."""
    return _NAMES.get(target, ("", target))[1]


def head_of(target: str) -> str | None:
    """The head in a class's name, `Gaussian` or `Categorical`, if there is one."""
    return _NAMES[target][0] if target in _NAMES else None


def takes_a_head(target: str) -> bool:
    """Whether a class is a network that the tasks' actions have yet to give a head."""
    return target in {found for _, found in _NAMES.values()}


def head_settings(head: str) -> set[str]:
    """The settings that a head takes."""
    return set(inspect.signature(HEADS[head]).parameters) - {"spec"}


def with_head(node: Mapping[str, Any], discrete: bool) -> dict[str, Any]:
    """The node of a network with the head that such actions have: in its name, and its settings alone."""
    head = "Categorical" if discrete else "Gaussian"
    others = set().union(*map(head_settings, HEADS)) - head_settings(head)
    target = str(node["_target_"]).removeprefix(POLICY)
    return {k: v for k, v in node.items() if k not in others} | {"_target_": f"{POLICY}{head}{target}"}


def former_options(offered: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The options of `policy` that had a head in their name, with their nodes, from those of today."""
    for end, (option, settings) in FORMER.items():
        for head in HEADS:
            yield f"{head.lower()}_{end}", with_head({**offered[option], **settings}, head == "Categorical")
