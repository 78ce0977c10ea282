"""Wiring: from a configuration to objects, and from a stored run back to them.

An override is checked in `overrides` and composed in `composing`; `components` makes one object of a node, `assembly`
all parts of a run. With the commands this wing alone knows Hydra and OmegaConf.
"""

from metarl_exp.wiring.assembly import Parts, assemble, training_steps
from metarl_exp.wiring.components import component
from metarl_exp.wiring.composing import canonical, compose, config_dir, options
from metarl_exp.wiring.config_file import store_config
from metarl_exp.wiring.devices import device_continued, device_named
from metarl_exp.wiring.distributions import task_distribution, task_node, task_settings, tasks_of
from metarl_exp.wiring.fingerprint import NOT_IN_FINGERPRINT, differing_keys, fingerprint, fingerprinted, run_name
from metarl_exp.wiring.moved import current_override, with_current_keys
from metarl_exp.wiring.overrides import check_overrides
from metarl_exp.wiring.staleness import code, environment_identity, environments, refuse_other_run
from metarl_exp.wiring.stored import evaluation_with, load, load_config, theta_iteration, typed
from metarl_exp.wiring.trust import consequences, foreign_code

__all__ = [
    "NOT_IN_FINGERPRINT",
    "Parts",
    "assemble",
    "canonical",
    "check_overrides",
    "code",
    "component",
    "compose",
    "config_dir",
    "consequences",
    "current_override",
    "device_continued",
    "device_named",
    "differing_keys",
    "environment_identity",
    "environments",
    "evaluation_with",
    "fingerprint",
    "fingerprinted",
    "foreign_code",
    "load",
    "load_config",
    "options",
    "refuse_other_run",
    "run_name",
    "store_config",
    "task_distribution",
    "task_node",
    "task_settings",
    "tasks_of",
    "theta_iteration",
    "training_steps",
    "typed",
    "with_current_keys",
]
