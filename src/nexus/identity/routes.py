"""`/api/identity`: sign-in, one's own account, organizations, people, roles and access keys."""

from litestar import Router

from nexus.identity import (
    account_routes,
    invitation_routes,
    key_routes,
    password_routes,
    people_routes,
    second_factor_routes,
    sign_in_routes,
    single_sign_on_routes,
)

router = Router(
    "/api/identity",
    route_handlers=[
        *sign_in_routes.HANDLERS,
        *single_sign_on_routes.HANDLERS,
        *account_routes.HANDLERS,
        *second_factor_routes.HANDLERS,
        *people_routes.HANDLERS,
        *invitation_routes.HANDLERS,
        *password_routes.HANDLERS,
        *key_routes.HANDLERS,
    ],
    tags=["identity"],
)
