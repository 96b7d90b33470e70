"""Whatever the configuration file holds, it is a configuration or one error."""

import re

from hypothesis import given
from hypothesis import strategies as st

from exporter import config
from exporter.config import Config
from exporter.core.errors import ConfigError
from tools.configuration_page import setting_paths

SCALARS = st.one_of(
    st.sampled_from(
        ["", "~", "yes", "!!int ''", "!!float .", "!!bool x", "!!timestamp x", "!!binary x", "!!null x", "<<"]
    ),
    st.sampled_from(
        ["2024-13-45", "0b_", "0x_", "1:99", "-.inf", "1e+999999999999999999999", "1.e+5", "&a x", "*a", "%"]
    ),
    st.integers().map(str),
    st.floats().map(str),
    st.text(max_size=8),
    st.text(max_size=8).map(repr),
)
KEYS = st.sampled_from(sorted(set(re.findall(r"\w+", " ".join(setting_paths()))))) | SCALARS
VALUES = st.recursive(
    SCALARS,
    lambda below: (
        st.lists(below, max_size=3).map(lambda items: f"[{', '.join(items)}]")
        | st.lists(st.tuples(KEYS, below), max_size=3).map(
            lambda items: f"{{{', '.join(f'{key}: {value}' for key, value in items)}}}"
        )
    ),
    max_leaves=12,
)
NEAR_YAML = st.lists(st.tuples(KEYS, VALUES), max_size=4).map(
    lambda items: "\n".join(f"{key}: {value}" for key, value in items).encode("utf-8", "surrogatepass")
)
YAML_MARKS = st.text(st.sampled_from("{}[]:,-?!&*#|>%@`\"'\\ \n\ta1~.<"), max_size=40).map(str.encode)


@given(NEAR_YAML | YAML_MARKS | st.binary(max_size=60))
def test_any_bytes_give_a_configuration_or_one_error(content: bytes) -> None:
    """Whatever the file holds, the answer is a Config or a ConfigError of one printable line per problem."""
    try:
        read = config.parse(content, "config.yaml")
    except ConfigError as error:
        lines = str(error).split("\n")
        assert all(line.isprintable() and line for line in lines), lines
    else:
        assert isinstance(read, Config)
