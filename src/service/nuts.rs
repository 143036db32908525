//! An employer's Nuts node. One login, in reading order: employee, contract, signing session, page in the browser,
//! presentation, verification.
//!
//! `contract`, `presentation`, `ticket` and `time` are pure; `node` has the requests.

mod contract;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod landing;
mod node;
mod node_login;
mod presentation;
mod session;
mod signing;
mod ticket;
mod time;
mod user_token;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tracing::info;

use self::contract::DrawUp;
use self::node::{ErrorKindOf, Node, Step, pause, to_json};
use self::presentation::{Asked, Presentation, read_verification};
use self::user_token::TokenSession;
use super::{Desk, Expiry, Grant, IdentityService, Replacement, ServiceSession, Unlocking};
use crate::cancel::CancelToken;
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::http::{HttpsSettings, Url};
use crate::prompt::LoginPage;
use crate::secret::{SecretBytes, Ticket, secret_buffer};
use crate::session::{AssuranceLevel, Employee, Limits, Role, Session, User};

pub(crate) use self::contract::ContractKind;
pub(crate) use self::node_login::NodeLogin;
pub(crate) use self::session::NutsSession;
pub(crate) use self::user_token::UserTokenSettings;

const V1: &str = "/internal/auth/v1";

/// How long the node waits for the user.
const SIGNING_WINDOW: Duration = Duration::from_secs(10 * 60);

const NOT_IN_TIME: &str = "nobody answered on the node's page in time";

/// The settings of a login at a node.
#[derive(Clone, Debug)]
pub(crate) struct NutsSettings {
    /// The node's internal address.
    pub(crate) node: Url,
    pub(crate) https: HttpsSettings,
    /// For a node whose API wants programs to log in.
    pub(crate) api_login: Option<NodeLogin>,
    /// The employer's DID.
    pub(crate) employer: String,
    pub(crate) contract: ContractKind,
    /// How long the user may take.
    pub(crate) login_timeout: Duration,
    /// Whether the session belongs to the card that is in a reader.
    pub(crate) bind_card: bool,
    /// Logs in by the second version of the node's API.
    pub(crate) user_token: Option<UserTokenSettings>,
}

/// A node as an identity service.
pub(crate) struct NutsService {
    settings: Arc<NutsSettings>,
    employee: Mutex<Option<Employee>>,
}

impl NutsService {
    /// A service for `employee`, if the settings name one.
    pub(crate) fn new(settings: NutsSettings, employee: Option<Employee>) -> Self {
        Self { settings: Arc::new(settings), employee: Mutex::new(employee) }
    }

    fn employee(&self) -> MutexGuard<'_, Option<Employee>> {
        self.employee.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl IdentityService for NutsService {
    /// Programs share a session only for the same employee.
    fn id(&self) -> String {
        let NutsSettings { node, employer, .. } = &*self.settings;
        let api = self.settings.user_token.as_ref();
        format!("nuts {node} {employer} {:?} {api:?}", *self.employee())
    }

    fn log_in(&self, desk: &Desk<'_>) -> Result<Grant> {
        let Some(employee) = self.employee().clone() else {
            let detail = "it is not known who logs in: set the employee (employee_identifier, employee_initials, \
                 employee_family_name), or have the program do so";
            return Err(Error::new(ErrorKind::Configuration, Stage::Configuration, detail));
        };
        Login { settings: &self.settings, employee: &employee, desk, began: Instant::now(), since: now() }.run()
    }

    /// By another contract of the same employee.
    fn unlock<'a>(&'a self, locked: &Session, desk: &Desk<'_>) -> Result<Unlocking<'a>> {
        let grant = self.log_in(desk)?;
        if grant.user.uid != locked.user().uid {
            return Ok(Unlocking::OtherUser(Box::new(move |_| Ok(grant))));
        }
        let Grant { ticket, expiry, roles, role, .. } = grant;
        Ok(Unlocking::SameUser(Some(Replacement { ticket, expiry, roles, role })))
    }

    fn set_employee(&self, employee: &Employee) -> Result<bool> {
        employee.check()?;
        let mut known = self.employee();
        let changed = known.as_ref() != Some(employee);
        *known = Some(employee.clone());
        Ok(changed)
    }

    fn session(&self, _: &User, ticket: &Ticket) -> Arc<dyn ServiceSession> {
        if self.settings.user_token.is_some() {
            return Arc::new(TokenSession);
        }
        Arc::new(NutsSession::of(&self.settings, ticket, Some(AssuranceLevel::Low)))
    }
}

/// One login.
struct Login<'a> {
    settings: &'a Arc<NutsSettings>,
    employee: &'a Employee,
    desk: &'a Desk<'a>,
    began: Instant,
    /// When it began, by the clock of the wall.
    since: i64,
}

