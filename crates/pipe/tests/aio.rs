//! Pipes as futures on tokio, and pipes of bytes as its streams.

use std::thread;
use std::time::Duration;

use ginnel_object::Result;
use ginnel_object::aio::tokio::Async;
use ginnel_object::error::RecvError;
use ginnel_pipe::{BytePipe, Options, Pipe, pipe};
use ginnel_process::Process;
use ginnel_testkit::watchdog::Watchdog;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

fn watchdog(test: &str) -> Watchdog {
    Watchdog::new(test, Duration::from_secs(120))
}

const SHORT: Duration = Duration::from_millis(5);

fn small() -> Options {
    Options::new().size(4096)
}

fn double(mut numbers: Pipe<u64>) -> Result<()> {
    while let Some(number) = numbers.next()? {
        numbers.send(2 * number)?;
    }
    Ok(())
}

#[tokio::test]
async fn a_task_talks_with_a_child_that_blocks() {
    let _watchdog = watchdog("child");
    let (ours, theirs) = pipe::<u64>().expect("a pipe");
    let child = Process::spawn(double, theirs).expect("a child");
    let mut ours = Async::new(ours).expect("a handle");
    for number in 0..200 {
        ours.send(number).await.expect("alive");
        assert_eq!(ours.recv().await.expect("alive"), 2 * number);
    }
    ours.into_inner().close();
    child.join().expect("in order").expect("no error");
}

#[tokio::test]
async fn long_messages_go_part_by_part() {
    let _watchdog = watchdog("long");
    let (ours, theirs) = Pipe::<String>::pair_with(&small()).expect("a pipe");
    let (mut ours, mut theirs) = (Async::new(ours).expect("a handle"), Async::new(theirs).expect("a handle"));
    let echo = tokio::spawn(async move {
        while let Some(message) = theirs.next().await.expect("alive") {
            theirs.send(message).await.expect("alive");
        }
    });
    for len in [0, 100, 1000, 5000, 200_000] {
        ours.send("x".repeat(len)).await.expect("alive");
        assert_eq!(ours.recv().await.expect("alive").len(), len);
    }
    drop(ours);
    echo.await.expect("no panic");
}

#[tokio::test]
async fn a_send_that_is_dropped_has_sent_nothing() {
    let _watchdog = watchdog("dropped");
    let (ours, mut theirs) = Pipe::<String>::pair_with(&small()).expect("a pipe");
    let mut ours = Async::new(ours).expect("a handle");
    timeout(SHORT, ours.send("half".repeat(10_000))).await.expect_err("nobody makes room");
    assert!(theirs.try_recv().is_err_and(|why| why.is_empty()), "it takes the parts, which make no message");
    timeout(SHORT, ours.recv()).await.expect_err("nobody sends");
    ours.send("whole".into()).await.expect("room");
    assert_eq!(theirs.recv().expect("alive"), "whole");
    theirs.close();
    assert!(matches!(ours.recv().await, Err(RecvError::Closed)));
}

#[tokio::test]
async fn bytes_are_messages_or_a_stream() {
    let _watchdog = watchdog("bytes");
    let (ours, mut theirs) = BytePipe::pair_with(&small()).expect("a pipe");
    let mut ours = Async::new(ours).expect("a handle");
    let peer = thread::spawn(move || {
        let message = theirs.recv().expect("alive");
        theirs.send(&message).expect("alive");
        let mut read = Vec::new();
        std::io::Read::read_to_end(&mut theirs, &mut read).expect("until it is shut down");
        std::io::Write::write_all(&mut theirs, &read).expect("alive");
    });
    ours.send(vec![7; 70_000]).await.expect("alive");
    assert_eq!(ours.recv().await.expect("alive"), vec![7; 70_000]);
    let mut stream = ours.into_io();
    let text: Vec<u8> = (0..100_000_u32).map(|at| at as u8).collect();
    stream.write_all(&text).await.expect("alive");
    stream.shutdown().await.expect("closes");
    let mut back = Vec::new();
    stream.read_to_end(&mut back).await.expect("until the peer is gone");
    assert!(back == text);
    stream.write_all(b"x").await.expect_err("it was shut down");
    peer.join().expect("no panic");
}

#[tokio::test]
async fn streams_are_copied_by_what_knows_no_pipes() {
    let _watchdog = watchdog("copied");
    let (ours, theirs) = BytePipe::pair_with(&small()).expect("a pipe");
    let (mut reader, mut writer) = Async::new(theirs).expect("a handle").into_io().split();
    let copying = tokio::spawn(async move {
        let copied = tokio::io::copy(&mut reader, &mut writer).await.expect("alive");
        writer.shut_down();
        copied
    });
    let (mut from_there, mut to_there) = Async::new(ours).expect("a handle").into_io().split();
    let writing = tokio::spawn(async move {
        to_there.write_all(&[5; 30_000]).await.expect("alive");
        to_there.shutdown().await.expect("closes");
    });
    let mut back = Vec::new();
    from_there.read_to_end(&mut back).await.expect("alive");
    assert_eq!(back, [5; 30_000]);
    assert_eq!(copying.await.expect("no panic"), 30_000);
    writing.await.expect("no panic");
}
