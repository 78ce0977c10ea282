"""One Gymnasium environment as a series of episodes, each of its own task and seed: what vector environments batch."""

from typing import Any

import gymnasium
import numpy as np

from metarl_exp.process.failures import EnvironmentFailure
from metarl_exp.tasks.guard import guarded
from metarl_exp.tasks.spaces import Interface, in_words
from metarl_exp.tasks.vector.recipe import EpisodeKey, Recipe
from metarl_exp.types import Spec


class EpisodeEnv(gymnasium.Env[np.ndarray, Any]):
    """Episodes one after the other: `episode` says which, and each reset puts its task in and seeds with its seed.

    Observations and actions are the policy's. To the outside an episode never ends, since vector environments refuse
    to step one that has: how it ended is in the info of that step (`terminal`, `truncated`, `success`), and from then
    on it stands still at no reward and the environment is left alone. Without an episode it stands still at once, and
    no environment is made. Whatever the environment raises becomes EnvironmentFailure that names the episode.
    """

    def __init__(self, recipe: Recipe, spec: Spec, render_mode: str | None = None) -> None:
        self.recipe, self.spec_of_tasks, self.render_mode = recipe, spec, render_mode
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (spec.observation_size,), np.float32)
        self.action_space = (
            gymnasium.spaces.Discrete(spec.action_size)
            if spec.discrete
            else gymnasium.spaces.Box(-1.0, 1.0, (spec.action_size,), np.float32)
        )
        self.episode: EpisodeKey | None = None
        self.env: gymnasium.Env[Any, Any] | None = None
        self.arguments: dict[str, Any] = {}
        self.interface = Interface(self.observation_space, self.action_space)  # until there is an environment

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        self.over = self.episode is None
        self.last = np.zeros(self.spec_of_tasks.observation_size, np.float32)
        if self.episode is not None:
            with guarded(self.recipe.name_of(self.episode)):
                self.last = self._begin(self.episode)
        return self.last, {}

    def _begin(self, episode: EpisodeKey) -> np.ndarray:
        settings = self.recipe.settings(episode.row)
        if self.env is None or settings.argument != self.arguments:
            self.close()
            with self.recipe.calling("__init__"):
                self.env = self.recipe.make(settings.argument, self.render_mode)
            self.arguments = settings.argument
        self.recipe.apply(self.env, settings)
        with self.recipe.calling("reset"):
            observation, _ = self.env.reset(seed=episode.seed, options=settings.option or None)
        self.recipe.require_applied(self.env, settings)
        self._look(self.env)
        return self.interface.observe(observation)

    def _look(self, env: gymnasium.Env[Any, Any]) -> None:
        """Take the environment's spaces as they are now, since the task or the reset may have changed them."""
        if env.observation_space is not self.interface.observation or env.action_space is not self.interface.action:
            self.interface = Interface(env.observation_space, env.action_space)
            if self.interface.sizes != self.spec_of_tasks[:3]:
                its, others = (in_words(*sizes) for sizes in (self.interface.sizes, self.spec_of_tasks[:3]))
                raise ValueError(f"this task's environment has {its}, that of other tasks {others}")

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        if self.over:
            return self.last, 0.0, False, False, {}
        assert self.env is not None
        try:
            observation, reward, terminal, truncated, its_info = self.env.step(self.interface.act(action))
            self.last = self.interface.observe(observation)
            info = {}
            if terminal or truncated:
                self.over = True
                info = {"terminal": bool(terminal), "truncated": bool(truncated)}
            if self.recipe.success_key is not None:
                info["success"] = bool(its_info.get(self.recipe.success_key, False))
            return self.last, float(reward), False, False, info
        except (Exception, SystemExit) as error:
            raise self._failure(error) from error

    def _failure(self, error: BaseException) -> EnvironmentFailure:
        assert self.episode is not None
        return EnvironmentFailure(f"{self.recipe.name_of(self.episode)}: {type(error).__name__}: {error}")

    def render(self) -> np.ndarray:  # type: ignore[override]
        """The present state as a picture [height, width, 3], uint8; ValueError if the environment draws none."""
        frame = None if self.env is None else self.env.render()
        if frame is None:
            raise ValueError(f"{self.recipe.id} draws no pictures (render_mode=rgb_array)")
        return np.asarray(frame, dtype=np.uint8)

    def close(self) -> None:
        if self.env is not None:
            with self.recipe.calling("close"):
                self.env.close()
            self.env = None
