//! Why the simulator refuses a request or warns of it.

/// Why a request was refused, or caused a warning. The log shows it to the supplier, and a refusal also to the
/// client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The message could not be parsed.
    #[error("the request is not a gpOBJECT message: {0}")]
    Malformed(String),
    /// The request to the session service could not be parsed.
    #[error("the request is not a RequestSet with one GetSession in it")]
    NoQuestion,
    /// A parameter is missing.
    #[error("the parameter {0} is missing")]
    Missing(&'static str),
    /// A parameter is repeated.
    #[error("the parameter {0} is repeated")]
    Repeated(String),
    /// A parameter does not have the required value or form.
    #[error("the parameter {0} is wrong")]
    Wrong(&'static str),
    /// A character in a query's value is not escaped.
    #[error("the URL has characters that must be escaped as %XX: {0}")]
    NotEscaped(String),
    /// A message was not sent with POST.
    #[error("the method is not POST")]
    Method,
    /// The header User-Agent is not an Identity Agent's.
    #[error("the header User-Agent is not Mozilla/4.0(compatible;IE;GACv<version>)")]
    UserAgent,
    /// The challenge was never issued, or has been dropped.
    #[error("the challenge was not issued by this server")]
    UnknownChallenge,
    /// The challenge was already used.
    #[error("the challenge was already used")]
    ChallengeUsed,
    /// The challenge has expired.
    #[error("the challenge has expired")]
    ChallengeExpired,
    /// A value differs from an earlier message of this login.
    #[error("{0} differs from an earlier message of this login")]
    NotTheSame(&'static str),
    /// The response is not a well-formed S/MIME entity.
    #[error("the response's S/MIME entity: {0}")]
    Entity(String),
    /// The CMS message does not have the required structure.
    #[error("the response's CMS message: {0}")]
    Structure(String),
    /// The signed content is not the challenge.
    #[error("the signed content is not the decoded challenge")]
    OtherContent,
    /// The signature or the certificate's chain is not valid.
    #[error("the signature or its certificate is not valid: {0}")]
    Signature(String),
    /// The certificate belongs to another user than `uid`.
    #[error("uid is not the common name of the certificate")]
    OtherUser,
    /// There is no session with this ticket, or it has ended.
    #[error("there is no session with this ticket")]
    UnknownTicket,
    /// The user does not have this role.
    #[error("the user has no such role")]
    UnknownRole,
    /// The test asked the simulator to refuse.
    #[error("{0}")]
    Requested(String),
}
