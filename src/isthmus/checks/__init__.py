"""Is the cloud right, and if not, why and what to do: checks over facts that were gathered from all sites.

A check (`values`) is a pure judgement on facts (`facts`); `running` puts them in order and skips what stands on a check that
failed, so that one dead link makes one finding; `gathering` is the only module here that asks anybody anything. The checks
themselves stand in one module for each category, and `registry` lists all of them. Not for acting: nothing is changed anywhere.
"""
