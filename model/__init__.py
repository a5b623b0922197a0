"""A GPT from scratch: the network, its tokenizer, its trainer and its published form.

Nothing here knows of the web, of Prefect or of `tasks`. Importing the package itself is cheap: torch comes
with `model.gpt` and what uses it; `model.job` and `model.tokenizer` do without.
"""
