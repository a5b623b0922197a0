"""Golden values: what users' data and scripts lean on, as it is now.

Digests and settings, file and table formats, exit codes, options, flow parameters. Nothing here imports `tasks`,
`model` or what is inside `flows` and `deployments`: only `run.py`, the entry points, and the files that they leave. So
the code can be moved and renamed, and these tests stay as they are.

    python -m pytest tests/golden                    # compare
    WRITE_GOLDEN=1 python -m pytest tests/golden     # write expected/ anew, after a change that was meant
"""
