"""Keys that a fingerprint leaves out: those that cannot change numbers, and later ones where they change nothing."""

from typing import Any

# Keys that cannot change a run's numbers (beyond rounding). `seed` is beside the fingerprint in a run's name.
NOT_IN_FINGERPRINT = (
    "seed", "tracker", "device", "threads", "environment_timeout", "rank_timeout", "restart", "replay",
    "fail_fast", "output_root", "hydra",
)  # fmt: skip

# Keys of the root, and groups, that were added after runs had been stored, with the value at which they change nothing.
ADDED: dict[str, Any] = {
    "oracle": False,
    "trial_episodes": None,
    "allow_stateful": False,
    "rank_timeout": 600.0,
    "aggregator._target_": "metarl_exp.combiner.Mean",
}
