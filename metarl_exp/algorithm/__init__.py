"""Meta-learning: sampling, adaptation, objectives and outer optimizers, and the learner that joins them."""
