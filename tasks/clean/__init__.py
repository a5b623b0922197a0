"""Clean: raw text -> normalized text without boilerplate and personal data, judged by quality rules; `cleaned/`.

May import `processes` and `contracts`.
"""
