//! Prompts on a terminal.

use crate::host::{host_on_terminal, on_terminal};
use crate::person::{Person, ROWS};
use crate::support::{Desk, script};

#[test]
fn the_typed_pin_is_not_shown() {
    let mut person = Person::asked("pin 0");
    person.sees_text("PIN (not shown):");
    assert!(
        person.screen().contains("Enter your PIN\nNHS Spine login: card of user 123456789012 (NHS card)"),
        "{}",
        person.screen()
    );
    assert!(!person.echoes());
    // Arrow keys are not part of a PIN; ü has two bytes, which one backspace deletes.
    person.press("48xü\x7f\x7f\x1b[A21\r");
    assert!(person.outcome().contains("answer: 4821\n"));
    for typed in ["4", "8", "x", "ü", "21"] {
        assert!(!person.written().replace("123456789012", "").contains(typed), "{typed}: {}", person.written());
    }
}

#[test]
fn a_typed_pin_can_be_deleted() {
    let mut person = Person::asked("pin 0");
    person.sees_text("PIN (not shown):");
    person.press("999\x154821\r");
    assert!(person.outcome().contains("answer: 4821\n"));
}

#[test]
fn a_wrong_pin_is_shown_with_the_tries_left() {
    let mut person = Person::asked("pin 2");
    person.sees_text("PIN (not shown):");
    assert!(person.screen().contains("Wrong PIN.\nEnter your PIN (2 tries left)\n"), "{}", person.screen());
    person.press("4821\r");
    assert!(person.outcome().contains("answer: 4821\n"));
}

#[test]
fn ctrl_c_ctrl_d_and_esc_cancel_each_question() {
    for (question, shown) in [
        ("pin 0", "PIN (not shown):"),
        ("last-try 1", "Type yes or no:"),
        ("role 3", "Number (1 to 3):"),
        ("big-role 300", "300 of 300"),
    ] {
        for key in ["\x03", "\x04", "\x1b"] {
            let mut person = Person::asked(question);
            person.sees_text(shown);
            person.press(key);
            assert!(person.outcome().contains("cancelled: the login was cancelled\n"), "{question} {key:?}");
        }
    }
}

#[test]
fn another_thread_cancels_each_question_within_200_ms() {
    for (question, shown) in [
        ("pin 0", "PIN (not shown):"),
        ("last-try 1", "Type yes or no:"),
        ("role 3", "Number (1 to 3):"),
        ("big-role 300", "300 of 300"),
        ("card 0", "Insert your card"),
    ] {
        let mut person = Person::asked(question);
        person.sees_text(shown);
        person.makes("cancel");
        let outcome = person.outcome();
        assert!(outcome.contains("cancelled") && outcome.contains("at once\n"), "{question}: {outcome}");
        assert!(!outcome.contains("late"), "{question}: {outcome}");
    }
}

#[test]
fn a_question_that_nobody_answers_ends_at_the_time_out() {
    for (question, told) in [
        ("pin 0", "the PIN was not entered in time"),
        ("last-try 1", "the PIN was not entered in time"),
        ("role 3", "no role was chosen in time"),
        ("big-role 300", "no role was chosen in time"),
    ] {
        let mut person = Person::asked_with(question, &[("TICKETAPI_PROMPT_TIMEOUT", "1")]);
        let outcome = person.outcome();
        assert!(outcome.contains(&format!("cancelled: {told}\n")), "{question}: {outcome}");
    }
}

#[test]
fn the_last_try_needs_the_whole_word_yes() {
    for (typed, answer) in [("yes", true), ("YES", true), ("y", false), ("no", false), ("", false)] {
        let mut person = Person::asked("last-try 1");
        person.sees_text("Use the last try? Type yes or no:");
        assert!(person.screen().contains("This is the last try: a wrong PIN locks the card."));
        person.press(&format!("{typed}\r"));
        assert!(person.outcome().contains(&format!("answer: {answer}\n")), "{typed:?}");
    }
}

#[test]
fn few_roles_are_chosen_by_number() {
    let mut person = Person::asked("role 3");
    person.sees_text("Number (1 to 3):");
    let screen = person.screen();
    assert!(screen.contains("Choose your role:\n     Role    Organisation                         Code\n"), "{screen}");
    assert!(screen.contains("\n  1  Nurse   --help <b>Ysbyty Môn</b> & 'Sons\\n'  RX0\n"), "{screen}");
    assert!(screen.contains("\n  3  Porter  TRUST 2                              RX2\n"), "{screen}");
    person.press("9\r");
    person.sees("a second question", |screen| screen.matches("Number (1 to 3):").count() == 2);
    person.press("3\x7f2\r");
    assert!(person.outcome().contains("answer: 1\n"));
}

