"""Trainers on `transformers.Trainer`, one for each algorithm."""
