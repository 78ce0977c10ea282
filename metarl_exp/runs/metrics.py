"""The glossary of metrics: name, unit, meaning. A test compares it with what a run really logs.

Of trials, k counts episodes instead of steps.
"""

GLOSSARY: dict[str, tuple[str, str]] = {
    "iteration": ("count", "meta-iteration, from 0"),
    "env_steps": ("steps", "environment steps taken by training so far, this iteration included"),
    "return/step_<k>": ("reward", "mean undiscounted return of the training tasks after k inner steps"),
    "return/gain": ("reward", "mean return after the last inner step minus before the first"),
    "return/gain_low": ("reward", "lower end of its 95 % t-interval over the tasks of the meta-batch"),
    "return/gain_high": ("reward", "upper end: an interval that contains 0 does not show that adaptation helps"),
    "return/gain_worst": ("reward", "gain of the task that gained least"),
    "return/gain_best": ("reward", "gain of the task that gained most"),
    "return/tasks_made_worse": ("share", "training tasks whose return adaptation lowered"),
    "success/step_<k>": ("share", "episodes of the training tasks that reached their goal, after k inner steps"),
    "validation/step_<k>": ("reward", "mean undiscounted return of the validation tasks after k gradient steps"),
    "outer/loss_before": ("1", "meta-objective on the batch before the outer step"),
    "outer/loss_after": ("1", "meta-objective on the same batch after the outer step"),
    "outer/kl": ("nats", "mean KL of the post-update policies, old against new θ; 0 if θ was not changed"),
    "outer/gradient_norm": ("1", "Euclidean norm of the meta-gradient"),
    "outer/tasks_made_worse": ("share", "tasks whose meta-objective on the same batch the outer step raised"),
    "interference/cosine": ("1", "mean cosine of the meta-gradients of two tasks"),
    "interference/conflicting": ("share", "pairs of tasks whose meta-gradients have a negative cosine"),
    "critic/error": ("reward", "root mean square of a critic's values minus their targets, after adaptation"),
    "ppo/steps": ("count", "steps of the optimizer on the batch before an early end, if any"),
    "cg/products": ("count", "curvature products of conjugate gradient"),
    "cg/residual": ("1", "relative residual that conjugate gradient stopped at"),
    "cg/nonpositive_curvature": ("count", "directions of non-positive curvature (0 unless numerics fail)"),
    "line_search/accepted": ("0 or 1", "whether some step length was accepted; if not, θ stayed"),
    "line_search/backtracks": ("count", "how often the step was shortened"),
    "perf/inner_s": ("s", "sampling and adaptation"),
    "perf/outer_s": ("s", "outer step"),
    "perf/env_steps_per_s": ("steps/s", "environment steps of the iteration over its time"),
}
