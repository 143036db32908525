//! The doctor's sentences, except those that are an error's own.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use ticketapi::agent::AgentStatus;
use ticketapi::card::Certificate;
use ticketapi::card::pkcs11::WINDOWS;
use ticketapi::engine::Status;
use ticketapi::http::{Origin, Proxy, ServerCertificate};

pub const CLOCK_REMEDY: &str = "Set this computer's date and time, or have them set from the network.";
pub const PROMPT_REMEDY: &str = "Install pinentry, or set pinentry to the full path of a program like it.";
pub const CHOOSER_REMEDY: &str = "Install the program, or set role_command to another one.";
pub const RENEWAL_REMEDY: &str = "Ask your Registration Authority to renew the card before then.";
pub const HIDDEN_REMEDY: &str = "Log in to find out whether the card has one.";
pub const LAST_TRY_REMEDY: &str =
    "Be sure of the PIN before you enter it, or ask your Registration Authority for help.";
pub const TRIES_REMEDY: &str = "Take care to enter the right PIN; too many wrong ones lock the card.";
pub const MUTE_REMEDY: &str = "Take the card out, wipe its contacts and put it in the right way round.";
pub const TAKEN_REMEDY: &str = "Close the other program if the login fails.";
pub const TICKET_REMEDY: &str = "Use programs that offer the size of the ticket, as ticketapi_ticket_size tells it.";
pub const TURNS_REMEDY: &str = "Take other users' rights to the folder away (chmod 700), or remove it.";
pub const BROKEN_REMEDY: &str = "Unplug the card reader and plug it in again.";

pub fn blocked(title: &str) -> String {
    format!("needs: {title}")
}

pub fn looking(title: &str) -> String {
    format!("Checking: {title} …")
}

pub fn no_turns(fault: &str) -> String {
    format!("{fault}; programs that log in at the same time do not take turns with the card")
}

pub fn browser(program: &Path) -> String {
    format!("{} opens the login page", program.display())
}

pub fn browser_prints() -> String {
    "the address of the login page is printed".to_owned()
}

pub fn browser_asks() -> String {
    "the page in the browser asks the user".to_owned()
}

pub fn not_bound(problem: &str) -> String {
    format!("{problem}; a session is bound to no card then")
}

pub fn bind_card_off() -> String {
    "not needed: bind_card is false".to_owned()
}

pub fn provider(issuer: &str) -> String {
    format!("{issuer} answers as an OpenID provider")
}

pub fn employee(identifier: &str) -> String {
    format!("the settings name the employee {identifier}")
}

pub fn employee_by_program() -> String {
    "the settings name no employee: the program has to".to_owned()
}

pub fn client(server: &str, client_id: &str) -> String {
    format!("{server} accepts the client {client_id}")
}

pub fn ticket_size(size: usize) -> String {
    format!("the ticket has {} bytes", thousands(size))
}

pub fn ticket_too_large(size: usize, room: &str) -> String {
    format!("{}; old programs that offer {room} bytes get BUFFER_TOO_SMALL", ticket_size(size))
}

pub fn ticket_unknown() -> String {
    "nobody is logged in; most tickets of OpenID providers have 1,024 to 4,096 bytes".to_owned()
}

fn thousands(number: usize) -> String {
    if number < 1000 { number.to_string() } else { format!("{},{:03}", number / 1000, number % 1000) }
}

pub fn prompt(program: &Path) -> String {
    format!("{} asks for the PIN", program.display())
}

pub fn prompt_terminal() -> String {
    "the terminal asks for the PIN".to_owned()
}

pub fn no_prompt(program: &Path, error: &io::Error) -> String {
    format!("{}, which asks for the PIN, {}", program.display(), not_usable(error))
}

pub fn no_chooser(program: &str, error: &io::Error) -> String {
    format!("{program}, which asks for the role, {}", not_usable(error))
}

fn not_usable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "does not exist".to_owned(),
        _ => format!("cannot be used: {error}"),
    }
}

pub fn path(path: &Path) -> String {
    path.display().to_string()
}

pub fn software_card() -> String {
    "not needed: the card is a file".to_owned()
}

pub fn card_in_file(path: &Path) -> String {
    format!("the card in the file {}", path.display())
}

pub fn only_with_pin() -> String {
    "a card in a file shows it only after the PIN".to_owned()
}

pub fn not_needed(problem: &str) -> String {
    format!("{problem}; the software token does not need it")
}

pub fn service() -> String {
    "it answers".to_owned()
}

pub fn no_reader() -> String {
    "there is no card reader".to_owned()
}

pub fn readers(names: &[&str]) -> String {
    names.join(", ")
}

pub fn reader_broken(name: &str) -> String {
    format!("{name} does not work")
}

pub fn no_card() -> String {
    "no card is in a reader".to_owned()
}

pub fn card(reader: &str, atr: &[u8]) -> String {
    let atr: Vec<_> = atr.iter().map(|byte| format!("{byte:02X}")).collect();
    format!("in {reader}, with the ATR {}", atr.join(" "))
}

pub fn card_mute(reader: &str) -> String {
    format!("the card in {reader} does not answer")
}

