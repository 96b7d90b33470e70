"""How sessions are found that nobody names by hand.

Owns what each source says and when it is asked; whoever finds something hands sightings or detail records to the
ledger, which follows each session once, however many sources tell of it. A source that fails is counted and asked
again; it never stops another. The surprising fact: a webhook only remembers, it never fetches.
"""
