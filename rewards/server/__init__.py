"""A reward server: rewards or a mix over HTTP.

It is for reward models with an environment or a machine of their own. It needs only the package `rewards`:
`python -m rewards.server KEY`, or `dailies rewards serve KEY`. The protocol is that of `rewards.external.http_client`;
docs/rewards.md describes it.
"""
