"""The parts of `fit`: epochs and steps, where features stay, checkpoints."""
