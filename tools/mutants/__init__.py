"""The mutation gate: small defects, each put into a copy of the checkout, each of which some test must notice.

An own list instead of mutmut or cosmic-ray: those change operators everywhere (9,023 mutants in the same packages, six
hours, equivalent ones sorted out by hand), and none of theirs is "a week begins on Sunday"; this list runs in minutes.

`defects.toml` is the list, `defects` reads and judges it, `runner` applies it. `make mutants` runs all of it.
"""
