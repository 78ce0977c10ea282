"""Gymnasium environments, many episodes at once: what a task changes in one, and how they are stepped together."""