#[test]
fn more_than_five_roles_can_be_searched() {
    for (question, shown) in [("role 5", "Number (1 to 5):"), ("role 6", "6 of 6 roles")] {
        let mut person = Person::asked(question);
        person.sees_text(shown);
        person.press("\x1b");
        assert!(person.outcome().contains("cancelled"));
    }
}

#[test]
fn a_pin_is_limited_to_256_bytes() {
    let mut person = Person::asked("pin 0");
    person.sees_text("PIN (not shown):");
    // The last character has two bytes, but there is room for one.
    person.press(&format!("{}éx\r", "4".repeat(255)));
    assert!(person.outcome().contains(&format!("answer: {}x\n", "4".repeat(255))));
}

#[test]
fn many_roles_are_searched_while_typing() {
    let mut person = Person::asked("big-role 300");
    person.sees_text("300 of 300 roles");
    assert_eq!(person.screen().lines().count(), usize::from(ROWS), "it takes the whole height");
    person.press("nurse rx12");
    person.sees_text("5 of 300 roles");
    let screen = person.screen();
    for found in ["> Nurse   TRUST 12 ", "  Nurse   TRUST 120 ", "  Nurse   TRUST 123 ", "  Nurse   TRUST 129 "] {
        assert!(screen.contains(found), "{found}: {screen}");
    }
    person.press("\x1b[B\x1b[B");
    person.sees_text("> Nurse   TRUST 123");
    person.press("\x1b[A");
    person.sees_text("> Nurse   TRUST 120");
    // Enter chooses nothing if nothing is found.
    person.press("zz\r");
    person.sees_text("0 of 300 roles");
    person.press("\x7f\x7f\x7f\x7f\x7f\x7f");
    person.sees_text("100 of 300 roles");
    person.press("\x1b[F\r");
    assert!(person.outcome().contains("answer: 297\n"));
    person.sees_text("TRUST 297 (RX297): Clinical : General : Nurse");
    assert!(!person.screen().contains("of 300 roles"), "the list is left: {}", person.screen());
}

#[test]
fn every_encoding_of_the_keys_that_move_in_the_list_works() {
    let mut person = Person::asked("big-role 300");
    person.sees_text("300 of 300 roles");
    let page = usize::from(ROWS) - 4;
    for (keys, marked) in [
        ("\x1b[B", 1),
        ("\x1bOB", 2),
        // With a modifier key.
        ("\x1b[1;5B", 3),
        ("\x1b[6~", 3 + page),
        ("\x1b[6~", 3 + 2 * page),
        ("\x1b[5~", 3 + page),
        ("\x1b[4~", 299),
        ("\x1b[1~\x1b[B", 1),
        ("\x1b[8~", 299),
        ("\x1b[7~\x1b[B", 1),
        ("\x1b[F", 299),
        ("\x1b[H\x1b[B", 1),
        // Delete, F5, Shift-PageUp and Alt-x do nothing.
        ("\x1b[3~\x1b[15~\x1b[5;2~\x1bx\x1b[B", 2),
    ] {
        person.press(keys);
        let line = format!(" TRUST {marked} ");
        // No key is typed into the search.
        let is_marked = |screen: &str| screen.lines().any(|shown| shown.starts_with('>') && shown.contains(&line));
        person.sees(&line, |screen| is_marked(screen) && screen.contains("300 of 300 roles"));
    }
    person.press("\r");
    assert!(person.outcome().contains("answer: 2\n"));
}

#[test]
fn a_pin_may_have_characters_of_any_length() {
    let mut person = Person::asked("pin 0");
    person.sees_text("PIN (not shown):");
    person.press("4é€😀\r");
    assert!(person.outcome().contains("answer: 4é€😀\n"));
}

#[test]
fn a_terminal_that_holds_back_output_delays_the_prompt_at_most_until_the_time_out() {
    let mut person = Person::asked_with("role 3", &[("TICKETAPI_PROMPT_TIMEOUT", "2")]);
    person.sees_text("Number (1 to 3):");
    person.holds_output();
    person.press("9\r");
    assert!(person.outcome().contains("cancelled: no role was chosen in time\n"));
}

#[test]
fn closing_the_window_ends_each_question() {
    for (question, shown) in
        [("pin 0", "PIN (not shown):"), ("role 3", "Number (1 to 3):"), ("big-role 300", "300 of 300")]
    {
        // A host that outlives its window.
        let mut person = Person::at_terminal(|folder| host_on_terminal(question, folder, "trap '' HUP; exec \"$@\""));
        person.sees_text(shown);
        let printed = person.closes_window();
        assert!(printed.contains("cancelled: the terminal was closed\n"), "{question}: {printed}");
    }
}

