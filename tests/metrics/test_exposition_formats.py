"""Content negotiation."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.metrics.exposition import Format, accepts_gzip, negotiate

TEXT, OPENMETRICS = Format.TEXT, Format.OPENMETRICS

PROMETHEUS_2_42 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROMETHEUS_3_NATIVE_HISTOGRAMS = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,"
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,"
    "text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)
FIREFOX = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (None, TEXT),
        ("", TEXT),
        ("*/*", TEXT),
        (FIREFOX, TEXT),
        (PROMETHEUS_2_42, OPENMETRICS),
        (PROMETHEUS_3, OPENMETRICS),
        (PROMETHEUS_3_NATIVE_HISTOGRAMS, OPENMETRICS),
        ("application/openmetrics-text", OPENMETRICS),
        ("application/openmetrics-text; version=2.0.0", OPENMETRICS),
        ("application/openmetrics-text;version=0.0.1", OPENMETRICS),
        ("Application/OpenMetrics-Text ; Version=1.0.0 ; Q=0.5", OPENMETRICS),
        ("text/plain;version=0.0.4,application/openmetrics-text", OPENMETRICS),
        ("application/openmetrics-text;q=0.5,text/plain;q=0.6", TEXT),
        ("application/openmetrics-text;q=0.5,text/*;q=0.6", TEXT),
        ("application/openmetrics-text;q=0.5,*/*;q=0.6", TEXT),
        ("application/openmetrics-text;q=0.5,text/plain;q=0.1,*/*;q=0.6", OPENMETRICS),
        ("application/openmetrics-text;q=0", TEXT),
        ("application/openmetrics-text;q=0,text/plain;q=0", TEXT),
        ("application/openmetrics-text;q=0.001,text/plain;q=0", OPENMETRICS),
        ("application/openmetrics-text;q=high", TEXT),
        ("application/openmetrics-text;q=-1", TEXT),
        ("application/openmetrics-text;q=nan", TEXT),
        ("text/plain;version=1.0.0;escaping=allow-utf-8", TEXT),
        ("application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily", TEXT),
        ("application/json", TEXT),
        (";;;,,q=,=", TEXT),
    ],
)
def test_negotiation(accept: str | None, form: Format) -> None:
    """OpenMetrics if it is preferred at least as much as text; text 0.0.4 in any other case."""
    assert negotiate(accept) is form


def test_content_types() -> None:
    """The content types are exact: they promise no escaping scheme and no other version."""
    assert TEXT.value == "text/plain; version=0.0.4; charset=utf-8"
    assert OPENMETRICS.value == "application/openmetrics-text; version=1.0.0; charset=utf-8"


@pytest.mark.parametrize(
    ("accept_encoding", "gzip"),
    [
        (None, False),
        ("", False),
        ("gzip", True),
        ("gzip, deflate, br, zstd", True),
        ("GZIP;q=1.0", True),
        ("deflate", False),
        ("gzip;q=0", False),
        ("gzip;q=0.0, *", False),
        ("*", True),
        ("*;q=0", False),
        ("gzip;q=0.5, identity", False),
        ("identity;q=0.5, gzip;q=1.0", True),
        ("identity;q=0, gzip;q=0.1", True),
        ("gzip;q=banana", False),
    ],
)
def test_encodings(accept_encoding: str | None, gzip: bool) -> None:
    """Compressed if gzip or a star is accepted, not with q=0, and not if plain bytes are preferred."""
    assert accepts_gzip(accept_encoding) is gzip


@given(st.text(alphabet='abq=;,*/.01 "+-', max_size=60) | st.text(max_size=40))
def test_no_header_breaks_negotiation(header: str) -> None:
    """Any header gets an answer; without OpenMetrics or gzip in it the answer has neither."""
    assert negotiate(header) is TEXT
    assert accepts_gzip(header.replace("*", "")) is False
