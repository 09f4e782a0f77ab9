"""Who is who: organizations, people, memberships, roles and permissions, sign-in sessions, access keys.

Vocabulary. *Organization*: a tenant. *Membership*: a person's place in one, as owner, admin, member or viewer.
*Permission*: `resource:action`. *Role*: a named set of permissions. *Sign-in session*: what a person's cookie
stands for. *Access key*: what a program sends to Nexus. *Principal*: whoever a request comes from, with what it may do.

Invariants. Passwords, tokens and keys are stored as hashes only and shown once. Nobody grants what they do not hold. An
organization keeps an owner. One function, `service.permissions_of`, decides what a person may do.
"""
