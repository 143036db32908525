use proptest::prelude::*;

use super::*;

/// Gives its bytes in pieces, then ends.
struct Pieces<'a>(&'a [u8], usize);

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.1.min(self.0.len()).min(buffer.len());
        let (piece, rest) = self.0.split_at(count);
        buffer[..count].copy_from_slice(piece);
        self.0 = rest;
        Ok(count)
    }
}

fn read_as(answer: &[u8], wanted: Wanted) -> Result<(u16, Vec<u8>, bool), String> {
    let results: Vec<_> = [1, 7, usize::MAX]
        .into_iter()
        .map(|piece| match read_response(&mut Pieces(answer, piece), wanted) {
            Ok(Received { response, keep_alive, .. }) => Ok((response.status, response.body.to_vec(), keep_alive)),
            Err(failure) => Err(format!("{failure:?}")),
        })
        .collect();
    // How the bytes come makes no difference, but for what follows an answer.
    let without_keep_alive =
        |result: &Result<(u16, Vec<u8>, bool), String>| result.clone().map(|(status, body, _)| (status, body));
    assert_eq!(without_keep_alive(&results[0]), without_keep_alive(&results[2]));
    assert_eq!(without_keep_alive(&results[1]), without_keep_alive(&results[2]));
    results[2].clone()
}

fn read(answer: &[u8]) -> Result<(Vec<u8>, bool), String> {
    match read_as(answer, Wanted::default())? {
        (200, body, keep_alive) => Ok((body, keep_alive)),
        (status, ..) => Err(format!("Status({status})")),
    }
}

fn ok(body: &str, keep_alive: bool) -> Result<(Vec<u8>, bool), String> {
    Ok((body.into(), keep_alive))
}

fn failed(failure: &str) -> Result<(Vec<u8>, bool), String> {
    Err(failure.into())
}

