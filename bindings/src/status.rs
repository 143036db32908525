//! The codes, their descriptions, and the map from errors to codes.

use ticketapi::{Error, ErrorKind};

/// The call succeeded.
pub const TCK_API_SUCCESS: u32 = 0u32;
/// Set in every failure code.
pub const TCK_ERR_GRP_MASK: u32 = 0x8000_0000u32;
/// Failures of the library's use, or of the connection.
pub const TCK_ERR_GRP_GENERIC: u32 = 0x8010_0000u32;
/// Failures of the card or the reader.
pub const TCK_ERR_GRP_CARD_DEVICE: u32 = 0x8020_0000u32;
/// Failures of the login.
pub const TCK_ERR_GRP_AUTHENTICATION: u32 = 0x8040_0000u32;
/// Failures of the computer's configuration.
pub const TCK_ERR_GRP_CONFIG: u32 = 0x8080_0000u32;
/// Not returned by this library.
pub const TCK_ERR_GRP_WINDOWS: u32 = 0x8100_0000u32;

/// An internal error. Kept for old clients: this library returns INTERNAL_ERROR.
pub const TCK_API_ERR_INTERNAL: u32 = 0x8010_0001u32;
/// A call before Initialize.
pub const TCK_API_ERR_NOT_INITIALIZED: u32 = 0x8010_0002u32;
/// A parameter is null, zero or out of range.
pub const TCK_API_ERR_INVALID_PARAMETER: u32 = 0x8010_0003u32;
/// The buffer cannot hold the text and its NUL. Call again with a larger one; nobody is prompted again.
pub const TCK_API_ERR_BUFFER_TOO_SMALL: u32 = 0x8010_0004u32;
/// The handle is unknown or finalized.
pub const TCK_API_ERR_INVALID_INSTANCE_HANDLE: u32 = 0x8010_0005u32;
/// The library's current use does not allow this call.
pub const TCK_API_ERR_SERVER_BUSY: u32 = 0x8010_0006u32;
/// No trusted connection: unknown issuer, wrong name or expired certificate.
pub const TCK_API_ERR_SERVER_COMM_FAILED: u32 = 0x8010_0007u32;
/// There are too many handles (65,536), or the system has no thread, process, file descriptor or memory left.
pub const TCK_API_ERR_RESOURCE_ALLOCATION_FAILED: u32 = 0x8010_0008u32;
/// There is no ticket, and the call does not prompt: nobody is logged in, the session is locked, or the
/// required agent cannot be used. TcktApi_getErrorDescription says which.
pub const TCK_API_ERR_TICKET_NOT_AVAILABLE: u32 = 0x8010_0009u32;
/// An internal error of the library. The next call works.
pub const TCK_API_ERR_INTERNAL_ERROR: u32 = 0x8010_000Au32;
/// Not implemented.
pub const TCK_API_ERR_NOT_IMPLEMENTED: u32 = 0x8010_000Bu32;

/// The card's software does not recognise this card.
pub const TCK_API_ERR_SMARTCARD_NOT_SUPPORTED: u32 = 0x8020_0001u32;
/// The PC/SC service is not running, or there is no reader.
pub const TCK_API_ERR_READER_NOT_AVAILABLE: u32 = 0x8020_0002u32;
/// The card's certificate has expired or is not yet valid.
pub const TCK_API_ERR_SMARTCARD_NOT_VALID: u32 = 0x8020_0003u32;
/// The PIN is locked, or this login locked it.
pub const TCK_API_ERR_PIN_BLOCKED: u32 = 0x8020_0004u32;
/// The card left the reader, its software failed, or another program kept using it, during the login.
pub const TCK_API_ERR_CARD_TRANSACTION_FAILED: u32 = 0x8020_0005u32;
/// The card has no certificate to log in with.
pub const TCK_API_ERR_NO_CERT_FOUND: u32 = 0x8020_0006u32;
/// The card has no private key for its certificate.
pub const TCK_API_ERR_NO_KEY_FOUND: u32 = 0x8020_0007u32;

/// The user cancelled, in the PIN or the role prompt, or ticketapi_cancel or destroyTicket ended the login.
pub const TCK_API_ERR_USER_ABORT: u32 = 0x8040_0001u32;
/// The user gave up after a wrong PIN, or the server refused the login.
pub const TCK_API_ERR_AUTHENTICATION_FAILED: u32 = 0x8040_0002u32;
/// No card came within the time allowed, or several cards match.
pub const TCK_API_ERR_AUTHENTICATION_NOT_POSSIBLE: u32 = 0x8040_0003u32;
/// The server does not know the user, or the user has no role or not the required one.
pub const TCK_API_ERR_USER_NOT_VALID: u32 = 0x8040_0004u32;
/// The server cannot be reached, does not answer in time, or answers HTTP 5xx.
pub const TCK_API_ERR_AUTHSERVER_NOT_AVAILABLE: u32 = 0x8040_0005u32;
/// The server's response cannot be understood.
pub const TCK_API_ERR_AUTHDATA_SYNTAX_ERROR: u32 = 0x8040_0006u32;
/// Kept for old clients; not returned by this library.
pub const TCK_API_ERR_AUTH_NOT_VALID: u32 = 0x8040_0007u32;
/// Kept for old clients; not returned by this library.
pub const TCK_API_ERR_AUTHMETHOD_NOT_SUPPORTED: u32 = 0x8040_0008u32;

