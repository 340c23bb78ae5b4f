"""Code that loads inside OpenStack processes.

Each package below is loaded by one service through that service's own entry points. It imports the
standard library, oslo.*, SQLAlchemy and its host, and nothing of the rest of Isthmus: an operator
can read it before letting it into a process that holds all the cloud's credentials.
"""
