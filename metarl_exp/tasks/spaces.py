"""What an environment's spaces are to a policy: observations as flat numbers, actions in the environment's own form.

The only owner of both maps, for batches of tasks and for a live environment alike.
"""

from typing import Any

import numpy as np
from gymnasium import Space, spaces


class Interface:
    """The policy's side of one environment: S observed numbers in, one action out.

    Observations may be Box of any shape (flattened), Discrete and MultiDiscrete (one-hot), MultiBinary, or Dict and
    Tuple of these (one after the other), as `gymnasium.spaces.flatten` has them. Actions may be Discrete, whose first
    choice is the policy's 0 whatever `start` is, or Box: the policy's output in [−1, 1] is stretched onto the bounds
    and then clipped to them; a dimension with an infinite bound takes the output as it is, clipped to the other.
    Raises ValueError for other spaces.
    """

    def __init__(self, observation: Space[Any], action: Space[Any]) -> None:
        self.observation, self.action = observation, action
        try:
            self.observation_size = spaces.flatdim(observation)
        except (NotImplementedError, ValueError) as error:
            raise ValueError(f"observations {observation} are not a fixed number of numbers") from error
        if isinstance(action, spaces.Discrete):
            self.action_size, self.discrete = int(action.n), True
        elif isinstance(action, spaces.Box) and np.issubdtype(action.dtype, np.floating):
            self.action_size, self.discrete = int(np.prod(action.shape)), False
            self.low, self.high = (bound.astype(np.float64).reshape(-1) for bound in (action.low, action.high))
            bounded = np.isfinite(self.low) & np.isfinite(self.high)
            self.scale, self.offset = np.ones_like(self.low), np.zeros_like(self.low)
            self.scale[bounded] = (self.high[bounded] - self.low[bounded]) / 2
            self.offset[bounded] = (self.high[bounded] + self.low[bounded]) / 2
        else:
            raise ValueError(f"actions {action} are neither Discrete nor a Box of real numbers")

    @property
    def sizes(self) -> tuple[int, int, bool]:
        """S, A, and whether actions are discrete, as in `Spec`."""
        return self.observation_size, self.action_size, self.discrete

    def observe(self, observation: Any) -> np.ndarray:
        """An observation as the policy sees it, [S] float32."""
        return spaces.flatten(self.observation, observation).astype(np.float32)  # type: ignore[union-attr]

    def act(self, action: np.ndarray) -> Any:
        """What `env.step` takes for a policy's action: [A], or a single integer if discrete."""
        if isinstance(self.action, spaces.Discrete):
            return int(action) + int(self.action.start)
        inside = np.minimum(np.maximum(action * self.scale + self.offset, self.low), self.high)
        return inside.astype(self.action.dtype).reshape(self.action.shape)
