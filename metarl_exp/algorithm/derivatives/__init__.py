"""Derivatives of policies: the one place that decides how π_φ is differentiated.

    autograd     through the graph of the policy's own forward pass: any policy, any loss
    analytic     in closed form: perceptron policies whose network no subclass has changed

Both give the same numbers up to rounding. `derivatives_of` chooses once, when an adaptation is built.
"""

from metarl_exp.algorithm.derivatives.agreement import agree
from metarl_exp.algorithm.derivatives.analytic import Analytic, is_perceptron
from metarl_exp.algorithm.derivatives.autograd import Autograd
from metarl_exp.algorithm.derivatives.base import Derivatives, InnerLoss, is_sum_over_steps
from metarl_exp.types import Policy


def derivatives_of(policy: Policy, inner_loss: InnerLoss, value_loss: bool = False) -> Derivatives:
    """The analytic derivatives of a policy where they equal autograd's on random numbers, else autograd's.

    `value_loss`: whether a critic's loss is added to the inner loss, which then is no sum over log-probabilities.
    """
    autograd = Autograd(policy)
    if not is_perceptron(policy):
        return autograd
    analytic = Analytic(policy, is_sum_over_steps(inner_loss) and not value_loss)
    return analytic if agree(policy, inner_loss, analytic, autograd) else autograd
