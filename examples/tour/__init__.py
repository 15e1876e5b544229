"""Guided tour: the whole workflow on `mini`, from prompts to a ranking, with a report (`make tour`).

Runs the jobs of the command line one after another in one workspace.
"""
