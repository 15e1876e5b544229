"""Trainers for video diffusion models under TRL's names, over `transformers.Trainer`.

TRL's own trainers require a tokenizer and a language model's head, so they cannot train these networks. These trainers
share TRL's config fields, reward protocol, samplers and metric names. The losses are pure functions in
`engine.algorithms`.

    VideoDPOTrainer(model="mini", args=VideoDPOConfig(...), train_dataset=pairs).train()
    VideoGRPOTrainer(model="mini", reward_funcs=as_reward_funcs(mix), args=VideoGRPOConfig(...), train_dataset=prompts)

The trainers import torch, transformers and trl, so no module that the page loads may import them.
"""
