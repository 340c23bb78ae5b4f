"""The lab: several real OpenStack sites on one machine, in network namespaces, up in a minute.

An operator rehearses a disaster here and the product's own tests run here. Nothing outside imports it: the lab may use
every other part, no part depends on the lab.
"""
