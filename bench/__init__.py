"""Figures: programs that measure Isthmus on the lab, where there is a stock beside stock Keystone in the same run.

They are not tests: they judge nothing but the aims that they print. `python -m bench` runs all of them, `python -m bench.NAME`
one; both take `--quick` and `--json`.

Who knows whom::

    __main__      which programs there are, and the order in which they run
    start, faults, lag, tokens, wan       the programs: each has `measure(options) -> Result`
    reach, scale, addresses               those of the lab with networks
    ├─ stretching, addressed, scaling     what is built there to be measured, and taken away again
    ├─ peers      simulated sites    interconnect  OVN, the peer of reach    following  long work, step by step
    ├─ labs       the lab that is measured, and its restoration
    ├─ servers    the Keystones that are compared: ours and the stock variants
    ├─ asking     what is asked of a Keystone: tokens, logins, users    loading   the load generator, a program of its own
    ├─ metering   CPU and WAN counters between two moments
    └─ results    figures, tables, JSON and bench/RESULTS.md            distributions   percentiles, ratios and their spread
"""
