"""Environment steps a second of half-cheetah and ant, against Gymnasium's vector environments and MuJoCo alone.

    python benchmarks/locomotion.py [--repeats 5] [--output FILE.json [--add]]   # and FILE.md, the table
    python benchmarks/locomotion.py --check                              # Gymnasium's environments compute the same

Whole episodes of 20 tasks × 20 trajectories, in one process, where all variants take turns:

- `sampling`: what the package does, `metarl_exp.algorithm.sampler.sample_episodes` with a policy of two hidden layers
  of 100;
- `open loop`: the package's environments from the same states with the same actions, without the policy that chose
  them: the ceiling of the former;
- `mujoco.rollout`: the same 400 whole episodes in one call, which computes no observation, reward or end;
- `gymnasium sync`, `gymnasium async`: Gymnasium's vector environments with the actions of the first four episodes (of
  `async` each is a process); in rllab's physics Gymnasium's class with that model, observation and reward.

All take the actions of one rollout, since a step that presses a robot to the ground costs more than another. A step is
one action of an episode that is not over. Of each variant the fastest repeat counts: whatever else happens on a machine
only slows.
"""

from __future__ import annotations

import metarl_exp  # noqa: F401  before torch, whose threads it tells how to wait

# isort: split
import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import gymnasium
import mujoco
import numpy as np
import torch
from gymnasium.envs.mujoco.ant_v5 import AntEnv
from gymnasium.envs.mujoco.half_cheetah_v5 import HalfCheetahEnv
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv
from measuring import QUIET, Record, machine, others_seconds, store, three_digits, wait_for_quiet
from physics import OpenLoop

from metarl_exp.algorithm.sampler import action_noise, sample_episodes
from metarl_exp.policy import GaussianMLP
from metarl_exp.process.allocator import keep_freed_memory
from metarl_exp.tasks.mujoco import AntDirection, HalfCheetahDirection
from metarl_exp.types import Trajectories

VARIANTS = ("gymnasium sync", "gymnasium async", "sampling", "open loop", "mujoco.rollout")
THREADS = (1, 2)
ENVIRONMENTS = 4  # of Gymnasium's vector environments


# --- Gymnasium's environments in rllab's physics: what `tasks/mujoco/robots/` says, for one MjData ----------------


class RllabStart:
    """The start that both robots share."""

    def reset_model(self: Any) -> np.ndarray:
        noise = self.np_random.normal(size=self.model.nq), self.np_random.normal(size=self.model.nv)
        self.set_state(self.init_qpos + 0.01 * noise[0], 0.1 * noise[1])
        return self._get_obs()


class RllabCheetah(RllabStart, HalfCheetahEnv):
    """One time step an action, true velocity of the centre of mass."""

    def __init__(self) -> None:
        super().__init__(frame_skip=1)
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, self._get_obs().shape, np.float64)

    def step(self, action: np.ndarray) -> Any:
        self.data.ctrl[:] = action
        mujoco.mj_step(self.model, self.data)
        observation = self._get_obs()
        reward = self.data.subtree_linvel[1, 0] - 0.05 * np.square(action).sum()
        return observation, reward, False, False, {}

    def _get_obs(self) -> np.ndarray:
        mujoco.mj_forward(self.model, self.data)
        mujoco.mj_subtreeVel(self.model, self.data)
        return np.concatenate([self.data.qpos[1:], self.data.qvel, self.data.subtree_com[1]])


class RllabAnt(RllabStart, AntEnv):
    """Twice the time step, softer contacts."""

    def __init__(self) -> None:
        super().__init__(frame_skip=1)
        self.model.opt.timestep = 0.02
        self.model.geom_solref[:], self.model.geom_solimp[:, :3] = (0.02, 1), (0.8, 0.8, 0.01)
        self.init_qpos = self.model.numeric("init_qpos").data
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, self._get_obs().shape, np.float64)

    def step(self, action: np.ndarray) -> Any:
        self.data.ctrl[:] = action
        mujoco.mj_step(self.model, self.data)
        observation = self._get_obs()
        contact_cost = 0.0005 * np.square(np.clip(self.data.cfrc_ext, -1, 1)).sum()
        reward = self.data.subtree_linvel[1, 0] + 0.05 - 0.005 * np.square(action).sum() - contact_cost
        return observation, reward, not 0.2 <= self.data.qpos[2] <= 1.0, False, {}

    def _get_obs(self) -> np.ndarray:
        for settle in (mujoco.mj_forward, mujoco.mj_rnePostConstraint, mujoco.mj_subtreeVel):
            settle(self.model, self.data)
        forces, data = np.clip(self.data.cfrc_ext, -1, 1), self.data
        return np.concatenate([data.qpos, data.qvel, forces.ravel(), data.xmat[1], data.subtree_com[1]])


