"""Overrides that are wrong in every way that can be generated from the configuration, drawn with a fixed seed.

Each is refused with one line, or it is sensible by a rule (`sense_of`) that knows nothing of the checks.
"""

import math
import random
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from metarl_exp import wiring
from metarl_exp.process.place import ProcessInfo
from metarl_exp.process.ranks import ALONE
from metarl_exp.tasks.base import Closeable
from metarl_exp.validation import installed_memory
from metarl_exp.wiring.arguments import refusing

BASES = (
    ["tasks=navigation_2d"],
    ["policy=mlp_critic", "advantage=critic", "outer_optimizer=adam", "objective.value_weight=1"],
    ["tasks=pendulum", "objective=promp", "outer_optimizer=ppo", "tracker=wandb"],
    ["tasks=bernoulli_bandit", "policy=rnn", "inner_optimizer=meta_sgd"],
    ["tasks=cartpole", "inner_optimizer=adam", "fast_weights=head"],
)
TRIED, FAST = 330, 20  # of the former some are sensible; the latter are tried always
ANYTHING = ("project", "entity", "group", "tags", "id", "output_root", "success_key", "attribute")  # texts, not options
FROM_ZERO = (  # numbers that may be 0: the names of counts, seeds, tolerances and shares that mean «none» then
    "seed", "task_seed", "iterations", "inner_steps", "steps", "workers", "discount", "gae_lambda", "cg_damping",
    "cg_tolerance", "kl_penalty",
)  # fmt: skip


def wrong_types(key: str, value: Any) -> Iterator[str]:
    yield f"{key}={{a: 1}}"
    yield f"{key}=[[1]]"
    if isinstance(value, bool | int | float):
        yield from (f"{key}=perhaps", f"{key}=[1]")
    if isinstance(value, list | dict):
        yield from (f"{key}=5", f"{key}=some", f"{key}=true")
    if isinstance(value, int | float):
        yield f"{key}={'2' if isinstance(value, bool) else 'true'}"
    if value is not None:
        yield f"{key}=null"


def ranges(key: str, value: Any) -> Iterator[str]:
    for number in ("-1", "0", "0.5", "nan", "inf", "-inf", "1e400", "1" + "0" * 30, "1" + "0" * 12):
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{key}={number}"
        if isinstance(value, list) and value and not isinstance(value[0], str):
            yield from (f"{key}=[{number}]", f"{key}=[1,{number}]")