#[derive(Serialize)]
struct Signing<'a> {
    means: &'static str,
    params: Params<'a>,
    payload: &'a str,
}

#[derive(Serialize)]
struct Params<'a> {
    employer: &'a str,
    employee: Names<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Names<'a> {
    identifier: &'a str,
    initials: &'a str,
    family_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    role_name: Option<&'a str>,
}

impl Login<'_> {
    fn run(&self) -> Result<Grant> {
        if let Some(settings) = &self.settings.user_token {
            return self.get_user_token(settings);
        }
        let mut node = Node::new(self.settings);
        let contract = draw_up(&mut node, self.settings, self.desk.cancel)?;
        info!("contract drawn up");
        let (id, page, answered) = self.begin_signing(&mut node, &contract)?;
        let presentation = {
            let page = LoginPage::without_redirect(page.as_str());
            let opened = self.desk.browser.open(&page, self.desk.cancel)?;
            let _notice = self.desk.prompter.browser_opened(&page, self.desk.cancel);
            (self.desk.page_opened)();
            self.wait_for_presentation(&mut node, &id, answered, opened.failed())?
        };
        info!("presentation received");
        let (ends, assurance) = self.verify(&mut node, &presentation, &contract)?;
        info!("presentation verified");
        let card_watched = self.settings.bind_card && self.desk.bind_card()?;
        self.desk.cancel.check(Stage::Session)?;
        Ok(Grant { card_watched, ..self.grant(presentation, ends, assurance) })
    }

    /// Returns the session's id, its page, and when the node answered.
    fn begin_signing(&self, node: &mut Node<'_>, contract: &str) -> Result<(String, Url, Instant)> {
        let step = Step { stage: Stage::Activation, refusal: "begins no signing session", kind: ErrorKindOf::Settings };
        let Employee { identifier, initials, family_name, role, .. } = self.employee;
        let employee = Names { identifier, initials, family_name, role_name: role.as_deref() };
        let params = Params { employer: &self.settings.employer, employee };
        let body = to_json(&Signing { means: "employeeid", params, payload: contract })?;
        let answer = node.post(step, &format!("{V1}/signature/session"), body, &node.call(self.desk.cancel))?;
        let answered = Instant::now();
        let (id, page) = signing::read_session(&answer.body)?;
        Ok((id, page, answered))
    }

    /// Waits for the user's decision on the page of a session that began at `answered`. `not_shown` is cancelled if the
    /// page is not shown.
    fn wait_for_presentation(
        &self,
        node: &mut Node<'_>,
        id: &str,
        mut answered: Instant,
        not_shown: &CancelToken,
    ) -> Result<SecretBytes> {
        let step = Step { stage: Stage::Browser, refusal: "makes no presentation", kind: ErrorKindOf::Decision };
        let deadline = Instant::now() + self.settings.login_timeout.min(SIGNING_WINDOW);
        let path = format!("{V1}/signature/session/{id}");
        for number in 0.. {
            self.pause(answered + pause(number), deadline, not_shown)?;
            let answer = node.poll(step, &path, &node.call(self.desk.cancel))?;
            answered = Instant::now();
            let Some(answer) = answer else { continue };
            if let Some(presentation) = signing::read_poll(&answer.body)? {
                return Ok(presentation);
            }
        }
        Err(Error::new(ErrorKind::Internal, Stage::Browser, "the node was polled too often"))
    }

    /// Waits before the next poll until `end`, unless the login is cancelled or takes too long.
    fn pause(&self, end: Instant, deadline: Instant, not_shown: &CancelToken) -> Result<()> {
        let error = |kind, detail: &str| Err(Error::new(kind, Stage::Browser, detail));
        let now = Instant::now();
        if now >= deadline {
            return error(ErrorKind::Cancelled, NOT_IN_TIME);
        }
        if self.desk.cancel.wait(end.min(deadline).saturating_duration_since(now)) {
            return Err(Error::cancelled(Stage::Browser));
        }
        if not_shown.is_cancelled() {
            let why = not_shown.reason().unwrap_or_else(|| "the node's page cannot be shown".into());
            return error(ErrorKind::NoPrompter, &why);
        }
        Ok(())
    }

    /// Has the node verify the presentation, and compares it with what was asked for. Returns also when it stops being
    /// of use.
    fn verify(
        &self,
        node: &mut Node<'_>,
        presentation: &[u8],
        contract: &str,
    ) -> Result<(i64, Option<AssuranceLevel>)> {
        let step = Step {
            stage: Stage::Authentication,
            refusal: "does not verify the presentation",
            kind: ErrorKindOf::Decision,
        };
        let asked = Asked {
            employer: &self.settings.employer,
            employee: self.employee,
            contract,
            since: self.since,
            now: now(),
        };
        let (before, after) = (b"{\"verifiablePresentation\":".as_slice(), b"}".as_slice());
        let mut body = secret_buffer(before.len() + presentation.len() + after.len());
        [before, presentation, after].iter().for_each(|part| body.extend_from_slice(part));
        let check = || Presentation::read(presentation).and_then(|read| read.check(&asked));
        let mut checked = None;
        let call = node.call(self.desk.cancel);
        let answer = node.put_and(step, &format!("{V1}/signature/verify"), body, || checked = Some(check()), &call);
        // What the node says of another presentation does not matter; nothing was checked if nothing was sent.
        let ends = checked.unwrap_or_else(check).map_err(|why| {
            let detail = format!("the node's presentation is not what was asked for: {why}");
            Error::new(ErrorKind::BadAnswer, Stage::Authentication, detail)
        })?;
        Ok((ends, read_verification(&answer?.body, self.employee)?))
    }

    fn grant(&self, presentation: SecretBytes, ends: i64, assurance: Option<AssuranceLevel>) -> Grant {
        let employee = self.employee;
        let roles: Vec<_> = employee.role.iter().map(|name| role(name)).collect();
        let lasts = Duration::from_secs(u64::try_from(ends - now()).unwrap_or_default());
        // A clock that was set back during the login must not make the session longer.
        let lasts = lasts.min(
            Duration::from_secs(u64::try_from(ends - self.since).unwrap_or_default())
                .saturating_sub(self.began.elapsed()),
        );
        Grant {
            user: User { uid: employee.identifier.clone(), name: employee.name() },
            role: (!roles.is_empty()).then_some(0),
            roles,
            ticket: ticket::ticket(&presentation),
            expiry: Some(Expiry { after: lasts, renewable: None }),
            limits: Limits { idle: None, total: Some(lasts) },
            card: None,
            card_watched: false,
            service: Arc::new(NutsSession { settings: Arc::clone(self.settings), presentation, assurance }),
        }
    }
}

