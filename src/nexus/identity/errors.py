"""What identity refuses."""

from nexus.kit.errors import (
    Conflict,
    Forbidden,
    InvalidRequest,
    NotFound,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
)


class WrongCredentials(Unauthenticated):
    """E-mail address or password is wrong."""

    code = "wrong_credentials"


class AccountLocked(TooManyRequests):
    """Too many failed attempts: wait, then try again."""

    code = "account_locked"


class SessionEnded(Unauthenticated):
    """The session has ended: sign in again."""

    code = "session_ended"


class WrongCode(Unauthenticated):
    """The code is wrong, or was used before."""

    code = "wrong_code"


class ChallengeEnded(Unauthenticated):
    """The sign-in took too long, or is over: begin it again."""

    code = "challenge_ended"


class AlreadyEnrolled(Conflict):
    """There is a second factor already: take it away before you enrol another."""

    code = "already_enrolled"


class NotEnrolled(Conflict):
    """There is no second factor on this account."""

    code = "not_enrolled"


class ReauthenticationRequired(Forbidden):
    """This needs a fresh proof of who you are: give your password again."""

    code = "reauthentication_required"


class InvalidAccessKey(Unauthenticated):
    """The access key is unknown, expired or revoked."""

    code = "invalid_access_key"


class MissingPermission(Forbidden):
    """You do not hold the permission this needs."""

    code = "missing_permission"


class CrossSiteRequest(Forbidden):
    """The request came from another site, so the session's cookie does not count."""

    code = "cross_site_request"


class NoOrganization(Forbidden):
    """Name one of your organizations in the header X-Nexus-Organization."""

    code = "no_organization"


class CannotGrant(Forbidden):
    """Nobody grants what they do not hold."""

    code = "cannot_grant"


class ProviderFailed(Unavailable):
    """The provider could not tell who you are: try again, or tell an administrator."""

    code = "provider_failed"


class UnknownProvider(NotFound):
    """There is no such sign-in provider."""

    code = "unknown_provider"


class FlowEnded(Unauthenticated):
    """This sign-in has ended, or was begun in another browser: begin it again."""

    code = "flow_ended"


class LinkFirst(Forbidden):
    """The address has an account: sign in to it with your password and link the provider in your settings."""

    code = "link_first"


class NotAllowedHere(Forbidden):
    """The provider knows you, but people of your address are not let in here: ask for an invitation."""

    code = "not_allowed_here"


class AlreadyLinked(Conflict):
    """This identity of the provider is linked to an account already."""

    code = "already_linked"


class LastWayIn(Conflict):
    """The account has no password and no other provider: nobody could enter it any more."""

    code = "last_way_in"


class CannotReset(Forbidden):
    """The account belongs to another organization too, or may do more than you: ask a system administrator."""

    code = "cannot_reset"


class SignInToAccept(Forbidden):
    """The address has an account: sign in to it, then accept."""

    code = "sign_in_to_accept"


class LastOwner(Conflict):
    """An organization keeps at least one owner."""

    code = "last_owner"


class AlreadyTaken(Conflict):
    """Somebody has it already."""

    code = "already_taken"


class UnknownUser(NotFound):
    """There is no such user here."""

    code = "unknown_user"


class UnknownAccessKey(NotFound):
    """There is no such access key here."""

    code = "unknown_access_key"


class UnknownRole(NotFound):
    """There is no such role here."""

    code = "unknown_role"


class UnknownOrganization(NotFound):
    """There is no such organization, or you do not belong to it."""

    code = "unknown_organization"


class WeakPassword(InvalidRequest):
    """The password is too weak."""

    code = "weak_password"
