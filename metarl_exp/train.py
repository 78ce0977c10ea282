"""`python -m metarl_exp.train`, as torchrun starts it: the command `metarl-train`."""

import sys

from metarl_exp.commands.train import main

if __name__ == "__main__":
    sys.exit(main())