/// Has the node draw up the contract that the settings choose.
fn draw_up(node: &mut Node<'_>, settings: &NutsSettings, cancel: &CancelToken) -> Result<String> {
    let step = Step { stage: Stage::Activation, refusal: "draws up no contract", kind: ErrorKindOf::Settings };
    let body = to_json(&DrawUp::new(&settings.contract, &settings.employer))?;
    let answer = node.put(step, &format!("{V1}/contract/drawup"), body, &node.call(cancel))?;
    contract::read(&answer.body, &settings.contract)
}

/// As the first step of a login. Returns what the node does, as a sentence about it.
pub(crate) fn examine(settings: &NutsSettings, cancel: &CancelToken) -> Result<String> {
    let mut node = Node::new(settings);
    if settings.user_token.is_some() {
        let step = Step { stage: Stage::Activation, refusal: "does not answer", kind: ErrorKindOf::Settings };
        node.status(step, &node.call(cancel))?;
        return Ok("it is up; whether it gives access tokens shows in a login only".into());
    }
    Ok(format!("it draws up contracts: {}", draw_up(&mut node, settings, cancel)?))
}

/// The employer's name of a role is all there is.
fn role(name: &str) -> Role {
    Role {
        id: name.to_owned(),
        organisation_code: String::new(),
        organisation: String::new(),
        role_type: String::new(),
        sub_type: String::new(),
        name: name.to_owned(),
    }
}

/// The time, in seconds since 1970.
fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
}
