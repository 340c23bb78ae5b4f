"""Percentiles and ratios, which every figure goes through."""

import pytest
from bench import distributions
from hypothesis import given
from hypothesis import strategies as st

VALUES = st.lists(st.floats(min_value=0, max_value=1e6), min_size=1, max_size=50)


def test_the_median_of_an_even_number_of_values_lies_between_the_two_in_the_middle():
    assert distributions.percentile([4.0, 1.0, 3.0, 2.0], 0.5) == 2.5


def test_the_99th_percentile_of_101_values_is_the_last_but_one():
    assert distributions.percentile([float(n) for n in range(101)], 0.99) == 99.0


def test_no_values_have_no_percentile():
    with pytest.raises(ValueError, match="0 values"):
        distributions.percentile([], 0.5)


@given(VALUES, st.floats(min_value=0, max_value=1))
def test_a_percentile_lies_between_the_lowest_and_the_highest_value(values, share):
    assert min(values) <= distributions.percentile(values, share) <= max(values)


@given(VALUES, st.floats(min_value=0, max_value=1), st.floats(min_value=0, max_value=1))
def test_percentiles_rise_with_their_share(values, one, other):
    low, high = sorted((one, other))
    below, above = (distributions.percentile(values, share) for share in (low, high))
    assert below <= above or below == pytest.approx(above)


def test_a_spread_tells_median_ends_and_count():
    spread = distributions.spread([3.0, 1.0, 2.0])
    assert (spread.p50, spread.low, spread.high, spread.count) == (2.0, 1.0, 3.0, 3)


def test_ratios_are_taken_round_by_round_so_that_drift_cancels():
    # The machine is three times slower in the second round, for both.
    spread = distributions.ratios([1.0, 3.0], [2.0, 6.0])
    assert spread is not None
    assert (spread.p50, spread.low, spread.high) == (0.5, 0.5, 0.5)


def test_a_round_without_a_divisor_is_left_out_of_the_ratio():
    spread = distributions.ratios([1.0, 1.0], [0.0, 4.0])
    assert spread is not None
    assert (spread.p50, spread.count) == (0.25, 1)


def test_no_round_with_a_divisor_gives_no_ratio():
    assert distributions.ratios([1.0], [0.0]) is None


def test_rounds_that_do_not_pair_are_an_error_of_the_program():
    with pytest.raises(ValueError, match="zip"):
        distributions.ratios([1.0], [1.0, 2.0])
