"""The pure rules: records, money, the accounting rule, the poll schedule, event trees, metric families.

Nothing here does I/O, reads a clock or knows an event loop, so each rule is tested by calling it.
"""
