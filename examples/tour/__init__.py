"""The tour: the whole story on `mini`, from prompts to a ranking, and one report of what came of it (`make tour`).

A script of what the command line does, step after step, in one workspace.
"""
