"""Agents that need no meta-training: the classical ones which published tables compare with."""

from metarl_exp.agents.base import Agent, play

__all__ = ["Agent", "play"]
