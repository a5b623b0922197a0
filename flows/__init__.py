"""The flows: what a command or a deployment does, verbs in order, one page each. Start at steps.py.

May import `tasks` and `model`. Import nothing heavy here.
"""
