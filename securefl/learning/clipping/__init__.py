"""Clipped sums of per-example gradients from one backward pass.

DP-SGD needs the sum of all gradients of a batch, each scaled to a bounded norm. Opacus writes down
the gradient of every example to measure it. For most layers that is not needed: what went into a
layer and what came back to it determine both the norms and the sum ("book-keeping").

Source: Bu et al., ICML 2023, "Differentially private optimization on large model at small cost",
algorithm 1; mixed with whole gradients where these are smaller, Bu et al., NeurIPS 2022.
"""
