"""A GPT from scratch: the network, its tokenizer, its trainer and its published form.

Nothing here knows of the web, of Prefect or of `tasks`: the rooms import torch, numpy, safetensors, tokenizers and the
standard library. Importing the package itself is cheap: torch comes with `model.network.gpt` and what uses it;
`model.contracts.job` and `model.data.tokenizer` do without.
"""
