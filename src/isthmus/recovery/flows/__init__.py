"""What operations do with protection groups: recipes, actions and removers for `isthmus.operations`.

`declared` keeps what people declare and what is known of checkpoints. `protect`, `drill`, `failover`
and `cleanup` plan operations of their kind; the modules they share the actions with talk to the
clouds through the interfaces of `isthmus.recovery`, and decide nothing that those decide.
"""
