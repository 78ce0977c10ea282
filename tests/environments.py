"""Scripted Gymnasium environments: one whose every number is known, and one that goes wrong in the way it is told.

Registered when this module is imported, so that `tests.environments:Scripted-v0` names one for a worker process too.
"""

import contextlib
import ctypes
import multiprocessing
import os
import sys
import time
from collections import Counter

import gymnasium
import numpy as np
import torch

HANGING = multiprocessing.get_context("fork").Semaphore(0)  # as many as environments hang, in forked workers, too


class Inner:
    """Something inside an environment that a task may change."""

    def __init__(self):
        self.masses = np.ones(3)
        self.counts, self.halves = np.ones(2, np.int64), np.ones(2, np.float16)
        self.fixed = (1.0, 2.0)
        self.alias = self.masses[1:]

    def set_masses(self, value):
        if value < 0:
            raise RuntimeError("no such mass")
        self.masses[:] = value

    @property
    def heaviest(self):
        return self.masses.max()


class Scripted(gymnasium.Env):
    """Observes (steps so far, sum of gain × action, a number drawn at the reset); the reward is the second.

    Ends by itself after `ends` steps, by a limit of its own after `limit`, and reaches its goal at the second step.
    It minds: a step before the reset or after the end, and a reset without a seed, are errors.
    """

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float64)
    action_space = gymnasium.spaces.Box(-2.0, 2.0, (1,), np.float32)
    made = 0

    def __init__(self, bias=0.0, ends=1000, limit=1000, size=3, render_mode=None, settings=None):
        type(self).made += 1
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float64)
        self.bias, self.ends, self.limit, self.gain, self.render_mode = bias, ends, limit, 1.0, render_mode
        self.inner, self.settings, self.forgotten = Inner(), {"lanes": 3} | (settings or {}), 1.0
        self.over = True

    def reset(self, *, seed=None, options=None):
        assert seed is not None
        super().reset(seed=seed)
        self.steps, self.total = 0, self.bias + (options or {}).get("start", 0.0)
        self.drawn, self.over, self.forgotten = self.np_random.random(), False, 1.0
        return self.observation(), {}

    def step(self, action):
        assert not self.over
        self.steps += 1
        self.total += self.gain * float(action[0])
        terminal, truncated = self.steps == self.ends, self.steps == self.limit
        self.over = terminal or truncated
        return self.observation(), self.total, terminal, truncated, {"reached": self.steps == 2, "text": "ignored"}

    def observation(self):
        return np.array([self.steps, self.total, self.drawn])

    def render(self):
        return np.full((4, 6, 3), int(10 * self.total), dtype=np.uint8)


class Doubled(gymnasium.RewardWrapper):
    """Multiplies the reward by a factor of the task."""

    factor = 2.0

    def apply_task(self, parameters):
        self.factor = parameters["factor"]

    def reward(self, reward):
        return self.factor * reward


class Plus(gymnasium.RewardWrapper):
    """Adds to the reward; knows nothing of tasks."""

    def __init__(self, env, bonus):
        super().__init__(env)
        self.bonus = bonus

    def reward(self, reward):
        return reward + self.bonus


class Weighted(gymnasium.Wrapper):
    """Gives the torso of a MuJoCo robot the task's mass."""

    def apply_task(self, parameters):
        self.unwrapped.model.body_mass[1] = parameters["mass"]


class Faulty(gymnasium.Env):
    """Does a deed at its third step after a few good episodes, in tasks whose `mass` is above one.

    Or elsewhere: `when` names another method, whose first `spared` calls in a process are good, or all of them outside
    of workers.
    """

    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    calls = Counter()  # noqa: RUF012  # of each method in this process

    def __init__(self, deed, good_episodes=0, when="step", spared=0, in_workers=False):
        self.deed, self.good_episodes, self.mass, self.episodes = deed, good_episodes, 1.0, 0
        self.when, self.spared, self.in_workers = when, spared, in_workers
        self.at("__init__")

    def at(self, method):
        """Do the deed if it is to be done here."""
        in_worker = multiprocessing.current_process().name.startswith("Worker<")
        if method == self.when and (in_worker or not self.in_workers):
            self.calls[method] += 1
            if self.calls[method] > self.spared:
                getattr(self, self.deed)([])

    def reset(self, *, seed=None, options=None):
        self.at("reset")
        super().reset(seed=seed)
        self.steps, self.episodes = 0, self.episodes + 1
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.steps += 1
        answer = [np.full(2, self.steps / 10, np.float32), 1.0, False, False, {}]
        if self.when == "step" and self.steps == 3 and self.mass > 1 and self.episodes > self.good_episodes:
            getattr(self, self.deed)(answer)
        return tuple(answer)

    def close(self):
        self.at("close")
        if self.deed == "never_closes" and self.episodes:
            time.sleep(1000)

    def raises(self, answer):
        raise Unpicklable("broken", lambda: None)

    def exits(self, answer):
        sys.exit(3)

    def dies(self, answer):
        os._exit(7)

    def naps(self, answer):
        time.sleep(0.02)

    def dies_in_c(self, answer):
        ctypes.CDLL(None)._exit(7)

    def crashes(self, answer):
        import faulthandler

        faulthandler._sigsegv()

    def hangs(self, answer):
        return HANGING.release() or time.sleep(1000)  # one line, which is that of the traceback

    def hangs_on(self, answer):
        with contextlib.suppress(Exception):
            HANGING.release()
            time.sleep(1000)
        while True:
            with contextlib.suppress(Exception):
                time.sleep(1000)

    def observes_nothing(self, answer):
        answer[0] = answer[0] * np.nan

    def pays_nothing(self, answer):
        answer[1] = float("nan")


