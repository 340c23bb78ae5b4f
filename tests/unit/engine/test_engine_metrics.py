"""Figures as Prometheus reads them."""

from __future__ import annotations

from isthmus.engine import metrics


def test_a_gauge_has_help_type_and_labels() -> None:
    family = metrics.gauge("up", "Whether it is up", [({"site": "paris", "peer": "lyon"}, 1.0)])
    assert metrics.render([family]) == (
        '# HELP up Whether it is up\n# TYPE up gauge\nup{site="paris",peer="lyon"} 1\n'
    )


def test_labels_are_escaped() -> None:
    family = metrics.gauge("up", "x", [({"name": 'a"b\\c\nd'}, 0.5)])
    assert 'up{name="a\\"b\\\\c\\nd"} 0.5' in metrics.render([family])


def test_a_histogram_counts_what_is_within_each_bound() -> None:
    histogram = metrics.Histogram(bounds=(0.5, 1.0))
    for value in (0.1, 0.5, 0.7, 3.0):
        histogram.observe(value)
    text = metrics.render([histogram.family("lag", "Lag", {"site": "paris"})])
    assert 'lag_bucket{site="paris",le="0.5"} 2' in text
    assert 'lag_bucket{site="paris",le="1"} 3' in text
    assert 'lag_bucket{site="paris",le="+Inf"} 4' in text
    assert 'lag_count{site="paris"} 4' in text
    assert 'lag_sum{site="paris"} 4.3' in text


def test_large_counts_keep_their_digits() -> None:
    assert "1234567" in metrics.render([metrics.counter("n_total", "x", [({}, 1234567.0)])])
