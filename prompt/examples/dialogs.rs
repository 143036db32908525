//! Shows a dialog that a login with a software card never shows, for scripts/windows/check-prompts: `last-try`, `sign`,
//! `insert-card` or `card-comes`. `ticketapi-prompt.exe` must be beside it.

#[cfg(windows)]
fn main() {
    use std::time::Duration;

    use ticketapi::cancel::CancelToken;
    use ticketapi::card::{Absence, PinStatus, PinTries};
    use ticketapi::config::Config;
    use ticketapi::prompt::{PinRequest, Prompter, SystemPrompter};

    let prompter = SystemPrompter::new(&Config::default());
    let cancel = CancelToken::new();
    let mut request = PinRequest::new("NHS card", PinStatus::new(PinTries::Last, 4, 8));
    request.uid = Some("555021935107");
    request.purpose = Some("sign 2 documents: a, b, for rx");
    match std::env::args().nth(1).as_deref() {
        Some("last-try") => match prompter.use_last_try(&request, &cancel) {
            Ok(answer) => println!("use the last try: {answer}"),
            Err(error) => println!("{error}"),
        },
        Some("sign") => match prompter.pin(&request, &cancel) {
            Ok(pin) => println!("a PIN of {} characters", pin.expose().len()),
            Err(error) => println!("{error}"),
        },
        Some("insert-card") => {
            let notice = prompter.insert_card(&Absence::NoCard, &cancel);
            let cancelled = cancel.wait(Duration::from_secs(60));
            drop(notice);
            println!("cancelled: {cancelled}");
        }
        // The card is there once a file is.
        Some("card-comes") => {
            let notice = prompter.insert_card(&Absence::NoCard, &cancel);
            while !std::path::Path::new("card").exists() {
                std::thread::sleep(Duration::from_millis(20));
            }
            drop(notice);
            println!("cancelled: {}", cancel.is_cancelled());
        }
        _ => println!("unknown dialog"),
    }
}

#[cfg(not(windows))]
fn main() {
    eprintln!("This example is for Windows only.");
}
