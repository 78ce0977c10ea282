"""Meta-reinforcement learning experiments: policies that learn new tasks in a few gradient steps."""
