"""What is said beside a comparison's figures, from figures made up by hand."""

import pytest

from edgefed.notes import acting_on_a_part


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (1.0, []),
        (0.9999, ["climb (>99 %)"]),
        (0.991, ["climb (>99 %)"]),
        (0.99, ["climb (99 %)"]),
        (0.004, ["climb (<1 %)"]),
        (0.0, ["climb (0 %)"]),
        (None, []),
    ],
)
def test_a_part_of_the_rows_is_never_all_of_them(share, said):
    assert acting_on_a_part({"strategies": [{"name": "climb", "acts_on_rows": share}]}) == said