#[test]
fn the_text_insert_your_card_disappears_when_the_card_is_inserted() {
    let mut person = Person::at_terminal(|folder| {
        host_on_terminal("card 0", folder, "echo 'what was there before' >/dev/tty; exec \"$@\"")
    });
    person.sees_text("what was there before\nInsert your card (Ctrl-C cancels)");
    // Keys without a meaning here are not left for the shell.
    person.press("x\r");
    person.makes("card");
    assert!(person.outcome().contains("a card, gone at once\n"));
    assert_eq!(person.screen(), "what was there before");
}

#[test]
fn the_text_enter_your_pin_on_the_reader_is_shown_with_the_tries_left_until_the_end() {
    let mut person = Person::asked("reader 2");
    person.sees_text("Enter your PIN on the card reader (2 tries left)\nNHS Spine login: card of user 123456789012 (NHS card) (Ctrl-C cancels)");
    person.makes("card");
    assert!(person.outcome().contains("a card, gone at once\n"));
    assert_eq!(person.screen(), "");
}

#[test]
fn ctrl_c_cancels_waiting_for_a_card_or_a_pin_pad() {
    for (question, shown) in [("card 0", "Insert your card"), ("reader 0", "Enter your PIN on the card reader")] {
        let mut person = Person::asked(question);
        person.sees_text(shown);
        person.press("\x03");
        assert!(person.outcome().contains("cancelled, gone at once\n"));
    }
}

#[test]
fn the_text_about_an_unrecognized_card_is_shown_in_full() {
    let why = "it is a bank card, and whoever put it there should put the smartcard that they log in with there";
    let mut person = Person::at_terminal(|folder| {
        std::fs::write(folder.join("absence"), why).unwrap();
        host_on_terminal("card 0", folder, "exec \"$@\"")
    });
    person.sees_text("cancels)");
    assert_eq!(person.screen().replace('\n', " "), format!("Card not recognised: {why} (Ctrl-C cancels)"));
    person.makes("card");
    assert!(person.outcome().contains("a card"));
    assert_eq!(person.screen(), "");
}

#[test]
fn a_background_job_gets_an_error_instead_of_being_stopped() {
    // With -m a shell gives each job its own process group.
    let in_background = "set -m; \"$@\" & wait $!";
    for question in ["pin 0", "role 3", "big-role 300"] {
        let mut person = Person::at_terminal(|folder| {
            let mut host = host_on_terminal(question, folder, in_background);
            host.env("TICKETAPI_PROMPTER", "terminal");
            host
        });
        let outcome = person.outcome();
        assert!(outcome.contains("NoPrompter") && outcome.contains("foreground"), "{outcome}");
    }
    let mut person = Person::at_terminal(|folder| host_on_terminal("pin 0", folder, in_background));
    assert!(person.outcome().contains("NoPrompter: nobody can be asked for the PIN"));
}

#[test]
fn the_terminal_is_preferred_to_an_installed_pinentry() {
    let mut person = Person::at_terminal(|folder| {
        script(&folder.join("pinentry"), "exit 1");
        host_on_terminal("pin 0", folder, "exec \"$@\"")
    });
    person.sees_text("PIN (not shown):");
    person.press("4821\r");
    assert!(person.outcome().contains("answer: 4821\n"));
}

#[test]
fn a_terminal_without_cursor_control_shows_every_role_with_a_number() {
    let mut person = Person::asked_with("role 8", &[("TERM", "dumb")]);
    person.sees_text("Number (1 to 8):");
    person.press("8\r");
    assert!(person.outcome().contains("answer: 7\n"));
}

#[test]
fn a_whole_login_works_on_a_terminal() {
    let desk = Desk::with(|spine| spine.roles(8));
    let last = desk.spine.roles().last().unwrap().clone();
    let mut person = Person::at_terminal(|folder| {
        let example = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("examples/login");
        let mut login = on_terminal(&example, "exec \"$@\"");
        login.env("XDG_CONFIG_HOME", folder);
        login.env("TICKETAPI_BASE_URL", desk.spine.url()).env("TICKETAPI_CA_FILE", desk.path("ca.pem"));
        login.env("TICKETAPI_SOFTWARE_CARD", desk.path("card.p12"));
        login
    });
    person.sees_text("PIN (not shown):");
    person.press("0000\r");
    person.sees_text("Wrong PIN.");
    person.sees("a second question", |screen| screen.matches("PIN (not shown):").count() == 2);
    person.press(&format!("{}\r", crate::support::PIN));
    person.sees_text("8 of 8 roles");
    person.press(&format!("{}\r", last.id));
    assert!(person.outcome().contains(&format!("[{}]\n", last.id)));
    assert_eq!(desk.spine.open_sessions(), 0);
}