/// The required agent has another version.
pub const TCK_API_ERR_VERSION_CONFLICT: u32 = 0x8080_0001u32;
/// No PKCS#11 module or card helper is configured or found, or it cannot be loaded.
pub const TCK_API_ERR_NOT_INSTALLED: u32 = 0x8080_0002u32;
/// Kept for old clients; not returned by this library.
pub const TCK_API_ERR_NO_SERVERFOUND: u32 = 0x8080_0003u32;
/// The configuration cannot be read, or a value in it is wrong.
pub const TCK_API_ERR_LOAD_RES_FAILED: u32 = 0x8080_0004u32;
/// The required agent is not running or not trusted.
pub const TCK_API_ERR_AUTHMETHOD_NOT_AVAILABLE: u32 = 0x8080_0005u32;
/// The user must be asked, and no prompter is available.
pub const TCK_API_ERR_AUTHMETHOD_NOT_POSSIBLE: u32 = 0x8080_0006u32;
/// There is no such item, such as the chosen role of a user without roles.
pub const TCK_API_ERR_RESOURCE_NOT_AVAILABLE: u32 = 0x8080_0007u32;

/// Every code and its description.
pub(crate) const WORDS: &[(u32, &str)] = &[
    (TCK_API_SUCCESS, "Success"),
    (TCK_API_ERR_INTERNAL, "The library failed"),
    (TCK_API_ERR_NOT_INITIALIZED, "The library is not initialized"),
    (TCK_API_ERR_INVALID_PARAMETER, "A parameter of the call is not valid"),
    (TCK_API_ERR_BUFFER_TOO_SMALL, "The buffer is too small"),
    (TCK_API_ERR_INVALID_INSTANCE_HANDLE, "The handle is not valid"),
    (TCK_API_ERR_SERVER_BUSY, "The library is busy"),
    (TCK_API_ERR_SERVER_COMM_FAILED, "The connection to the server cannot be trusted"),
    (TCK_API_ERR_RESOURCE_ALLOCATION_FAILED, "A resource is used up"),
    (TCK_API_ERR_TICKET_NOT_AVAILABLE, "There is no ticket"),
    (TCK_API_ERR_INTERNAL_ERROR, "An internal error of the library"),
    (TCK_API_ERR_NOT_IMPLEMENTED, "This is not implemented"),
    (TCK_API_ERR_SMARTCARD_NOT_SUPPORTED, "The smartcard is not supported"),
    (TCK_API_ERR_READER_NOT_AVAILABLE, "There is no card reader"),
    (TCK_API_ERR_SMARTCARD_NOT_VALID, "The smartcard is not valid today"),
    (TCK_API_ERR_PIN_BLOCKED, "The PIN of the smartcard is locked"),
    (TCK_API_ERR_CARD_TRANSACTION_FAILED, "The smartcard could not be used for the login"),
    (TCK_API_ERR_NO_CERT_FOUND, "The smartcard has no certificate to log in with"),
    (TCK_API_ERR_NO_KEY_FOUND, "The smartcard has no key to log in with"),
    (TCK_API_ERR_USER_ABORT, "The login was cancelled"),
    (TCK_API_ERR_AUTHENTICATION_FAILED, "The login failed"),
    (TCK_API_ERR_AUTHENTICATION_NOT_POSSIBLE, "There is no smartcard to log in with"),
    (TCK_API_ERR_USER_NOT_VALID, "The user has no access"),
    (TCK_API_ERR_AUTHSERVER_NOT_AVAILABLE, "The login server is not available"),
    (TCK_API_ERR_AUTHDATA_SYNTAX_ERROR, "The login server's response cannot be understood"),
    (TCK_API_ERR_AUTH_NOT_VALID, "The login is not valid"),
    (TCK_API_ERR_AUTHMETHOD_NOT_SUPPORTED, "This kind of login is not supported"),
    (TCK_API_ERR_VERSION_CONFLICT, "The versions are not compatible"),
    (TCK_API_ERR_NOT_INSTALLED, "The smartcard's software is not installed"),
    (TCK_API_ERR_NO_SERVERFOUND, "No login server is configured"),
    (TCK_API_ERR_LOAD_RES_FAILED, "The configuration cannot be used"),
    (TCK_API_ERR_AUTHMETHOD_NOT_AVAILABLE, "This kind of login is not available"),
    (TCK_API_ERR_AUTHMETHOD_NOT_POSSIBLE, "The user cannot be asked"),
    (TCK_API_ERR_RESOURCE_NOT_AVAILABLE, "There is no such item"),
];

/// Returns the description of `code`, if it is known.
pub(crate) fn words(code: u32) -> Option<&'static str> {
    WORDS.iter().find(|(known, _)| *known == code).map(|(_, words)| *words)
}

