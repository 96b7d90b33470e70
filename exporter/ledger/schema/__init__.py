"""The ledger's tables, their versions, and how the rows of the large ones are read and written."""