pub fn card_taken(reader: &str) -> String {
    format!("another program uses the card in {reader} exclusively")
}

pub fn no_module() -> String {
    "no PKCS#11 module is set, and none of the known ones is installed".to_owned()
}

/// The module at a path, or what is used in its place.
pub fn module(path: &Path) -> String {
    if path == Path::new(WINDOWS) { "Windows' own smartcard stack".to_owned() } else { path.display().to_string() }
}

pub fn modules(loaded: &[String], others: &[String]) -> String {
    let mut text = format!("{} can be loaded", loaded.join(", "));
    if !others.is_empty() {
        text += &format!("; {}", others.join("; "));
    }
    text
}

pub fn module_failed(module: &Path, problem: &str) -> String {
    let module = self::module(module);
    if problem.contains(&module) { problem.to_owned() } else { format!("{module}: {problem}") }
}

pub fn token(label: &str, serial: Option<&str>) -> String {
    let serial = serial.map_or_else(String::new, |serial| format!(" (serial number {serial})"));
    format!("\"{label}\"{serial}")
}

pub fn certificate_hidden() -> String {
    "the card shows no certificate before the PIN is entered".to_owned()
}

pub fn certificate(certificate: &Certificate) -> String {
    let issuer = certificate.issuer_name().unwrap_or("an issuer without a name");
    let until = date(certificate.valid_until());
    format!("user {}, issued by {issuer}, valid until {until}", certificate.uid())
}

pub fn certificate_ends(certificate: &Certificate, days: u64) -> String {
    let days = if days == 1 { "1 day".to_owned() } else { format!("{days} days") };
    format!("{}, which is in {days}", self::certificate(certificate))
}

pub fn pin_locked(label: &str) -> String {
    format!("the PIN of \"{label}\" is locked")
}

pub fn pin_last(label: &str) -> String {
    format!("one try is left for the PIN of \"{label}\": a wrong PIN locks the card")
}

pub fn pin_low(label: &str) -> String {
    format!("a wrong PIN was entered for \"{label}\" since the last right one")
}

pub fn pin_unknown() -> String {
    "the card reports no wrong PIN".to_owned()
}

pub fn address(host: &str) -> String {
    format!("{host} is an address")
}

pub fn resolved(host: &str, addresses: &[SocketAddr]) -> String {
    let mut addresses: Vec<_> = addresses.iter().map(|address| address.ip().to_string()).collect();
    addresses.dedup();
    format!("{host} is {}", addresses.join(", "))
}

pub fn connected(to: &str) -> String {
    format!("{to} accepts connections")
}

pub fn resolved_by(proxy: &Proxy) -> String {
    format!("not needed: the proxy {proxy} ({}) looks it up", proxy.named_by())
}

pub fn connected_through(proxy: &Proxy, server: &Origin) -> String {
    format!("{server} accepts connections through the proxy {proxy} ({})", proxy.named_by())
}

pub fn no_tls() -> String {
    "not needed: the server is on this computer and uses plain http".to_owned()
}

pub fn tls(shown: Option<&ServerCertificate>) -> String {
    let shown = shown.map_or_else(String::new, |shown| {
        format!(", whose certificate is from {} and valid until {}", shown.issuer, date(shown.valid_until))
    });
    format!("the server is trusted{shown}")
}

pub fn tls_refused(problem: &str, shown: Option<&ServerCertificate>) -> String {
    let issuer = shown.map_or_else(String::new, |shown| format!(" (it names the issuer {})", shown.issuer));
    format!("{problem}{issuer}")
}

pub fn clock_unknown() -> String {
    "the server does not tell its time".to_owned()
}

/// `skew` is the difference of this computer's clock; `ahead` its direction.
pub fn clock(skew: Duration, ahead: bool) -> String {
    let direction = if ahead { "ahead of" } else { "behind" };
    format!("this computer's clock is {} {direction} the server's", rough(skew))
}

pub fn clock_agrees() -> String {
    "this computer's clock and the server's agree".to_owned()
}

pub fn agent_never() -> String {
    "not used: the setting agent is never".to_owned()
}

pub fn agent(status: &AgentStatus) -> String {
    let session = match status.stands {
        Status::Live { .. } => "somebody is logged in",
        Status::Locked { .. } => "the session is locked",
        _ => "nobody is logged in",
    };
    format!("version {} runs as process {}; {session}", status.program, status.pid)
}

fn rough(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..=119 => format!("{seconds} seconds"),
        120..=7_199 => format!("{} minutes", (seconds + 30) / 60),
        7_200..=172_799 => format!("{} hours", (seconds + 1_800) / 3_600),
        _ => format!("{} days", (seconds + 43_200) / 86_400),
    }
}

/// The day, in the form of RFC 3339.
fn date(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string().chars().take(10).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_rounded_as_people_round_them() {
        let told = |seconds| rough(Duration::from_secs(seconds));
        assert_eq!(
            [told(59), told(599), told(7_200), told(400_000)],
            ["59 seconds", "10 minutes", "2 hours", "5 days"]
        );
    }
}
