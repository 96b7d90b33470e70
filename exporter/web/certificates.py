"""What is in a certificate, and whether a text holds one, or a key.

Owns what the standard library can't read. The surprising fact: it is a module because of what it imports, 7 MB that an
exporter without TLS does without.
"""

from collections.abc import Iterator

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key


def names(certificate: bytes) -> Iterator[str]:
    """The subject alternative names of a certificate, as Go writes them."""
    try:
        extensions = x509.load_der_x509_certificate(certificate).extensions
        found = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound):
        return
    for kind in (x509.DNSName, x509.RFC822Name, x509.UniformResourceIdentifier):
        yield from found.get_values_for_type(kind)
    yield from map(str, found.get_values_for_type(x509.IPAddress))


def holds_certificates(text: str) -> bool:
    """In PEM form."""
    try:
        x509.load_pem_x509_certificates(text.encode())
    except ValueError:
        return False
    return True


def holds_key(text: str) -> bool:
    """In PEM form; raises TypeError if it is encrypted."""
    try:
        load_pem_private_key(text.encode(), None)
    except ValueError:
        return False
    return True
