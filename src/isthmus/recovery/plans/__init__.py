"""Whether a group could come back in its backup site, checked before it has to.

`inventory` is what the target has, `validating` finds what is missing, `creating` makes what is safe
to make. Nothing here starts a server.
"""
