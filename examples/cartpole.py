"""MAML on CartPole, by hand: every task has its own physics, and half of them push the other way.

The policy does not see which way a task pushes. Before adaptation it can only fall; a gradient step on a few episodes
of a new task tells it.
"""

import sys

import gymnasium
import torch

from metarl_exp import MetaLearner
from metarl_exp.policy import CategoricalMLP
from metarl_exp.tasks import CartPole


def main(epochs: int = 100) -> None:
    tasks = CartPole(
        horizon=200,
        hidden="force_sign",
        length=[0.3, 0.7],
        pole_mass=[0.05, 0.15],
        cart_mass=[0.7, 1.3],
        gravity=[8.8, 10.8],
        force=[8.0, 12.0],
    )
    torch.manual_seed(0)  # of the initial policy; the learner has streams of its own
    policy = CategoricalMLP(hidden_sizes=[32, 32], activation="tanh", spec=tasks.spec)
    learner = MetaLearner(tasks, policy, inner_lr=0.5, outer_lr=3e-3, inner_steps=1, batch_size=20)
    for iteration in learner.iterations(epochs):
        before, after = iteration.returns.mean(0).tolist()
        print(f"{iteration.number:4d}   return {before:6.1f} → {after:6.1f} after one gradient step")

    env = gymnasium.make("CartPole-v1")  # the real one, which pushes the usual way
    adapted = learner.adapt(env, episodes=20, steps=3)
    observation, _ = env.reset(seed=0)
    total, over = 0.0, False
    while not over:
        observation, reward, terminated, truncated, _ = env.step(adapted.act(observation))
        total, over = total + float(reward), terminated or truncated
    print(f"CartPole-v1: {adapted.returns[0].mean():.1f} before adaptation, {total:.0f} after three gradient steps")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
