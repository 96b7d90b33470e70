"""The commands of `telnyx-session-exporter`, each in a module of its own; `main` lists them.

Importing this package imports no command, so `healthcheck` starts quickly.
"""
