"""The sources that find sessions: webhooks, detail records, files, lists over HTTP; and the account's balance.

A source reports sessions or detail records to the ledger, which follows each session once, however many sources report
it. A source that fails is counted and retried, and never stops another.
"""
