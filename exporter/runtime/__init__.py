"""The running exporter: its parts, its repeated jobs, its reload, and its start and stop.

Nothing here decides about money or sessions.
"""
