"""The ledger's tables: how they are created and upgraded, and how rows of the large ones are read and written."""
