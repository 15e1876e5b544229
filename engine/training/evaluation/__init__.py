"""Evaluation of a run: preflight checks, samples, held-out rewards, intervals and alarms."""