class Case(NamedTuple):
    """A robot in a physics setting: the package's distribution, and Gymnasium's environment of it at `ahead`."""

    distribution: Callable[[str, int], Any]
    physics: str
    environment: Callable[[], gymnasium.Env[Any, Any]]


CASES = {
    "half-cheetah, gymnasium": Case(HalfCheetahDirection, "gymnasium", HalfCheetahEnv),
    "half-cheetah, rllab": Case(HalfCheetahDirection, "rllab", RllabCheetah),
    "ant, gymnasium": Case(AntDirection, "gymnasium", AntEnv),
    "ant, rllab": Case(AntDirection, "rllab", RllabAnt),
}


# --- The variants: a function that runs whole episodes and says how many steps they took -----------------------------


class Runners:
    """All variants of a case, made once."""

    def __init__(self, case: Case, tasks: int, trajectories: int, horizon: int) -> None:
        generator = torch.Generator().manual_seed(0)
        distribution = case.distribution(case.physics, horizon)
        self.distribution, self.horizon, self.shape = distribution, horizon, (tasks, trajectories)
        rows = distribution.sample(tasks, generator)
        self.env = distribution.make_env(rows, trajectories, generator, torch.device("cpu"))
        self.policy = GaussianMLP([100, 100], "relu", 1.0, 1e-6, 10.0, distribution.spec, generator, torch.float32)
        parameters = {name: p.detach() for name, p in self.policy.named_parameters()}
        self.parameters = {name: p.expand(tasks, *p.shape).clone() for name, p in parameters.items()}
        self.actions = self.rollout().actions.permute(2, 0, 1, 3).contiguous()
        limited = partial(gymnasium.wrappers.TimeLimit, max_episode_steps=horizon)
        makers = [lambda: limited(case.environment())] * ENVIRONMENTS
        self.vector = {
            "gymnasium sync": SyncVectorEnv(makers),
            "gymnasium async": AsyncVectorEnv(makers, context="spawn"),
        }

    def run(self, variant: str) -> int:
        """Whole episodes of a variant; the number of steps."""
        if variant in self.vector:
            return self.gymnasium(self.vector[variant])
        return {"sampling": self.sampling, "open loop": self.open_loop, "mujoco.rollout": self.physics}[variant]()

    def rollout(self) -> Trajectories:
        noise = action_noise(self.policy, self.shape, torch.Generator().manual_seed(1))
        return sample_episodes(self.env, self.policy, self.parameters, noise)

    def sampling(self) -> int:
        return int(self.rollout().mask.sum())

    def open_loop(self) -> int:
        alive, steps = torch.ones(self.shape, dtype=torch.bool), 0
        self.env.reset()
        for action in self.actions:
            steps += int(alive.sum())
            alive &= ~self.env.step(action).terminal
            if not alive.any():
                break
        return steps

    def gymnasium(self, env: Any) -> int:
        """As many steps as an episode has at most; a step after an end resets and does not count."""
        env.reset(seed=0)
        over, steps = np.zeros(ENVIRONMENTS, dtype=bool), 0
        for action in self.actions[:, 0, :ENVIRONMENTS].clamp(-1, 1).numpy():
            steps += int((~over).sum())
            _, _, terminated, truncated, _ = env.step(action)
            over = terminated | truncated
        return steps

    def prepare(self, variant: str, threads: int) -> None:
        """Warm up: start threads, and compile or load everything that the first step needs."""
        if variant in ("sampling", "open loop"):
            self.env.reset()
            self.env.step(self.actions[0])
        elif variant == "mujoco.rollout":
            self.physics = OpenLoop(self.env, self.actions, threads)

    def close(self) -> None:
        self.distribution.close()
        for env in self.vector.values():
            env.close()


# --- Taking turns, and the report -------------------------------------------------------------------------------------


def measure(tasks: int, trajectories: int, horizon: int, repeats: int, patient: bool) -> Record:
    """{"rates": {case: {threads: {variant: [steps a second of each repeat]}}}, …}"""
    made = {name: Runners(case, tasks, trajectories, horizon) for name, case in CASES.items()}
    rates: Record = {name: {str(threads): {v: [] for v in VARIANTS} for threads in THREADS} for name in CASES}
    busiest = 0.0
    for repeat in range(repeats):
        for threads in THREADS:
            torch.set_num_threads(threads)
            for name, runners in made.items():
                for variant in VARIANTS:
                    runners.prepare(variant, threads)
                    if patient:
                        wait_for_quiet()
                    others, started = others_seconds(), perf_counter()
                    steps = runners.run(variant)
                    seconds = perf_counter() - started
                    rates[name][str(threads)][variant].append(steps / seconds)
                    if variant != "gymnasium async":  # whose processes are others
                        busiest = max(busiest, (others_seconds() - others) / seconds)
                print(f"repeat {repeat}  {threads} threads  {name}", file=sys.stderr, flush=True)
    for runners in made.values():
        runners.close()
    setting = {"tasks": tasks, "trajectories": trajectories, "horizon": horizon, "environments": ENVIRONMENTS}
    where = machine(max(THREADS)) | {"gymnasium": gymnasium.__version__}
    return {"setting": setting, "machine": where, "others_cores": busiest, "rates": rates}


