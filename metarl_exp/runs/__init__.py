"""Runs on disk: folders, checkpoints, metrics, provenance, results, sweeps and trackers."""
