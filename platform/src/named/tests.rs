use super::*;

/// A name of this test's own.
fn name(test: &str) -> PathBuf {
    format!("{PREFIX}ticketapi-test-{}-{test}", process::id()).into()
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn listen(name: &Path) -> (Arc<Port>, Listener) {
    let port = Arc::new(Port::new().unwrap());
    (Arc::clone(&port), Listener::open(name, port).unwrap())
}

/// Connects a program.
fn connected(port: &Port, listener: &mut Listener, name: &Path) -> (Pipe, Connection) {
    let pipe = connect(name, soon()).unwrap();
    loop {
        if let Some(connection) = listener.accept().unwrap() {
            return (pipe, connection);
        }
        port.wait(Some(soon())).unwrap();
    }
}

fn until(port: &Port, condition: impl Fn() -> bool) {
    while !condition() {
        let until = soon();
        port.wait(Some(until)).unwrap();
        assert!(Instant::now() < until, "nothing was reported");
    }
}

#[test]
fn programs_are_served_by_one_thread_and_their_end_is_noticed() {
    let name = name("served");
    let (port, mut listener) = listen(&name);
    let programs: Vec<_> = (0..70).map(|_| connected(&port, &mut listener, &name)).collect();
    for (pipe, mut connection) in programs {
        assert!(!connection.is_readable() && !connection.is_closed());
        pipe.send_all(b"question", None).unwrap();
        until(&port, || connection.is_readable());
        assert!(!connection.is_closed());
        let mut buffer = [0; 20];
        assert_eq!(connection.receive(&mut buffer).unwrap(), 8);
        assert_eq!(connection.send(b"reply").unwrap(), 5);
        pipe.until_readable(&[], Some(soon())).unwrap();
        assert_eq!(pipe.receive(&mut buffer).unwrap(), 5);
        // One that has left bytes behind.
        pipe.send_all(b"more", None).unwrap();
        until(&port, || connection.is_readable());
        drop(pipe);
        assert!(connection.is_closed());
    }
}

#[test]
fn a_program_that_does_not_read_holds_up_nobody() {
    let name = name("unread");
    let (port, mut listener) = listen(&name);
    let (pipe, mut connection) = connected(&port, &mut listener, &name);
    let bytes = vec![7; 4 * BUFFER as usize];
    let mut sent = 0;
    while sent < bytes.len() {
        match connection.send(&bytes[sent..]) {
            Ok(count) => sent += count,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                break;
            }
        }
    }
    assert!(sent < bytes.len(), "the system takes everything");
    let mut arrived = 0;
    while arrived < bytes.len() {
        if sent < bytes.len() && connection.can_send() {
            sent += connection.send(&bytes[sent..]).unwrap();
        }
        let mut buffer = vec![0; 1000];
        match pipe.receive(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                pipe.until_readable(&[], Some(soon())).unwrap();
            }
            count => arrived += count.unwrap(),
        }
    }
    drop(pipe);
    until(&port, || connection.is_closed());
    assert_eq!(connection.send(b"late").unwrap_err().kind(), ErrorKind::BrokenPipe);
}

#[test]
fn a_last_message_arrives_after_the_connection_was_closed() {
    let name = name("last");
    let (port, mut listener) = listen(&name);
    let (pipe, mut connection) = connected(&port, &mut listener, &name);
    connection.send(b"bye").unwrap();
    drop(connection);
    let mut buffer = [0; 20];
    for expected in [3, 0] {
        pipe.until_readable(&[], Some(soon())).unwrap();
        assert_eq!(pipe.receive(&mut buffer).unwrap(), expected);
    }
}

#[test]
fn one_process_listens_at_a_name_and_another_does_once_it_has_ended() {
    let name = name("only");
    let (port, mut listener) = listen(&name);
    let again = Listener::open(&name, Arc::clone(&port));
    assert!(matches!(again, Err(Occupied::Running(Some(running))) if running == process::id()), "{again:?}");
    // A program that has not noticed the end.
    let _connected = loop {
        // The second one has connected, too.
        if let Ok(Some(connection)) = listener.accept() {
            break connection;
        }
        port.wait(Some(soon())).unwrap();
    };
    drop(listener);
    drop(listen(&name));
}

#[test]
fn nobody_is_connected_where_nobody_listens_and_no_other_path_is_opened() {
    assert!(matches!(connect(&name("absent"), soon()), Err(Refused::Absent)));
    for path in [r"C:\windows\win.ini", r"\\server\pipe\x", "agent", ""] {
        assert!(matches!(connect(path.as_ref(), soon()), Err(Refused::NoPipe)), "{path}");
        let port = Arc::new(Port::new().unwrap());
        assert!(matches!(Listener::open(path.as_ref(), port), Err(Occupied::NoPipe)), "{path}");
    }
}

#[test]
fn a_pipe_of_another_user_is_refused_by_both_sides() {
    let path = name("foreign");
    let foreign = Descriptor::from_text("O:SYD:P(A;;GA;;;WD)").unwrap();
    let port = Arc::new(Port::new().unwrap());
    let _theirs = Instance::new(&crate::wide(path.as_os_str()).unwrap(), &foreign, 0, &port).unwrap();
    assert!(matches!(connect(&path, soon()), Err(Refused::Stranger)));
    let listening = Listener::open(&path, port);
    assert!(matches!(listening, Err(Occupied::Taken)), "{listening:?}");
}

#[test]
fn waking_ends_the_next_wait() {
    let port = Port::new().unwrap();
    port.wake();
    port.wait(None).unwrap();
    let until = Instant::now() + Duration::from_millis(20);
    port.wait(Some(until)).unwrap();
    assert!(Instant::now() >= until);
}

#[test]
fn the_name_holds_session_and_user() {
    let name = default_name().unwrap().display().to_string();
    assert!(name.starts_with(r"\\.\pipe\ticketapi-") && name.contains("-S-1-"), "{name}");
    let me = Identity::of_this_process().unwrap();
    assert_eq!(Identity::of_process(process::id()).unwrap(), me);
    assert!(name.ends_with(&me.user));
}
