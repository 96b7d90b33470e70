"""The totals that /metrics shows, as rows: by series and writer, by budget window, and added up over all writers."""
