"""Trackers: copies of what the run writes to its own folder. None may ever stop or delay training."""

from metarl_exp.runs.tracker.base import NoTracker, RunInfo, Tracker
from metarl_exp.runs.tracker.wandb_tracker import WandbTracker

__all__ = ["NoTracker", "RunInfo", "Tracker", "WandbTracker"]
