//! A service on tokio that talks to a worker process which blocks: many tasks ask, one process computes.
//!
//! ```text
//! cargo run --release -p ginnel --features tokio --example tokio_worker
//! ```

use std::time::Duration;

use ginnel::pipe::Pipe;
use ginnel::tokio::Async;
use ginnel::{Process, Result};

/// A number that is to be factored, and its factors.
type Question = u64;
type Answer = (u64, Vec<u64>);

/// Knows nothing of tokio, and may take as long as it likes.
fn factor(mut questions: Pipe<Answer, Question>) -> Result<()> {
    while let Some(number) = questions.next()? {
        let (mut rest, mut factors) = (number, Vec::new());
        for candidate in 2.. {
            if candidate * candidate > rest {
                break;
            }
            while rest.is_multiple_of(candidate) {
                factors.push(candidate);
                rest /= candidate;
            }
        }
        factors.extend((rest > 1).then_some(rest));
        questions.send((number, factors))?;
    }
    Ok(())
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let (ours, theirs) = Pipe::<Question, Answer>::pair()?;
    let worker = Process::spawn(factor, theirs)?;
    let runtime = ::tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (ask, answers) = ours.split();
        let (mut ask, mut answers) = (Async::new(ask)?, Async::new(answers)?);
        // The service goes on with other things while the worker works.
        let ticks = ::tokio::spawn(async {
            let mut every = ::tokio::time::interval(Duration::from_millis(1));
            loop {
                every.tick().await;
            }
        });
        let asking = ::tokio::spawn(async move {
            for number in [97, 360, 1_000_003 * 1_000_033] {
                ask.send(number).await?;
            }
            Ok::<_, ginnel::Error>(())
        });
        while let Some((number, factors)) = answers.next().await? {
            println!("{number} = {factors:?}");
            if number > 1_000_000 {
                break;
            }
        }
        asking.await??;
        ticks.abort();
        Ok::<_, Box<dyn std::error::Error>>(())
    })?;
    worker.join()??;
    Ok(())
}
