"""The control plane's application: the slices' routes in the framework, served with the parts of one process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from functools import cache
from typing import Any

from litestar import Litestar
from litestar.openapi import OpenAPIConfig
from litestar.routes import BaseRoute

import nexus
from nexus.admission.loans.routes import router as loans_router
from nexus.admission.routes import router as admission_router
from nexus.catalog.routes import router as catalog_router
from nexus.costs.routes import router as costs_router
from nexus.dashboards.routes import router as dashboards_router
from nexus.entry.documentation import describe
from nexus.governance.routes import router as governance_router
from nexus.identity.authentication import AuthenticationMiddleware
from nexus.identity.provider_credential_routes import router as credential_router
from nexus.identity.routes import router as identity_router
from nexus.issues.routes import router as issues_router
from nexus.mcp.routes import router as mcp_router
from nexus.metering.body_routes import router as body_router
from nexus.metering.routes import router as metering_router
from nexus.metrics.routes import router as metrics_router
from nexus.operations.routes import router as operations_router
from nexus.platform.web import WebState, exception_handlers, give_web_state
from nexus.storage.routes import router as storage_router

_MAX_BODY_BYTES = 1024 * 1024


@cache
def _framework() -> Litestar:
    """Build the routes. They know no process's parts, so once is enough however many applications are made."""
    return Litestar(
        [
            identity_router,
            credential_router,
            catalog_router,
            admission_router,
            loans_router,
            metering_router,
            mcp_router,
            issues_router,
            metrics_router,
            storage_router,
            body_router,
            costs_router,
            governance_router,
            operations_router,
            dashboards_router,
        ],
        exception_handlers=exception_handlers,
        middleware=[AuthenticationMiddleware],
        openapi_config=OpenAPIConfig(
            title="Nexus",
            version=nexus.__version__,
            description="Self-hosted control plane for API consumption.",
            path="/_openapi",
            render_plugins=[],
        ),
        request_max_body_size=_MAX_BODY_BYTES,
        logging_config=None,
    )


@cache
def _description() -> bytes:
    return describe(_framework())


class ControlPlane:
    """The control plane of one process, as an ASGI application."""

    def __init__(self, state: WebState) -> None:
        self.state = state
        self._framework = _framework()

    @property
    def routes(self) -> Sequence[BaseRoute]:
        """All its routes."""
        return self._framework.routes

    def description(self) -> bytes:
        """Return the OpenAPI document of the whole port, as JSON. It takes a second to make the first time."""
        return _description()

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        """Answer one request."""
        give_web_state(scope, self.state)
        await self._framework(scope, receive, send)  # type: ignore[arg-type]
