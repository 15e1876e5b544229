"""Trainers for video diffusion models under TRL's names, over `transformers.Trainer`.

TRL's own trainers demand a tokenizer and a language model's head, so they cannot train these networks; what is TRL's
here are the configs' fields, the reward protocol, the samplers and the metrics' names. The losses are pure functions in
`engine.algorithms`.

    VideoDPOTrainer(model="mini", args=VideoDPOConfig(...), train_dataset=pairs).train()
    VideoGRPOTrainer(model="mini", reward_funcs=as_reward_funcs(mix), args=VideoGRPOConfig(...), train_dataset=prompts)

Importing this package imports torch, transformers and trl; nothing that the page loads may.
"""
