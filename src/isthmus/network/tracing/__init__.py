"""Why one guest does not reach another, and whether everybody reaches everybody.

`trace` compares what Neutrons say with what hosts hold, hop by hop, and names the first cause in
words; `verify` sends packets of its own between probes. The decisions (`walking`, `filtering`,
`matrix`) are functions over the values of `facts`; who asks and plugs is `gathering` and
`verifying`. Nothing here repairs anything: that is the reconciler's, and the remedies say how.
"""
