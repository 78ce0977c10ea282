"""Policy-gradient surrogates of one task, [N, M, T] → losses [N]. Their *gradients* are what matters."""

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
