//! Peers as futures on tokio: messages of all lengths, a full ring, deaths, cancelled waits, many in one thread.

use std::thread;
use std::time::Duration;

use ginnel_object::aio::tokio::Async;
use ginnel_object::error::{RecvError, SendError};
use ginnel_object::{Error, Message, Result};
use ginnel_pipe::{Listener, Peer, connect};
use ginnel_testkit::child::{self, Role};
use ginnel_testkit::watchdog::Watchdog;
use tokio::time::timeout;

/// Long enough for a machine ten times slower.
const LIMIT: Duration = Duration::from_secs(60);

const MIB: usize = 1 << 20;

/// The way in for the role of a peer that waits; by itself it does nothing.
#[test]
fn peers_aio_entry() {
    let Some((_, arguments)) = child::role() else { return };
    let address: String = arguments.get(0).expect("an address");
    let mut peer: Peer<Vec<u8>> = connect(address).expect("it listens");
    while let Ok(message) = peer.recv() {
        peer.send(message).expect("it lives");
    }
}

fn listen(test: &str) -> (Listener, String, Watchdog) {
    let address = format!("@ginnel-peers-aio-{}-{test}", std::process::id());
    (Listener::bind(&address).expect("a free name"), address, Watchdog::new(test, LIMIT))
}

type Side<S, R> = Async<Peer<S, R>>;

fn pair<S: Message, R: Message>(test: &str) -> (Side<S, R>, Side<R, S>, Watchdog) {
    let (listener, address, dog) = listen(test);
    let (ours, theirs) = thread::scope(|scope| {
        let client = scope.spawn(|| connect(&address).expect("it listens"));
        (listener.accept().expect("it connects"), client.join().expect("no panic"))
    });
    (Async::new(ours).expect("no error"), Async::new(theirs).expect("no error"), dog)
}

#[tokio::test]
async fn messages_of_all_lengths_go_both_ways() -> Result<()> {
    let (mut one, mut two, _dog) = pair::<Vec<u8>, Vec<u8>>("lengths");
    let echo = tokio::spawn(async move {
        while let Some(message) = two.next().await? {
            two.send(message).await?;
        }
        Ok::<(), Error>(())
    });
    for len in [0, 1, 100, 64 << 10, 300_000, 5 * MIB] {
        one.send(vec![len as u8; len]).await?;
        assert!(one.recv().await? == vec![len as u8; len], "{len}");
    }
    drop(one);
    echo.await.expect("no panic")
}

#[tokio::test]
async fn a_wait_that_is_cancelled_has_taken_nothing() -> Result<()> {
    let (mut one, mut two, _dog) = pair::<Vec<u8>, u32>("cancel");
    let soon = Duration::from_millis(20);
    assert!(timeout(soon, two.recv()).await.is_err());
    assert!(timeout(soon, one.recv()).await.is_err());
    // In the middle of a message: it was not sent.
    assert!(timeout(soon, one.send(vec![1; MIB])).await.is_err());
    assert!(timeout(soon, two.recv()).await.is_err());
    let sending = tokio::spawn(async move { one.send(vec![2; MIB]).await.map(|()| one) });
    assert!(two.recv().await? == vec![2; MIB]);
    let mut one = sending.await.expect("no panic")?;
    two.send(5).await?;
    assert_eq!(one.recv().await?, 5);
    Ok(())
}

#[tokio::test]
async fn a_killed_peer_ends_what_is_pending() -> Result<()> {
    let (listener, address, _dog) = listen("killed");
    for sends in [false, true] {
        let role = Role::new("echo").through_test("peers_aio_entry").arg(&address);
        let mut child = role.spawn().expect("started");
        let peer: Peer<Vec<u8>> = listener.accept()?;
        let mut peer = Async::new(peer)?;
        peer.send(vec![1]).await?;
        assert_eq!(peer.recv().await?, vec![1]);
        let pending = tokio::spawn(async move {
            if !sends {
                return match peer.recv().await {
                    Err(RecvError::Failed(why)) => why,
                    other => panic!("{other:?}"),
                };
            }
            loop {
                // It sends them back and nobody receives, so both rings fill.
                match peer.send(vec![0; MIB]).await {
                    Ok(()) => {}
                    Err(SendError::Failed(_, why)) => return why,
                    Err(other) => panic!("{other}"),
                }
            }
        });
        tokio::task::yield_now().await;
        child.kill().expect("killed");
        let why = pending.await.expect("no panic");
        assert!(why.is_peer_dead(), "{why}");
    }
    Ok(())
}

#[tokio::test]
async fn many_peers_are_served_by_one_thread() -> Result<()> {
    let (listener, address, _dog) = listen("many");
    let clients = thread::spawn(move || {
        let mut peers: Vec<Peer<u32>> =
            (0..20).map(|_| connect(&address)).collect::<Result<_>>().expect("it listens");
        for round in 0..50 {
            for peer in &mut peers {
                peer.send(round).expect("it lives");
            }
            for peer in &mut peers {
                assert_eq!(peer.recv().expect("it lives"), round + 1);
            }
        }
    });
    let mut tasks = Vec::new();
    for _ in 0..20 {
        let mut peer: Async<Peer<u32>> = Async::new(listener.accept()?)?;
        tasks.push(tokio::spawn(async move {
            let mut count = 0;
            while let Some(number) = peer.next().await? {
                peer.send(number + 1).await?;
                count += 1;
            }
            Ok::<u32, Error>(count)
        }));
    }
    for task in tasks {
        assert_eq!(task.await.expect("no panic")?, 50);
    }
    clients.join().expect("no panic");
    Ok(())
}
