"""The commands of `telnyx-session-exporter`, one module each; `main` lists them.

Importing this package imports no command, so `healthcheck` starts quickly.
"""
