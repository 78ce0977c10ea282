# ruff: noqa: F401
"""Wiring: from a configuration to objects, and from a stored run back to them.

An override is checked in `overrides` and composed in `composing`; `components` makes one object of a node, `assembly`
all parts of a run. With the commands this wing alone knows Hydra and OmegaConf.
"""

from typing import TYPE_CHECKING

from metarl_exp.exports import on_demand

if TYPE_CHECKING:
    from metarl_exp.wiring.assembly import Parts, assemble, training_steps
    from metarl_exp.wiring.components import component
    from metarl_exp.wiring.composing import canonical, compose, config_dir, options
    from metarl_exp.wiring.config_file import store_config
    from metarl_exp.wiring.devices import device_continued, device_named
    from metarl_exp.wiring.distributions import task_distribution, task_node, task_settings, tasks_of
    from metarl_exp.wiring.fingerprints import differing_keys, fingerprint, fingerprinted, run_name
    from metarl_exp.wiring.keys import NOT_IN_FINGERPRINT
    from metarl_exp.wiring.moved import current_override, with_current_keys
    from metarl_exp.wiring.overrides import check_overrides, typed
    from metarl_exp.wiring.staleness import code, environment_identity, environments, refuse_other_run
    from metarl_exp.wiring.stored import evaluation_with, load, load_config, theta_iteration
    from metarl_exp.wiring.trust import consequences, foreign_code

# Most of it needs torch, which a command that only shows a configuration does without.
__getattr__, __dir__ = on_demand(
    __name__,
    {
        "assembly": ["Parts", "assemble", "training_steps"],
        "components": ["component"],
        "composing": ["canonical", "compose", "config_dir", "options"],
        "config_file": ["store_config"],
        "devices": ["device_continued", "device_named"],
        "distributions": ["task_distribution", "task_node", "task_settings", "tasks_of"],
        "fingerprints": ["differing_keys", "fingerprint", "fingerprinted", "run_name"],
        "keys": ["NOT_IN_FINGERPRINT"],
        "moved": ["current_override", "with_current_keys"],
        "overrides": ["check_overrides", "typed"],
        "staleness": ["code", "environment_identity", "environments", "refuse_other_run"],
        "stored": ["evaluation_with", "load", "load_config", "theta_iteration"],
        "trust": ["consequences", "foreign_code"],
    },
)
