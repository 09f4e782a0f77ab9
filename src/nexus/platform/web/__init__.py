"""The glue to the web framework: problem details, the state every route reaches, cursors of lists."""

from nexus.platform.web.pages import Page, check_limit, decode_cursor, encode_cursor, id_of, page_of
from nexus.platform.web.problems import PROBLEM_TYPE, exception_handlers, problem_body
from nexus.platform.web.state import WebState, give_web_state, web_state

__all__ = [
    "PROBLEM_TYPE",
    "Page",
    "WebState",
    "check_limit",
    "decode_cursor",
    "encode_cursor",
    "exception_handlers",
    "give_web_state",
    "id_of",
    "page_of",
    "problem_body",
    "web_state",
]