def other_options(key: str, value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield from (f"{key}={value[:-1]}", f"{key}={value.upper()}_", f"{key}=", f"{key}=no.such.Thing")
        yield f"{key}='тань'"


def keys(key: str, value: Any) -> Iterator[str]:
    group, _, name = key.rpartition(".")
    inside = f"{group}." if group else ""
    yield from (f"{inside}{name[:-1]}=1", f"{inside}{name}s=1", f"+{inside}{name}_too=1", f"++{key}x=1", f"+{key}=1")
    yield from (f"~{key}", f"{key.upper()}=1", f"{group or 'x'}/{name}=1", f"~{inside}{name[1:]}", f"{key}@seed=1")


def nestings(key: str, value: Any) -> Iterator[str]:
    group = key.split(".")[0]
    yield from (f"{key}.sub=1", f"+{key}.sub=1", f"{key}.0=1", f"{key}={{sub: {{sub: 1}}}}", f"{key}=[{{a: 1}}]")
    if group != key:
        yield from (f"{group}=5", f"{group}=null", f"{group}={{a: 1}}", f"{group}=[1]", f"~{group}", f"{group}=")


def quotings(key: str, value: Any) -> Iterator[str]:
    for text in ("'{}", '"{}', "[{}", "{{{}", "{}]", "{},", "é{}", "{} é", "$({})", "${{nowhere}}", "???", "{}='"):
        yield f"{key}={text.format(value)}"
    yield from (key, f"={value}", f"{key}:{value}", f"--{key}", f"{key}=={value}", f"{key}=${{oc.env:NO_SUCH}}")


KINDS: dict[str, Callable[[str, Any], Iterator[str]]] = {
    "wrong type": wrong_types,
    "range": ranges,
    "option": other_options,
    "key": keys,
    "nesting": nestings,
    "quoting": quotings,
}


def leaves(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values, lists and empty mappings as values."""
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def plain(config: DictConfig) -> dict[str, Any]:
    return dict(leaves(OmegaConf.to_container(config, resolve=True)))  # type: ignore[arg-type]


def drawn(number: int) -> list[tuple[str, list[str], str]]:
    """So many of (kind, base, override), the kinds in turn."""
    chance, found = random.Random(0), []
    trees = [(base, plain(wiring.compose(base))) for base in BASES]
    for i in range(number):
        kind = list(KINDS)[i % len(KINDS)]
        base, tree = chance.choice(trees)
        of_each = (list(KINDS[kind](*leaf)) for leaf in chance.sample(list(tree.items()), len(tree)))
        found.append((kind, base, chance.choice(next(filter(None, of_each)))))
    return found


def may_be_null(key: str) -> bool:
    """Whether a file of the configuration has null for a key, or says so beside it."""
    group, _, name = key.rpartition(".")
    files = (wiring.config_dir() / group).glob("*.yaml") if group else [wiring.config_dir() / "train.yaml"]
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    return any(line.strip().startswith(f"{name}:") and "null" in line for line in lines)


def numbers_in(value: Any) -> list[Any]:
    return [x for x in (value if isinstance(value, list) else [value]) if isinstance(x, int | float)]


def kind_of(value: Any) -> str:
    if isinstance(value, list):
        return "list of " + "/".join(sorted({kind_of(x) for x in value}))
    names = {bool: "flag", int: "number", float: "number", str: "text", dict: "mapping", type(None): "null"}
    return names[type(value)]


def sense_of(before: dict[str, Any], after: dict[str, Any]) -> str | None:
    """Why an override that was accepted is sensible; None if it is not."""
    changed = [key for key in before | after if before.get(key, "absent") != after.get(key, "absent")]
    if not changed:
        return "it says what is so already"
    reasons = [_sense_of_one(key, before[key], after.get(key)) if key in before else None for key in changed]
    return None if None in reasons else "; ".join(str(reason) for reason in reasons)


def _sense_of_one(key: str, old: Any, new: Any) -> str | None:
    name = key.split(".")[-1]
    if new is None:
        return "null is allowed there" if may_be_null(key) else None
    if (key, new) == ("tracker.mode", ""):
        return "an empty mode records offline, as WANDB_MODE= does"
    if new == [] and name in ("hidden_sizes", "wrappers", "tags"):
        return "there may be none"
    if name in ANYTHING and kind_of(new) == "text" and new:
        return "any text will do"
    if kind_of(new) != kind_of(old) or "text" in kind_of(new):
        return None
    found = numbers_in(new)
    if all(math.isfinite(x) and x >= 0 for x in found) and (any(found) or name in FROM_ZERO):
        return "a number of the same kind"
    return None


def outcome(base: list[str], override: str, printed: Callable[[], str]) -> tuple[str, str]:
    """One of the tally's outcomes, or «sensible», and what was said."""
    try:
        with refusing(ProcessInfo()):
            wiring.check_overrides([*base, override])
            config = wiring.compose([*base, override])
            distribution = wiring.assemble(config, ALONE, installed_memory()).learner.task_distribution
    except SystemExit as refusal:
        said = str(refusal.code)
        group = re.split(r"[.=/@:]", override.lstrip("+~-"))[0]
        named = override in said or (group and group in said)
        one_line = said.startswith("metarl-train: ") and "\n" not in said and len(said) < 1000
        return ("refused" if one_line and named and not printed() else "traceback"), said
    if isinstance(distribution, Closeable):
        distribution.close()
    why = sense_of(plain(wiring.compose(base)), plain(config))
    return ("sensible", why) if why else ("changed", "accepted")


def require_refused(cases: list[tuple[str, list[str], str]], capsys: Any, tally: Callable[[str, str], None]) -> None:
    wrong = []
    for kind, base, override in cases:
        capsys.readouterr()
        found, said = outcome(base, override, lambda: capsys.readouterr().err)
        if found != "sensible":
            tally(f"overrides: {kind}", found)
        if found not in ("sensible", "refused"):
            wrong.append(f"{found}: {' '.join(base)} {override}: {said}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("base", BASES, ids=" ".join)
def test_every_mutated_override_was_right_before(base):
    wiring.assemble(wiring.compose(base))


def test_some_wrong_overrides_are_refused_with_one_line(capsys, tally):
    require_refused(drawn(FAST), capsys, tally)


@pytest.mark.torture
def test_wrong_overrides_are_refused_with_one_line(capsys, tally):
    require_refused(drawn(TRIED)[FAST:], capsys, tally)