/// Why a call failed: a code, and a sentence for the user if there is more to say.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u32,
    pub(crate) detail: Option<String>,
    /// The core's error, if it comes from one.
    pub(crate) cause: Option<Box<Error>>,
}

impl Failure {
    pub(crate) fn new(code: u32) -> Self {
        Self { code, detail: None, cause: None }
    }

    /// For calls that never log in: one code for every reason why there is no ticket.
    pub(crate) fn no_ticket(error: Error) -> Self {
        Self { code: TCK_API_ERR_TICKET_NOT_AVAILABLE, ..error.into() }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { code: code(error.kind()), detail: Some(error.to_string()), cause: Some(Box::new(error)) }
    }
}

fn code(kind: &ErrorKind) -> u32 {
    match kind {
        ErrorKind::Configuration | ErrorKind::SoftwareCard => TCK_API_ERR_LOAD_RES_FAILED,
        ErrorKind::NotInstalled => TCK_API_ERR_NOT_INSTALLED,
        ErrorKind::ReaderNotAvailable => TCK_API_ERR_READER_NOT_AVAILABLE,
        ErrorKind::NoCard | ErrorKind::SeveralCards => TCK_API_ERR_AUTHENTICATION_NOT_POSSIBLE,
        ErrorKind::CardNotSupported | ErrorKind::KeyNotSupported => TCK_API_ERR_SMARTCARD_NOT_SUPPORTED,
        ErrorKind::NoCertificate => TCK_API_ERR_NO_CERT_FOUND,
        ErrorKind::NoKey => TCK_API_ERR_NO_KEY_FOUND,
        ErrorKind::CertificateNotValid => TCK_API_ERR_SMARTCARD_NOT_VALID,
        ErrorKind::PinIncorrect { .. } | ErrorKind::Refused => TCK_API_ERR_AUTHENTICATION_FAILED,
        ErrorKind::PinLocked => TCK_API_ERR_PIN_BLOCKED,
        ErrorKind::CardFailed | ErrorKind::CardBusy => TCK_API_ERR_CARD_TRANSACTION_FAILED,
        ErrorKind::Cancelled => TCK_API_ERR_USER_ABORT,
        ErrorKind::AgentVersion => TCK_API_ERR_VERSION_CONFLICT,
        ErrorKind::AgentNotAvailable | ErrorKind::AgentRunning => TCK_API_ERR_AUTHMETHOD_NOT_AVAILABLE,
        ErrorKind::NoPrompter => TCK_API_ERR_AUTHMETHOD_NOT_POSSIBLE,
        ErrorKind::ServerNotAvailable => TCK_API_ERR_AUTHSERVER_NOT_AVAILABLE,
        ErrorKind::Tls | ErrorKind::TlsNotSupported => TCK_API_ERR_SERVER_COMM_FAILED,
        ErrorKind::BadAnswer => TCK_API_ERR_AUTHDATA_SYNTAX_ERROR,
        ErrorKind::UserNotValid => TCK_API_ERR_USER_NOT_VALID,
        ErrorKind::TicketNotAvailable => TCK_API_ERR_TICKET_NOT_AVAILABLE,
        ErrorKind::LoginUnderWay => TCK_API_ERR_SERVER_BUSY,
        ErrorKind::NotImplemented => TCK_API_ERR_NOT_IMPLEMENTED,
        ErrorKind::InvalidParameter => TCK_API_ERR_INVALID_PARAMETER,
        ErrorKind::NoResources => TCK_API_ERR_RESOURCE_ALLOCATION_FAILED,
        // An unknown kind is an internal error, too.
        _ => TCK_API_ERR_INTERNAL_ERROR,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use ticketapi::ErrorKind::*;
    use ticketapi::Group;

    use super::*;

    pub(crate) const KINDS: &[ErrorKind] = &[
        Configuration,
        NotInstalled,
        ReaderNotAvailable,
        NoCard,
        SeveralCards,
        CardNotSupported,
        NoCertificate,
        NoKey,
        KeyNotSupported,
        SoftwareCard,
        CertificateNotValid,
        PinIncorrect { tries_left: None },
        PinLocked,
        CardFailed,
        CardBusy,
        Cancelled,
        NoPrompter,
        ServerNotAvailable,
        Tls,
        TlsNotSupported,
        BadAnswer,
        Refused,
        UserNotValid,
        TicketNotAvailable,
        LoginUnderWay,
        AgentNotAvailable,
        AgentRunning,
        AgentVersion,
        Internal,
        NotImplemented,
        InvalidParameter,
        NotWritten,
        NoResources,
    ];

    #[test]
    fn each_code_is_of_the_group_of_its_kind() {
        for kind in KINDS {
            let group = match kind.group() {
                Group::Generic => TCK_ERR_GRP_GENERIC,
                Group::CardDevice => TCK_ERR_GRP_CARD_DEVICE,
                Group::Authentication => TCK_ERR_GRP_AUTHENTICATION,
                Group::Configuration => TCK_ERR_GRP_CONFIG,
                other => panic!("{other:?} has no codes"),
            };
            assert_eq!(code(kind) & 0xFFFF_0000, group, "{kind:?}");
        }
    }
}
