//! Why the simulator refuses a request, or warns of it.

/// Why a request was refused, or warned of: what a supplier has to correct, told in the log and, of a refusal,
/// to the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The message could not be read.
    #[error("the request is not a gpOBJECT message: {0}")]
    Malformed(String),
    /// The question to the session service could not be read.
    #[error("the request is not a RequestSet with one GetSession in it")]
    NoQuestion,
    /// A parameter is not there.
    #[error("the parameter {0} is missing")]
    Missing(&'static str),
    /// A parameter comes twice.
    #[error("the parameter {0} comes twice")]
    Repeated(String),
    /// A parameter does not have the value or form that it must have here.
    #[error("the parameter {0} is wrong")]
    Wrong(&'static str),
    /// A character of a query's value is not escaped.
    #[error("the address has characters that must be escaped as %XX: {0}")]
    NotEscaped(String),
    /// A message was not sent with POST.
    #[error("the method is not POST")]
    Method,
    /// The header User-Agent is not that of an Identity Agent.
    #[error("the header User-Agent is not Mozilla/4.0(compatible;IE;GACv<version>)")]
    UserAgent,
    /// The challenge was never issued, or so long ago that it is forgotten.
    #[error("the challenge is not one that was issued here")]
    UnknownChallenge,
    /// The challenge was sent before.
    #[error("the challenge has been used before")]
    ChallengeUsed,
    /// The challenge was issued too long ago.
    #[error("the challenge is too old")]
    ChallengeExpired,
    /// A value is not what it was in an earlier message of this login.
    #[error("{0} is not the same as in an earlier message of this login")]
    NotTheSame(&'static str),
    /// The response is not a well-made S/MIME entity.
    #[error("the response's S/MIME entity: {0}")]
    Entity(String),
    /// The CMS message does not have the structure that the broker takes.
    #[error("the response's CMS message: {0}")]
    Structure(String),
    /// The signed content is not the challenge.
    #[error("the signed content is not the decoded challenge")]
    OtherContent,
    /// The signature or the certificate's chain does not hold.
    #[error("the signature or its certificate is not valid: {0}")]
    Signature(String),
    /// The certificate is of another user than `uid`.
    #[error("uid is not the common name of the certificate")]
    OtherUser,
    /// There is no session with this ticket, or it has ended.
    #[error("there is no session with this ticket")]
    UnknownTicket,
    /// The user does not have this role.
    #[error("the user has no such role")]
    UnknownRole,
    /// The test told the simulator to refuse.
    #[error("{0}")]
    Told(String),
}
