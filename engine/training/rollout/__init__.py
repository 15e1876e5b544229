"""Rollouts: clips of the policy with their denoising trajectories, and the rewards of them."""
