"""The queue of sessions: how they enter it, who claims them, and which detail records led to them."""