class Camera(gymnasium.Env):
    """Observes an image of one brightness, the task's, and how many steps there were; both as a Dict."""

    observation_space = gymnasium.spaces.Dict(
        image=gymnasium.spaces.Box(0, 255, (2, 3, 1), np.uint8), steps=gymnasium.spaces.Discrete(9)
    )
    action_space = gymnasium.spaces.Discrete(2)
    brightness = 255

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.observation(), {}

    def step(self, action):
        self.steps += 1
        return self.observation(), 0.0, False, False, {}

    def observation(self):
        return {"image": np.full((2, 3, 1), self.brightness, np.uint8), "steps": self.steps}


class Descent(gymnasium.Env):
    """Takes gradients itself: w falls from `start` by a step of 0.1 or 0.2 along the gradient of w², as is chosen."""

    observation_space = gymnasium.spaces.Box(-10, 10, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)
    start = 1.0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.w = torch.tensor([self.start], dtype=torch.float32)
        return self.w.numpy().copy(), {}

    def step(self, action):
        w = self.w.requires_grad_()
        (w**2).sum().backward()
        self.w = (w - 0.1 * (1 + int(action)) * w.grad).detach()
        return self.w.numpy().copy(), -self.w.item(), False, False, {}


class Switches(Descent):
    """Turns gradients off for good, goes to the root folder, and counts on both."""

    def __init__(self):
        torch.set_grad_enabled(False)
        os.chdir("/")

    def step(self, action):
        assert os.getcwd() == "/"
        w = torch.nn.Parameter(self.w)
        self.w = torch.from_numpy((w - 0.2 * (1 + int(action)) * w).numpy())
        return self.w.numpy().copy(), -self.w.item(), False, False, {}


class Stateful(gymnasium.Env):
    """Does one thing, of those below, that makes the same episode another one the second time.

    Without a deed it observes the wind, a noise of its seed and the number of the step, and its reward is the wind.
    """

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float64)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float64)
    blown = 0.0  # by all copies together

    def __init__(self, deed=None):
        self.deed, self.wind, self.goal, self.episodes, self.own = deed, 0.0, [0.0], 0, 0.0
        if deed == "draws_when_made":
            self.own = np.random.default_rng().random()

    def reset(self, *, seed=None, options=None):
        super().reset(seed=None if self.deed == "ignores_the_seed" else seed)
        self.steps, self.noise, self.episodes = 0, self.np_random.random(), self.episodes + 1
        return self.observation(), {}

    def step(self, action):
        self.steps += 1
        deed = getattr(self, self.deed) if self.deed and self.deed in vars(type(self)) else lambda: 0.0
        return self.observation(), self.wind + deed(), False, False, {}

    def observation(self):
        if self.deed == "samples_its_space":
            self.noise = self.action_space.sample()[0]
        return np.array([self.wind + self.own, self.noise, self.steps])

    def counts_episodes(self):
        return self.episodes

    def keeps_its_first_task(self):
        """Told only by another order of the tasks: one that comes again finds what it left."""
        self.first = getattr(self, "first", self.wind)
        return self.first

    def rewrites_its_task(self):
        self.goal[0] += 1.0
        return self.goal[0]

    def looks_at_the_clock(self):
        return time.perf_counter()

    def draws_from_a_global_generator(self):
        return np.random.random()

    def shares_an_attribute_of_its_class(self):
        Stateful.blown = 0.5 * Stateful.blown + self.wind
        return Stateful.blown

    def restores_what_all_copies_share(self):
        """Only within a batch can another copy be told."""
        if self.steps == 1:
            Stateful.blown = self.wind
        return Stateful.blown


class Pendulous(gymnasium.Env):
    """Pays for a mass, and for an inertia that its constructor computes from the mass."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float64)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self):
        self.mass = 1.0
        self.inertia = 4.0 * self.mass

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.np_random.random(1), {}

    def step(self, action):
        return self.np_random.random(1), self.mass + self.inertia, False, False, {}


class Unpicklable(Exception):
    """An exception that no pipe would take."""


for entry_point in (Scripted, Faulty, Stateful, Pendulous, Camera, Descent, Switches):
    name = f"{entry_point.__name__}-v0"
    if name not in gymnasium.registry:
        gymnasium.register(name, entry_point=entry_point, max_episode_steps=2)
