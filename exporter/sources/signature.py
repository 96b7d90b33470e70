"""Whether an Ed25519 key signed a message, as RFC 8032 has it.

Owns nothing but the question. The surprising fact: it is a module because of what it imports, 7 MB that an exporter
without webhooks does without; who takes them imports it before the first comes.
"""

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def is_signed(key: bytes, signature: bytes, message: bytes) -> bool:
    """False as well for bytes that are no key: they verify nothing."""
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True
