"""Evaluation of a run: samples, held-out rewards, intervals and alarms."""