def together(earlier: Record, later: Record) -> Record:
    """Two measurements as one with the repeats of both; ValueError if they are not of the same setting and machine."""
    for key in ("setting", "machine"):
        if earlier[key] != later[key]:
            raise ValueError(f"measured with another {key}: {earlier[key]} and {later[key]}")
    rates = {
        name: {
            threads: {variant: earlier["rates"][name][threads][variant] + more for variant, more in variants.items()}
            for threads, variants in by_threads.items()
        }
        for name, by_threads in later["rates"].items()
    }
    return later | {"rates": rates, "others_cores": max(earlier["others_cores"], later["others_cores"])}


def table(results: Record) -> str:
    """The fastest repeats and their ratios, in Markdown."""
    ratios = {
        "sampling : open loop": ("sampling", "open loop"),
        "sampling : mujoco.rollout": ("sampling", "mujoco.rollout"),
        "sampling : best of gymnasium": ("sampling", "gymnasium sync", "gymnasium async"),
    }
    lines = [f"| steps a second | threads | {' | '.join((*VARIANTS, *ratios))} |"]
    lines.append("|---|--:|" + "--:|" * (len(VARIANTS) + len(ratios)))
    for name, by_threads in results["rates"].items():
        for threads, rates in by_threads.items():
            best = {variant: max(rates[variant]) for variant in VARIANTS}
            cells = [three_digits(best[variant]) for variant in VARIANTS]
            cells += [f"{best[ours] / max(best[other] for other in others):.2f}" for ours, *others in ratios.values()]
            lines.append(f"| {name} | {threads} | {' | '.join(cells)} |")
    where, setting = results["machine"], results["setting"]
    repeats = len(rates[VARIANTS[0]])
    lines += [
        "",
        f"The fastest of {repeats} runs of {setting['tasks']} × {setting['trajectories']} episodes of at most "
        f"{setting['horizon']} steps (Gymnasium: {setting['environments']} environments). {where['cpu']}, "
        f"{where['cores']} cores, torch {where['torch']}, MuJoCo {where['mujoco']}, Gymnasium {where['gymnasium']}; "
        f"other processes used at most {results['others_cores']:.2f} cores"
        + ("." if results["others_cores"] < QUIET else ": not an idle machine, so that only ratios tell something."),
    ]
    return "\n".join(lines)


def check() -> bool:
    """From the same state, with the same actions: the same observations and rewards, but for the warm start."""
    good = True
    for name, case in CASES.items():
        generator, ahead = torch.Generator().manual_seed(0), torch.ones(1, 1, dtype=torch.float64)
        distribution, oracle = case.distribution(case.physics, 20), case.environment()
        env = distribution.make_env(ahead, 1, generator, torch.device("cpu"))
        oracle.reset(seed=0)
        mujoco.mj_resetData(oracle.model, oracle.data)
        oracle.set_state(*(x[0] for x in env.start))
        worst = float(np.abs(env.reset()[0, 0].numpy() - oracle._get_obs()).max())
        for action in torch.randn(20, 1, 1, distribution.spec.action_size, generator=generator).clamp(-1, 1):
            observation, reward, terminal, _, _ = oracle.step(action[0, 0].numpy())
            step = env.step(action)
            worst = max(worst, float(np.abs(step.observation[0, 0].numpy() - observation).max()))
            worst = max(worst, abs(step.reward.item() - reward))
            if terminal or step.terminal.item():
                worst = worst if terminal == step.terminal.item() else np.inf
                break
        good &= worst < 1e-4
        print(f"{'ok ' if worst < 1e-4 else 'BAD'}  {name:<26} {worst:.1e}")
    return good


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="runs of each variant")
    parser.add_argument("--tasks", type=int, default=20)
    parser.add_argument("--trajectories", type=int, default=20)
    parser.add_argument("--horizon", type=int, default=200)
    parser.add_argument("--impatient", action="store_true", help="do not wait until the machine is idle")
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="where measurements are written; FILE.md too")
    parser.add_argument("--add", action="store_true", help="to the repeats that are in FILE.json already")
    parser.add_argument("--check", action="store_true", help="only check that Gymnasium's environments are the same")
    arguments = parser.parse_args()
    keep_freed_memory()
    if arguments.check:
        sys.exit(0 if check() else 1)
    results = measure(
        arguments.tasks, arguments.trajectories, arguments.horizon, arguments.repeats, not arguments.impatient
    )
    if arguments.add and arguments.output and arguments.output.exists():
        results = together(json.loads(arguments.output.read_text(encoding="utf-8")), results)
    print(table(results))
    store(results, arguments.output)
    if arguments.output:
        arguments.output.with_suffix(".md").write_text(table(results) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
