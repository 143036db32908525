use std::thread;

use super::*;

fn pair() -> (Pipe, Pipe) {
    let (one, other) = Pipe::pair().unwrap();
    (one, Pipe::from_handle(other).unwrap())
}

fn receive(pipe: &Pipe) -> Vec<u8> {
    let mut buffer = [0; 100];
    loop {
        match pipe.receive(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => pipe.until_readable(&[], None).unwrap(),
            count => return buffer[..count.unwrap()].to_vec(),
        }
    }
}

#[test]
fn bytes_arrive_in_both_directions_and_then_the_end() {
    let (one, other) = pair();
    one.send_all(b"there", None).unwrap();
    other.send_all(b"back", None).unwrap();
    assert_eq!(receive(&other), b"there");
    assert_eq!(receive(&one), b"back");
    other.send_all(b"last", None).unwrap();
    drop(other);
    assert_eq!(receive(&one), b"last");
    assert_eq!(receive(&one), b"");
    assert_eq!(one.send_all(b"late", None).unwrap_err().kind(), ErrorKind::BrokenPipe);
}

#[test]
fn more_than_the_buffers_hold_arrives_whole() {
    let (one, other) = pair();
    let bytes: Vec<u8> = (0..1 << 20).map(|at| at as u8).collect();
    thread::scope(|scope| {
        scope.spawn(|| one.send_all(&bytes, None).unwrap());
        let mut arrived = Vec::new();
        while arrived.len() < bytes.len() {
            arrived.extend(receive(&other));
        }
        assert!(arrived == bytes);
    });
}

#[test]
fn waiting_ends_at_the_deadline_in_both_directions() {
    let (one, _other) = pair();
    let soon = || Some(Instant::now() + Duration::from_millis(20));
    assert_eq!(one.until_readable(&[], soon()).unwrap_err().kind(), ErrorKind::TimedOut);
    assert_eq!(one.send_all(&vec![0; 1 << 20], soon()).unwrap_err().kind(), ErrorKind::TimedOut);
    assert!(!one.until_closed(soon()));
}

#[test]
fn shutting_down_ends_a_wait_from_another_thread() {
    let (one, _other) = pair();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| receive(&one));
        one.shutdown(Shutdown::Read).unwrap();
        assert_eq!(waiting.join().unwrap(), b"");
    });
}

#[test]
fn a_read_that_an_ended_thread_began_is_begun_again() {
    let (one, other) = pair();
    thread::scope(|scope| {
        let begun = scope.spawn(|| one.receive(&mut [0]).unwrap_err().kind());
        assert_eq!(begun.join().unwrap(), ErrorKind::WouldBlock);
    });
    other.send_all(b"x", None).unwrap();
    assert_eq!(receive(&one), b"x");
}

#[test]
fn the_end_is_noticed_without_taking_what_came_before() {
    let (one, other) = pair();
    other.send_all(b"x", None).unwrap();
    assert!(!one.until_closed(Some(Instant::now())));
    assert_eq!(receive(&one), b"x");
    thread::scope(|scope| {
        let closed = scope.spawn(|| one.until_closed(None));
        drop(other);
        assert!(closed.join().unwrap());
    });
}
