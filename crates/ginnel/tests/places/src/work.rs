//! What both of them do: children by each method, and what is heard of them.

use ginnel::process::{ProcessError, Start};
use ginnel::{Process, Queue};

fn multiply(queue: Queue<u32>, a: u32, b: u32) -> ginnel::Result<u32> {
    queue.send(a)?;
    Ok(a * b)
}

fn fail() {
    panic!("on purpose");
}

fn abort() {
    std::process::abort()
}

fn preloads() -> String {
    std::env::var("LD_PRELOAD").unwrap_or_default()
}

/// One line for each thing, `name value`.
pub fn all() -> ginnel::Result<Vec<String>> {
    let mut lines = Vec::new();
    for (name, start) in [("exec", Start::Exec), ("zygote", Start::Zygote), ("auto", Start::Auto)] {
        let queue = Queue::bounded(4)?;
        let child = Process::builder().start(start).spawn(multiply, (&queue, 6_u32, 7_u32))?;
        let product = child.join()??;
        lines.push(format!("{name} {product} {}", queue.recv()?));
        let panicked = Process::builder().start(start).spawn(fail, ())?.join();
        let Err(ProcessError::Panicked(panic)) = panicked else {
            lines.push(format!("{name}-panic {panicked:?}"));
            continue;
        };
        lines.push(format!("{name}-panic {}", panic.message()));
        let aborted = Process::builder().start(start).spawn(abort, ())?;
        aborted.wait();
        lines.push(format!("{name}-abort {:?}", aborted.exit_code()));
        lines.push(format!("{name}-preloads {:?}", Process::builder().start(start).spawn(preloads, ())?.join()?));
    }
    Ok(lines)
}
