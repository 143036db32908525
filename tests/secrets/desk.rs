//! The host's desk: a broker, a card, and programs that record their arguments and environment.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ticketapi_testkit::artifacts::{helper_program, scripted_module};
use ticketapi_testkit::spine::Outcome;
use ticketapi_testkit::{CardSpec, SoftHsm, Spine, TestCa};

use crate::search::form_in;
use crate::support::memory::Masked;
use crate::support::{UID, script};
use crate::{PIN, TICKET, TICKET_IN_URL, WRONG_PIN};

/// The user's answer to each PIN prompt; `None` presses cancel.
pub struct Pinentry(pub &'static [Option<&'static str>]);

pub struct Desk {
    pub spine: Spine,
    /// A shell command that chooses the role.
    pub chooser: &'static str,
    pinentry: Pinentry,
    settings: Vec<(&'static str, PathBuf)>,
    folder: tempfile::TempDir,
    _hsm: Option<SoftHsm>,
}

/// Everything that a login emitted.
pub struct Emitted {
    desk: Desk,
    output: Vec<u8>,
}

impl Desk {
    pub fn with_software_card(pinentry: Pinentry) -> Self {
        let (mut desk, ca) = Self::new(pinentry);
        let file = desk.path("card.p12");
        ca.issue(&CardSpec::new(UID)).unwrap().write_pkcs12(&file, PIN).unwrap();
        desk.settings.push(("SOFTWARE_CARD", file));
        desk
    }

    /// A desk with a token behind a module that does `fault`, or works if it is empty.
    pub fn with_token(fault: &str, pinentry: Pinentry) -> Self {
        let (mut desk, ca) = Self::new(pinentry);
        let hsm = SoftHsm::new().unwrap();
        hsm.add_card("card", PIN, &ca.issue(&CardSpec::new(UID)).unwrap()).unwrap();
        let (module, helper) = (desk.path("scripted.so"), desk.path("helper"));
        fs::copy(scripted_module(), &module).unwrap();
        let told = format!(
            "module {}\nenv SOFTHSM2_CONF {}\nreport C_Login {}\nreport C_Sign {}\n{fault}\n",
            hsm.module().display(),
            hsm.conf().display(),
            desk.path("processes/module-at.login").display(),
            desk.path("processes/module-at.signing").display()
        );
        fs::write(desk.path("scripted.so.script"), told).unwrap();
        desk.recording(&helper, &format!("exec {:?} \"$@\"\n", helper_program()));
        desk.settings.extend([("PKCS11_MODULE", module), ("HELPER", helper)]);
        desk._hsm = Some(hsm);
        desk
    }

    fn new(pinentry: Pinentry) -> (Self, TestCa) {
        let ca = TestCa::new().unwrap();
        let spine = Spine::builder().strict().card_ca(&ca).start().unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("tmp")).unwrap();
        fs::create_dir(folder.path().join("processes")).unwrap();
        (Self { spine, chooser: "head -n 1", pinentry, settings: Vec::new(), folder, _hsm: None }, ca)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a program that records its arguments and environment and then runs `body`.
    fn recording(&self, file: &Path, body: &str) {
        let kept = self.path("processes").join(file.file_name().unwrap());
        script(file, &format!("cat /proc/$$/cmdline /proc/$$/environ >> {kept:?}.$$\n{body}"));
    }

    fn write_pinentry(&self) -> PathBuf {
        let file = self.path("pinentry");
        let answers = self.pinentry.0.iter().enumerate().map(|(number, pin)| match pin {
            // In octal, which is none of the forms that are searched for.
            Some(pin) => {
                let escaped = pin.replace('%', "%25");
                let octal: String = escaped.bytes().map(|byte| format!("\\{byte:03o}")).collect();
                format!("{}) printf 'D {octal}\\n' ;;\n", number + 1)
            }
            None => format!("{}) echo 'ERR 83886179 cancelled'; continue ;;\n", number + 1),
        });
        let body = format!(
            "echo OK\nwhile read -r line; do\n  printf '%s\\n' \"$line\" >> $0.heard\n\
             if [ \"$line\" = GETPIN ]; then\n  echo >> $0.asked\n  case $(wc -l < $0.asked) in\n{}  esac\nfi\n\
             echo OK\ndone\n",
            answers.collect::<String>()
        );
        self.recording(&file, &body);
        file
    }

