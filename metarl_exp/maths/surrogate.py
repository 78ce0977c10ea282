"""Losses of one task, [N, M, T] → [N]: policy-gradient surrogates, whose *gradients* matter, and that of a critic."""

import torch
from torch import Tensor

from metarl_exp.maths.reductions import masked_mean


def log_likelihood_loss(log_prob: Tensor, advantage: Tensor, mask: Tensor) -> Tensor:
    """−mean over valid steps of log π(a|s) Â.  [finn2017maml, Eq. 4, as REINFORCE]

    Its gradient is the policy gradient; its Hessian is *not* that of the expected return (the distribution of
    states and actions depends on the parameters too), the bias that DiCE and LVC are about.
    """
    return -masked_mean(log_prob * advantage, mask)


def ratio_loss(log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor, mask: Tensor) -> Tensor:
    """−mean over valid steps of π(a|s) / π_old(a|s) · Â.  [schulman2015trpo, Eq. 14]

    At π = π_old the ratio is exactly 1 and the gradient is that of `log_likelihood_loss`.
    """
    return -masked_mean((log_prob - old_log_prob).exp() * advantage, mask)


def clipped_ratio_loss(log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor, mask: Tensor, clip: float) -> Tensor:
    """−mean over valid steps of min(r Â, clamp(r, 1 − ε, 1 + ε) Â), r the ratio.  [schulman2017ppo, Eq. 7]

    A step whose ratio has left 1 ± ε (`clip`) in the direction that its advantage asks for has no gradient any more.
    """
    ratio = (log_prob - old_log_prob).exp()
    bounded = ratio.clamp(1 - clip, 1 + clip)
    return -masked_mean(torch.minimum(ratio * advantage, bounded * advantage), mask)


def box(log_prob: Tensor, old_log_prob: Tensor) -> Tensor:
    """exp(log p − log p_old): DiCE's magic box.  [foerster2018dice, Sec. 3]

    Where p = p_old, its value is 1 and its derivatives are scores and scores of scores. There, `old_log_prob` is
    `log_prob` without history, as in the paper; elsewhere it makes the box the importance weight, and so a function.
    """
    return torch.exp(log_prob - old_log_prob)


def dice_loss(log_prob: Tensor, old_log_prob: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    """−mean over valid steps of box(Σ_{t' ≤ t} log π) γ^t r_t.  [foerster2018dice, Sec. 3]

    `rewards` are discounted already. At π = π_old all derivatives are, in expectation, those of the expected return
    (over the number of steps), if all episodes are of one length; with rewards to go as advantages, the gradient is
    that of `log_likelihood_loss`.
    """
    new, old = (_until(x, mask) for x in (log_prob, old_log_prob))
    return -masked_mean(box(new, old) * rewards, mask)


def loaded_dice_loss(log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor, mask: Tensor) -> Tensor:
    """−mean over valid steps of (box(Σ_{t' ≤ t} log π) − box(Σ_{t' < t} log π)) Â_t.  [farquhar2019loaded, Sec. 4]

    DiCE with the credit of advantages: at π = π_old its value is 0, its gradient that of `log_likelihood_loss`, and
    its further derivatives those of the expected return, in expectation, where Â is an unbiased estimate of the
    advantage.
    """
    new, old = (_until(x, mask) for x in (log_prob, old_log_prob))
    before = box(*(torch.nn.functional.pad(x, (1, 0))[..., :-1] for x in (new, old)))
    return -masked_mean((box(new, old) - before) * advantage, mask)


def value_loss(values: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    """Mean over valid steps of ½ (V − target)², in units of reward²; targets are numbers."""
    return 0.5 * masked_mean((values - targets).square(), mask)


def _until(log_prob: Tensor, mask: Tensor) -> Tensor:
    """Σ_{t' ≤ t} log π over the valid steps of each trajectory, [N, M, T]."""
    return log_prob.masked_fill(~mask, 0.0).cumsum(-1)
