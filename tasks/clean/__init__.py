"""Clean: raw text -> normalised text, boilerplate and personal data removed, quality judged.

Imports contracts and storage.
"""
