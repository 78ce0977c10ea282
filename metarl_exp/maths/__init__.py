"""Pure functions of tensors: no state, no randomness of their own, no import but torch."""
