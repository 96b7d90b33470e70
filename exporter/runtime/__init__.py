"""Assembly of a running exporter: its parts, its jobs, its reload and its end.

Nothing here decides about money or sessions.
"""
