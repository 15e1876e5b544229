"""A vision language model as the judge of a clip, or of pairs of clips.

It is called over an OpenAI-compatible interface.
"""
