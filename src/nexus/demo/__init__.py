"""`nexus up --demo`: two organizations with a month of believable traffic, which then goes on.

Organizations, people and keys are made over the public HTTP API; records go through the Python client: nothing else of Nexus
is imported here, which is checked. Which calls there were follows from the applications (`world`), the hour and the day the
demo began (`traffic`): the same hour always gives the same calls with the same ids, so nothing is counted twice however
often the demo is started.
"""