    /// Makes the host log in with the engine or in steps, and expects this outcome.
    pub fn host(mut self, way: &str, outcome: &str) -> Emitted {
        let chooser = self.path("chooser");
        self.recording(&chooser, &format!("tee $0.heard | ({})\n", self.chooser));
        self.settings.extend([("PINENTRY", self.write_pinentry()), ("ROLE_COMMAND", chooser)]);
        self.settings.push(("CA_FILE", self.spine.ca_file().to_owned()));

        let mut host = Command::new(std::env::current_exe().unwrap());
        host.args(["host", "--exact", "--nocapture", "--test-threads=1"]).env_clear().current_dir(self.path("tmp"));
        host.env("PATH", std::env::var_os("PATH").unwrap());
        for name in ["TMPDIR", "HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"] {
            host.env(name, self.path("tmp"));
        }
        for (name, value) in &self.settings {
            host.env(format!("TICKETAPI_{name}"), value);
        }
        let pins = [PIN, WRONG_PIN].map(Masked::hex_of).join(",");
        host.env("TICKETAPI_BASE_URL", self.spine.url()).env("TICKETAPI_CARD_WAIT", "0");
        host.env("TICKETAPI_CARD_TIMEOUT", "3").env("RUST_BACKTRACE", "full");
        host.env("TICKETAPI_TEST_HOST", way).env("TICKETAPI_TEST_PINS", pins);
        let output = host.output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        let shown = String::from_utf8_lossy(&text);
        assert!(output.status.success(), "{shown}");
        assert!(shown.contains(&format!("outcome: {outcome}\n")), "not {outcome}: {shown}");
        Emitted { desk: self, output: text }
    }

    /// The secrets: PINs, and the broker's tickets and challenges, also as signed.
    fn secrets(&self) -> Vec<Vec<u8>> {
        let given = self.spine.log().into_iter().filter_map(|entry| match entry.answer {
            Outcome::Ticket(ticket) => Some(ticket.into_bytes()),
            Outcome::Challenge(challenge) => Some(BASE64.decode(challenge).unwrap()),
            _ => None,
        });
        given.chain([PIN, WRONG_PIN, TICKET, TICKET_IN_URL].map(Into::into)).collect()
    }
}

impl Emitted {
    /// Checks that arguments and environment of these programs were recorded.
    pub fn by_way_of(self, programs: &[&str]) -> Self {
        let mut files = Vec::new();
        add_files(&self.desk.path("processes"), &mut files);
        for program in programs {
            let ran = |(file, content): &(PathBuf, Vec<u8>)| {
                file.file_stem().is_some_and(|name| name == *program)
                    && String::from_utf8_lossy(content).contains("TICKETAPI_BASE_URL")
            };
            assert!(files.iter().any(ran), "nothing was kept of {program}");
        }
        self
    }

    /// Searches everything that was emitted.
    pub fn shows_no_secret(self) {
        let mut emitted = vec![(PathBuf::from("the host's output"), self.output)];
        add_files(self.desk.folder.path(), &mut emitted);
        let text = String::from_utf8_lossy(&emitted[0].1);
        assert!(
            self.desk.spine.handshakes() == 0 || text.contains("TRACE rustls"),
            "it did not log everything: {text}"
        );
        for secret in self.desk.secrets() {
            for (place, content) in &emitted {
                if let Some(form) = form_in(content, &secret) {
                    let (secret, content) = (String::from_utf8_lossy(&secret), String::from_utf8_lossy(content));
                    panic!("{secret:?} is in {place:?}, {form}: {content}");
                }
            }
        }
    }
}

fn add_files(folder: &Path, found: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            add_files(&path, found);
        } else if path.extension().is_none_or(|extension| extension != "so") {
            found.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
}
