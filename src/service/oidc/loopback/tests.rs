use std::net::Shutdown;
use std::thread::{self, JoinHandle};

use super::*;

const STATE: &str = "state-1";

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn port(loopback: &Loopback) -> u16 {
    loopback.redirect_uri().port().unwrap()
}

/// Waits on a thread of its own, as a login does.
fn waiting(loopback: Loopback) -> JoinHandle<Result<Redirect>> {
    thread::spawn(move || loopback.wait(STATE, soon(), &Opened::default(), &CancelToken::new()))
}

fn bound() -> Loopback {
    Loopback::bind(&RedirectUri::default()).unwrap()
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

fn send(port: u16, target: &str) -> TcpStream {
    let mut stream = connect(port);
    write!(stream, "GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n").unwrap();
    stream
}

fn read(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn failure() -> Result<()> {
    Err(Error::new(ErrorKind::Refused, Stage::Authentication, "the code was <refused>"))
}

#[test]
fn the_browser_brings_the_code_and_sees_how_the_login_went() {
    for (outcome, heading) in [(Ok(()), "<h1>You are logged in</h1>"), (failure(), "<h1>The login failed</h1>")] {
        let loopback = bound();
        let port = port(&loopback);
        assert_eq!(loopback.redirect_uri().to_string(), format!("http://127.0.0.1:{port}/callback"));
        let login = waiting(loopback);
        let browser = send(port, "/callback?code=c-1&iss=https%3A%2F%2Fid.example&state=state-1");
        let redirect = login.join().unwrap().unwrap();
        assert_eq!(redirect.outcome.unwrap().as_str(), "c-1");
        assert_eq!(redirect.iss.as_deref(), Some("https://id.example"));
        redirect.page.show(&outcome);
        let page = read(browser);
        assert!(page.starts_with("HTTP/1.1 200 OK\r\n") && page.contains(heading), "{page}");
        assert!(page.contains("You can close this window.") && !page.contains("c-1"), "{page}");
        assert_eq!(page.contains("the code was &lt;refused&gt;"), outcome.is_err(), "{page}");
    }
}

#[test]
fn no_page_runs_anything_is_kept_or_leads_anywhere() {
    let loopback = bound();
    let port = port(&loopback);
    let login = waiting(loopback);
    let refused = read(send(port, "/"));
    let browser = send(port, "/callback?code=c-1&state=state-1");
    drop(login.join().unwrap().unwrap());
    let unfinished = read(browser);
    assert!(unfinished.contains("<h1>The login was not finished</h1>"), "{unfinished}");
    for page in [refused, unfinished] {
        for header in [
            "Cache-Control: no-store",
            "Referrer-Policy: no-referrer",
            "Content-Security-Policy: default-src 'none';",
            "X-Content-Type-Options: nosniff",
            "Content-Type: text/html; charset=utf-8",
        ] {
            assert!(page.contains(&format!("\r\n{header}")), "{page}");
        }
        for active in ["<script", "<style", "href", "src=", "<form"] {
            assert!(!page.split_once("\r\n\r\n").unwrap().1.contains(active), "{page}");
        }
    }
}

#[test]
fn one_redirect_is_taken_and_a_second_finds_nobody() {
    let loopback = bound();
    let port = port(&loopback);
    let login = waiting(loopback);
    let browser = send(port, "/callback?code=c-1&state=state-1");
    let redirect = login.join().unwrap().unwrap();
    assert_eq!(TcpStream::connect(("127.0.0.1", port)).unwrap_err().kind(), Io::ConnectionRefused);
    redirect.page.show(&Ok(()));
    assert!(read(browser).contains("You are logged in"));
}

#[test]
fn requests_that_are_not_the_redirect_get_a_page_and_the_login_goes_on() {
    let loopback = bound();
    let port = port(&loopback);
    let login = waiting(loopback);
    for (target, status) in [
        ("/favicon.ico", "404 Not Found"),
        ("/callback", "400 Bad Request"),
        ("/callback?code=c-2", "400 Bad Request"),
        ("/callback?code=c-2&state=guessed", "400 Bad Request"),
        ("/callback?error=access_denied", "400 Bad Request"),
    ] {
        let page = read(send(port, target));
        assert!(page.starts_with(&format!("HTTP/1.1 {status}\r\n")) && !page.contains("c-2"), "{page}");
    }
    let mut large = connect(port);
    let _ = large.write_all(&vec![b'a'; 2 * REQUEST_LIMIT]);
    let mut gone = connect(port);
    gone.write_all(b"GET /callback?code=c-2").unwrap();
    gone.shutdown(Shutdown::Both).unwrap();
    let browser = send(port, "/callback?code=c-1&state=state-1");
    let redirect = login.join().unwrap().unwrap();
    assert_eq!(redirect.outcome.as_ref().unwrap().as_str(), "c-1");
    drop(redirect);
    drop(read(browser));
}

#[test]
fn a_refusal_with_our_state_ends_the_login_at_once() {
    let loopback = bound();
    let port = port(&loopback);
    let login = waiting(loopback);
    let browser = send(port, "/callback?error=access_denied&error_description=No&state=state-1");
    let redirect = login.join().unwrap().unwrap();
    let expected = ProviderError { error: "access_denied".into(), description: Some("No".into()) };
    assert_eq!(redirect.outcome.unwrap_err(), expected);
    redirect.page.show(&failure());
    assert!(read(browser).contains("The login failed"));
}

#[test]
fn clients_that_send_nothing_keep_nobody_out() {
    let loopback = bound();
    let port = port(&loopback);
    let login = waiting(loopback);
    let silent: Vec<_> = (0..3 * MOST_CLIENTS).map(|_| connect(port)).collect();
    let browser = send(port, "/callback?code=c-1&state=state-1");
    let redirect = login.join().unwrap().unwrap();
    redirect.page.show(&Ok(()));
    assert!(read(browser).contains("You are logged in"));
    drop(silent);
}

#[test]
fn a_request_may_come_in_pieces() {
    let loopback = bound();
    let port = port(&loopback);
    let login = waiting(loopback);
    let mut browser = connect(port);
    let request = format!("GET /callback?code=c-1&state=state-1 HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n");
    for piece in request.as_bytes().chunks(20) {
        browser.write_all(piece).unwrap();
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(login.join().unwrap().unwrap().outcome.unwrap().as_str(), "c-1");
}

#[test]
fn a_port_that_is_taken_is_named_and_a_free_one_is_found() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let uri: RedirectUri = format!("http://127.0.0.1:{port}/callback").parse().unwrap();
    let error = Loopback::bind(&uri).err().unwrap();
    assert_eq!((error.kind(), error.stage()), (&ErrorKind::Configuration, Stage::Browser));
    let expected = format!("redirect_uri: another program uses port {port} of 127.0.0.1.");
    assert!(error.detail().starts_with(&expected), "{error}");
    drop(taken);
    let loopback = Loopback::bind(&uri).unwrap();
    assert_eq!(loopback.redirect_uri(), &uri);
    assert_ne!(self::port(&bound()), port);
}

#[test]
fn localhost_is_listened_at_under_each_of_its_addresses() {
    let loopback = Loopback::bind(&"http://localhost/a".parse().unwrap()).unwrap();
    let port = port(&loopback);
    assert_eq!(loopback.redirect_uri().to_string(), format!("http://localhost:{port}/a"));
    let has_ipv6 = TcpListener::bind("[::1]:0").is_ok();
    assert_eq!(loopback.listeners.len(), if has_ipv6 { 2 } else { 1 });
    let login = waiting(loopback);
    let mut browser = if has_ipv6 { TcpStream::connect(("::1", port)) } else { Ok(connect(port)) }.unwrap();
    write!(browser, "GET /a?code=c-1&state=state-1 HTTP/1.1\r\nhost: LOCALHOST:{port}\r\n\r\n").unwrap();
    assert_eq!(login.join().unwrap().unwrap().outcome.unwrap().as_str(), "c-1");
}

#[test]
fn a_fixed_port_of_localhost_belongs_to_nobody_else_in_part() {
    let Ok(taken) = TcpListener::bind("[::1]:0") else { return };
    let port = taken.local_addr().unwrap().port();
    let Err(error) = Loopback::bind(&format!("http://localhost:{port}/a").parse().unwrap()) else {
        panic!("it listens at one of the two addresses");
    };
    assert!(error.detail().contains(&format!("port {port} of ::1")), "{error}");
}

#[test]
fn waiting_ends_at_the_time_when_cancelled_and_when_the_browser_has_failed() {
    let (opened, cancel) = (Opened::default(), CancelToken::new());
    let began = Instant::now();
    let until = began + Duration::from_millis(50);
    let error = bound().wait(STATE, until, &opened, &cancel).unwrap_err();
    assert_eq!((error.kind(), error.stage()), (&ErrorKind::Cancelled, Stage::Browser));
    assert!(error.detail().starts_with("the login in the browser was not finished in time"), "{error}");

    let failing = thread::spawn({
        let failed = opened.failed().clone();
        move || failed.cancel_because("xdg-open ended with exit status: 3".into())
    });
    let error = bound().wait(STATE, soon(), &opened, &cancel).unwrap_err();
    failing.join().unwrap();
    assert_eq!((error.kind(), error.detail()), (&ErrorKind::NoPrompter, "xdg-open ended with exit status: 3"));

    let cancelling = thread::spawn({
        let cancel = cancel.clone();
        move || cancel.cancel()
    });
    let error = bound().wait(STATE, soon(), &Opened::default(), &cancel).unwrap_err();
    cancelling.join().unwrap();
    assert_eq!((error.kind(), error.detail()), (&ErrorKind::Cancelled, "the login was cancelled"));
    assert!(began.elapsed() < Duration::from_secs(10));
}
