"""The composition roots: how the parts become processes. `all_in_one` supervises, `api` serves, `worker` works, `cli`
is the command line."""