#[test]
fn a_body_ends_where_its_length_or_its_last_chunk_or_the_connection_ends() {
    assert_eq!(read(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"), ok("hi", true));
    assert_eq!(read(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi!"), ok("hi", false));
    assert_eq!(read(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), ok("", true));
    assert_eq!(read(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\ncontent-length: 2\r\n\r\nhi"), ok("hi", true));
    assert_eq!(
        read(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nhi\r\nA\r\n0123456789\r\n0\r\na: b\r\n\r\n"
        ),
        ok("hi0123456789", true)
    );
    // RFC 9112, 6.3: chunks go before a length.
    for headers in
        ["Transfer-Encoding: chunked\r\nContent-Length: 9", "Content-Length: 9\r\nTransfer-Encoding: chunked"]
    {
        assert_eq!(
            read(format!("HTTP/1.1 200 OK\r\n{headers}\r\n\r\n2\r\nhi\r\n0\r\n\r\n").as_bytes()),
            ok("hi", true)
        );
    }
    assert_eq!(read(b"HTTP/1.1 200 OK\r\n\r\nhi"), ok("hi", false));
    assert_eq!(read(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx"), ok("x", true));
}

#[test]
fn a_body_in_another_encoding_than_utf_8_is_converted_where_the_server_names_it() {
    let answer = |kind: &str, body: &[u8]| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", body.len());
        read(&[head.as_bytes(), body].concat())
    };
    assert_eq!(answer("text/xml; charset=ISO-8859-1", b"Ren\xe9e"), ok("Renée", true));
    assert_eq!(answer("text/xml; charset=ISO-8859-1", "Renée".as_bytes()), ok("Renée", true));
    assert_eq!(answer("text/xml", b"Ren\xe9e"), Ok((b"Ren\xe9e".to_vec(), true)));
    assert_eq!(answer("text/xml; charset=latin1", &vec![0xe9; MAX_ANSWER]), failed("TooLarge"));
}

#[test]
fn a_connection_is_kept_only_where_the_server_keeps_it() {
    assert_eq!(read(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: x, Close\r\n\r\nh"), ok("h", false));
    assert_eq!(read(b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nh"), ok("h", false));
}

#[test]
fn an_error_is_an_answer_whatever_comes_of_its_body() {
    let answer = |text: &str| read_as(text.as_bytes(), Wanted::default()).unwrap();
    let bad = "HTTP/1.1 400 Bad Request\r\nContent-Length: 4\r\n\r\n";
    assert_eq!(answer(&format!("{bad}{{  }}")), (400, b"{  }".to_vec(), true));
    for (text, status) in [
        (&*format!("{bad}{{"), 400),
        ("HTTP/1.1 500 Error\r\nContent-Length: 999999999\r\n\r\n", 500),
        ("HTTP/1.1 503 Oh\r\nContent-Encoding: gzip\r\n\r\n", 503),
        ("HTTP/1.1 302 Found\r\nLocation: https://evil.example/\r\n\r\n", 302),
        ("HTTP/1.1 302 Found\r\nContent-Length: 2\r\n\r\nhi", 302),
        ("HTTP/1.1 101 Switching\r\n\r\n", 101),
    ] {
        assert_eq!(answer(text), (status, Vec::new(), false), "{text}");
    }
    let redirect = "HTTP/1.1 302 Found\r\nLocation: https://evil.example/\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(answer(redirect), (302, Vec::new(), true));
}

#[test]
fn an_error_whose_body_is_not_wanted_is_not_waited_for() {
    let wanted = Wanted { error_body: false, ..Wanted::default() };
    let head = b"HTTP/1.1 500 Error\r\nContent-Length: 2\r\n\r\n";
    assert_eq!(read_as(&[&head[..], b"hi"].concat(), wanted), Ok((500, Vec::new(), false)));
    assert_eq!(read_as(head, wanted), Ok((500, Vec::new(), false)));
    assert_eq!(read_as(b"HTTP/1.1 200 OK\r\n\r\nhi", wanted), Ok((200, b"hi".to_vec(), false)));
}

#[test]
fn an_answer_without_content_has_no_body() {
    for status in [204, 304] {
        let answer = format!("HTTP/1.1 {status} No\r\n\r\n");
        assert_eq!(read_as(answer.as_bytes(), Wanted::default()), Ok((status, Vec::new(), true)));
    }
}

#[test]
fn a_request_sets_how_much_is_read() {
    let wanted = Wanted { limit: 3, ..Wanted::default() };
    for (body, read) in [("abc", Ok((200, b"abc".to_vec(), true))), ("abcd", Err("TooLarge".to_owned()))] {
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        assert_eq!(read_as(answer.as_bytes(), wanted), read);
    }
}

#[test]
fn headers_that_callers_need_are_kept() {
    let text = "HTTP/1.1 401 No\r\ncontent-type: Application/JSON; charset=utf-8\r\n\
                WWW-Authenticate: Bearer error=\"invalid_token\"\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n";
    let answer = read_response(&mut text.as_bytes(), Wanted::default()).unwrap().response;
    assert_eq!(answer.www_authenticate.as_deref(), Some("Bearer error=\"invalid_token\""));
    assert_eq!(answer.retry_after.as_deref(), Some("5"));
    assert!(answer.is_of("application/json") && !answer.is_of("application/jwt"));
    assert_eq!(format!("{answer:?}"), "HttpResponse { status: 401, .. }");
}

#[test]
fn an_answer_that_stops_early_is_told_apart_from_none() {
    assert_eq!(read(b""), failed("Silence"));
    assert_eq!(read(b"HTTP/1.1 200 OK\r\nContent-Le"), failed("Truncated"));
    assert_eq!(read(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi"), failed("Truncated"));
    assert_eq!(read(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhi"), failed("Truncated"));
    assert_eq!(read(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n"), failed("Truncated"));
    assert_eq!(read(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n"), failed("Truncated"));
}

#[test]
fn what_is_larger_than_a_message_may_be_is_refused_before_it_is_read() {
    let size = MAX_ANSWER + 1;
    for answer in [
        format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n"),
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n".to_owned(),
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{size:x}\r\n"),
        format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(size)),
    ] {
        assert_eq!(read(answer.as_bytes()), failed("TooLarge"));
    }
    let largest = "x".repeat(MAX_ANSWER);
    assert_eq!(read(format!("HTTP/1.1 200 OK\r\n\r\n{largest}").as_bytes()), ok(&largest, false));
    assert_eq!(read(format!("HTTP/1.1 200 OK\r\nA: {}", "x".repeat(BUFFER)).as_bytes()), failed("LargeHead"));
}

#[test]
fn a_part_of_a_body_is_kept_where_it_is_wanted() {
    let wanted = Wanted { limit: 4, any_part: true, ..Wanted::default() };
    for (answer, body, why) in [
        ("Content-Length: 4\r\n\r\nwhole", "whol", None),
        ("Content-Length: 9\r\n\r\ntoo large", "too ", Some("TooLarge")),
        ("Content-Length: 4\r\n\r\ncut", "cut", Some("Truncated")),
        ("Content-Length: 9\r\n\r\ncut", "cut", Some("Truncated")),
        ("Transfer-Encoding: chunked\r\n\r\n3\r\ntoo\r\n3\r\n la\r\n", "too ", Some("TooLarge")),
        ("Transfer-Encoding: chunked\r\n\r\n3\r\ncut\r\n1", "cut", Some("Truncated")),
        ("\r\ntoo large", "too ", Some("TooLarge")),
    ] {
        for piece in [1, 3, usize::MAX] {
            let text = format!("HTTP/1.1 200 OK\r\n{answer}");
            let received = read_response(&mut Pieces(text.as_bytes(), piece), wanted).unwrap();
            assert_eq!(String::from_utf8_lossy(&received.response.body), body, "{answer:?}");
            assert_eq!(received.broken.map(|error| format!("{error:?}")).as_deref(), why, "{answer:?}");
            assert!(!received.keep_alive || why.is_none(), "{answer:?}");
        }
    }
}

#[test]
fn a_head_may_have_as_many_lines_as_gateways_add() {
    let with = |count| format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n{}\r\nx", "X-Trace: y\r\n".repeat(count));
    assert_eq!(read(with(MAX_HEADERS - 1).as_bytes()), ok("x", true));
    assert_eq!(read(with(MAX_HEADERS).as_bytes()), failed("LargeHead"));
    let long = format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nPolicy: {}\r\n\r\nx", "y".repeat(20_000));
    assert_eq!(read(long.as_bytes()), ok("x", true));
}

#[test]
fn a_compressed_answer_is_told_apart() {
    for coding in ["gzip", "br", "deflate, gzip"] {
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nContent-Length: 1\r\n\r\nx");
        assert_eq!(read(answer.as_bytes()), failed("Compressed"));
    }
    assert_eq!(read(b"HTTP/1.1 200 OK\r\nContent-Encoding: identity\r\n\r\nx"), ok("x", false));
}

#[test]
fn what_is_not_http_or_is_ambiguous_is_refused() {
    for answer in [
        "hello",
        "HTTP/2 200\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nhi\r\n",
    ] {
        assert_eq!(read(answer.as_bytes()), failed("NotHttp"), "{answer}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(rest in "([0-9a-f:; x]|\r\n|Content-Length: |Transfer-Encoding: chunked){0,30}") {
        let _ = read(format!("HTTP/1.1 200 OK\r\n{rest}").as_bytes());
    }
}

#[test]
fn a_head_that_comes_byte_by_byte_is_not_parsed_at_each_byte() {
    thread_local!(static PARSED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) });
    fn never_whole(bytes: &[u8]) -> Result<Option<((), usize)>, ReadError> {
        PARSED.set(PARSED.get() + bytes.len());
        Ok(None)
    }
    let head = vec![b'x'; BUFFER - 1];
    assert!(Input::new(&mut Pieces(&head, 1), 0).parse(never_whole, ReadError::Silence).is_err());
    assert!(PARSED.get() < 4 * BUFFER, "{} bytes", PARSED.get());
}
