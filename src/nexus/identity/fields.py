"""Types of fields that several requests share. None of them takes a NUL, which PostgreSQL's text cannot hold."""

from typing import Annotated, Literal

import msgspec

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]
Text = Annotated[str, msgspec.Meta(max_length=1000, pattern=r"^[^\x00]*$")]
Names = Annotated[
    list[Annotated[str, msgspec.Meta(max_length=64, pattern=r"^[^\x00]*$")]], msgspec.Meta(max_length=100)
]
OneTimeToken = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]
Code = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[^\x00]*$")]
MembershipName = Literal["owner", "admin", "member", "viewer"]
