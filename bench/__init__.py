"""Figures: programs that measure Isthmus on the lab, where there is a stock beside stock Keystone in the same run.

They are not tests: they judge nothing but the aims that they print. `python -m bench` runs all of them, `python -m bench.NAME`
one; both take `--quick` and `--json`.

Who knows whom::

    __main__      which programs there are, and the order in which they run
    start, faults, lag, tokens, wan       the programs: each has `measure(options) -> Result`
    validation, rotation                  those of identity that need no lab
    reach, scale, addresses               those of the lab with networks
    plans, window, backup, failover       those of the lab with recovery
    ├─ stretching, addressed, scaling     what is built there to be measured, and taken away again
    ├─ peers      simulated sites    interconnect  OVN, the peer of reach    following  long work, step by step
    ├─ protecting a VNF that is protected, and a site as its engine works with it
    ├─ scripted_groups, scripted_return   the peers of window and failover: what an operator's script asks the services for
    ├─ keystones  Keystones on the loopback    distant, simulated_sites   a writer and many sites far from it, with their keys
    ├─ estates    a thousand servers from a seed    loopback  the cloud that answers for them
    ├─ pairs      ours and the peer's, run by run
    ├─ labs       the lab that is measured, and its restoration
    ├─ commands   what people type
    ├─ servers    the Keystones that are compared: ours and the stock variants
    ├─ asking     what is asked of a Keystone: tokens, logins, users    loading   the load generator, a program of its own
    ├─ metering   CPU and WAN counters between two moments
    └─ results    figures, tables, JSON and bench/RESULTS.md            distributions   percentiles, ratios and their spread
"""
