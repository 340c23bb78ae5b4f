"""Durable execution: what takes minutes, must be approved by a person, and may be cut off anywhere.

`kinds` and `machine` decide over values (`values`); `approval`, `leases`, `trail` and `reporting` are
pure as well. `desk` is what people ask, `runner` what an engine does, `flows` how TaskFlow is used.
What the steps of an operation do is not known here: a capability brings its *recipes* (`recipes`).
"""
