//! Unsafe code: only in the modules listed here, and each block argues from a written invariant.
//!
//! A `// SAFETY:` comment cites an invariant `I<n>` that a row of this file's head defines (or the head of
//! the module file above it), or, inside an unsafe function with a `# Safety` section, the contract of that
//! function. The list is short on purpose: it is the map of what has to be read when memory is corrupted.

use super::Finding;
use super::source::{Source, labels};

const RULE: &str = "unsafe";

/// Every module that may allow unsafe code, and what for.
pub(crate) const MODULES: &[(&str, &str)] = &[
    ("benches/src/control/copy.rs", "chunks of a control row, handed from end to end"),
    ("benches/src/control/index.rs", "slots of a control row, handed from end to end"),
    ("benches/src/control/vyukov.rs", "slots of a control row, handed from end to end"),
    ("benches/src/crew.rs", "forks the measured processes"),
    ("benches/src/locks/rivals/posix_sem.rs", "calls the C library"),
    ("benches/src/locks/rivals/pthread.rs", "calls the C library"),
    ("benches/src/locks/rivals/raw.rs", "gives memory to the rival"),
    ("benches/src/memory.rs", "maps the memory of the control rows"),
    ("benches/src/process/limits.rs", "a child in the memory of its starter"),
    ("benches/src/process/rivals.rs", "forks, as a rival"),
    ("benches/src/queues/ring.rs", "lends a mapping to the ring"),
    ("crates/ginnel/examples/open_shared_memory.rs", "makes an event in memory of another crate"),
    ("crates/ginnel/examples/raw_sync_event.rs", "makes an event in memory of another crate"),
    ("crates/object/src/compat/event.rs", "an event in memory of the caller's"),
    ("crates/object/src/compat/shmem.rs", "lends memory that other processes write"),
    ("crates/object/tests/compat.rs", "uses the unsafe traits of raw_sync"),
    ("crates/object/tests/heir.rs", "forks in a process with threads"),
    ("crates/object/src/store.rs", "borrows the words of a store, and a buffer for what is encoded"),
    ("crates/object/src/crew.rs", "lends the words of a crew, and the bytes in its slots"),
    ("crates/object/src/crew/submit.rs", "writes arguments where they are to lie"),
    ("crates/object/src/crew/take.rs", "reads results in trays"),
    ("crates/object/src/crew/worker/frame.rs", "reads arguments and writes results where they lie"),
    ("crates/object/src/handle.rs", "borrows the words of an object for its handle"),
    ("crates/object/src/message/out.rs", "writes a message to memory that was lent for it"),
    ("crates/object/src/mpsc.rs", "lends mappings to the lanes"),
    ("crates/object/src/mpsc/receiver.rs", "gives an end up exactly once"),
    ("crates/object/src/mpsc/sender.rs", "gives an end up exactly once"),
    ("crates/object/src/blocks.rs", "lends the bytes of a block to its one owner"),
    ("crates/object/src/mutex.rs", "lends the data of a mutex under its guard"),
    ("crates/object/src/rwlock.rs", "lends the data of a read-write lock"),
    ("crates/object/src/rwlock/guards.rs", "lends the data of a read-write lock under its guards"),
    ("crates/object/src/once.rs", "lends a value that is written once"),
    ("crates/object/src/shared.rs", "lends data that nobody writes any more"),
    ("crates/object/src/memory.rs", "lends shared bytes to those who vouch for them"),
    ("crates/object/src/simplex/intake.rs", "gives an end up exactly once"),
    ("crates/object/src/simplex/out.rs", "gives an end up exactly once"),
    ("crates/object/src/spsc.rs", "lends a mapping to the lane"),
    ("crates/object/src/spsc/consumer.rs", "gives an end up exactly once"),
    ("crates/object/src/spsc/producer.rs", "gives an end up exactly once"),
    ("crates/object/src/words.rs", "turns the pages of an object into its words"),
    ("crates/pipe/src/peer/link.rs", "lends the memory of a connection to its ends"),
    ("crates/pipe/src/peer/trust.rs", "gives an arena to a process that has to be trusted then"),
    ("crates/manager/tests/fork.rs", "forks a child whose other threads sleep"),
    ("crates/pool/tests/fork.rs", "forks a child whose other threads sleep"),
    ("crates/process/src/service/exit.rs", "registers a handler with the C library"),
    ("crates/process/src/service/requests.rs", "lends a borrowing closure to the service thread"),
    ("crates/process/tests/ends.rs", "ignores a signal, as a host may do"),
    ("crates/process/tests/exec.rs", "forks a child that has one thread"),
    ("crates/process/src/hook.rs", "a constructor before main, and what it inherits"),
    (
        "crates/process/src/image.rs",
        "reads the headers of the running program, and makes a function of a number",
    ),
    ("crates/process/src/start/fork.rs", "forks and ends the copy"),
    ("crates/process/src/task.rs", "takes a value of a type without size out of nothing"),
    ("crates/process/src/boot/settings.rs", "changes the environment of a new process"),
    ("crates/process/src/builder.rs", "hands the promise of who forks on"),
    ("crates/process/src/sandbox/landlock.rs", "three system calls without a wrapper"),
    ("crates/process/src/sandbox/seccomp.rs", "installs a filter of system calls"),
    ("crates/process/src/zygote/board.rs", "turns a mapping into its words"),
    (
        "crates/process/src/zygote/clone.rs",
        "the clone call, and what the C library wants told in the new process",
    ),
    ("crates/process/src/zygote/serve.rs", "closes what was inherited"),
    ("crates/process/tests/builder.rs", "a child changes its own environment"),
    (
        "crates/python/src/buffers.rs",
        "copies between buffers of Python and blocks, and lends blocks to Python",
    ),
    ("crates/python/src/buffers/fork.rs", "maps private copies over shared pages in the child of a fork"),
    ("crates/python/src/connection.rs", "the memory of an object that Python lends for a call"),
    ("crates/python/src/connection/note.rs", "receives into memory that Python lends"),
    ("crates/python/src/home.rs", "borrows a descriptor that Python gives as a number"),
    ("crates/queue/src/blocks.rs", "turns the memory of a pool into its words"),
    ("crates/queue/src/broadcast/attach.rs", "makes a broadcast channel of bytes"),
    ("crates/queue/src/broadcast/memory.rs", "turns positions of a broadcast channel into words"),
    ("crates/queue/src/lane.rs", "borrows the control page of a lane"),
    ("crates/queue/src/mpsc.rs", "borrows the controls of an mpsc"),
    ("crates/queue/src/mirrored.rs", "turns places of a ring into payload memory"),
    ("crates/queue/tests/blocks.rs", "lends heap memory to a pool of blocks"),
    ("crates/queue/tests/broadcast.rs", "lends heap memory to a broadcast channel"),
    ("crates/queue/tests/broadcast_processes.rs", "lends mapped memory to a broadcast channel"),
    ("crates/queue/src/ring.rs", "takes the promises about the memory of a ring"),
    ("crates/queue/src/slots.rs", "turns positions into words and payload memory"),
    ("crates/queue/tests/ring.rs", "lends heap memory to a ring"),
    ("crates/queue/tests/ring_threads.rs", "lends heap memory to a ring"),
    ("crates/queue/src/untrusted/memory.rs", "turns places of either half of an untrusted lane into memory"),
    ("crates/queue/tests/unbounded.rs", "lends heap memory to a ring that grows"),
    ("crates/queue/tests/loom.rs", "lends heap memory to the lane under loom"),
    ("crates/queue/tests/loom_mpsc.rs", "lends heap memory to the lanes under loom"),
    ("crates/segment/src/fork.rs", "a page that is empty in a forked child"),
    ("crates/segment/src/map.rs", "maps, and turns offsets into memory"),
    ("crates/segment/tests/sealed.rs", "tries to map what is sealed, and lends mapped memory to ends"),
    ("crates/segment/tests/support/mod.rs", "forks and maps, to be killed"),
    ("crates/segment/tests/untrusted.rs", "lends mapped memory to ends, and scribbles on it"),
    ("crates/sync/tests/process.rs", "maps the memory that two processes share"),
    ("crates/sync/tests/park.rs", "installs a signal handler, to interrupt a sleep"),
    ("crates/testkit/src/child.rs", "forks children for tests"),
    ("crates/testkit/src/scratch.rs", "words in a mapping for the log of a child"),
    ("fuzz/src/ring_ops.rs", "lends heap memory to a ring"),
    ("fuzz/src/untrusted_recv.rs", "lends mapped memory to ends, and writes nonsense into it"),
];

/// The blocks, impls and contracts of one file.
pub(crate) fn check(source: &Source, above: Option<&Source>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let heads = above.into_iter().chain([source]);
    let invariants: Vec<String> = heads.flat_map(|s| s.definitions('I')).map(|(label, ..)| label).collect();
    let mut report = |line, text: String| findings.push(Finding::new(&source.path, line, RULE, text));
    for site in &source.survey.unsafe_sites {
        let comments = source.comments_for(site.line, site.anchor);
        let Some(argument) = comments.iter().find_map(|text| Some(text.split_once("SAFETY:")?.1)) else {
            report(site.line, format!("the unsafe {} has no `// SAFETY:` comment", site.name));
            continue;
        };
        let cited = labels(argument, 'I');
        for unknown in cited.iter().filter(|label| !invariants.contains(label)) {
            report(site.line, format!("SAFETY cites {unknown}, which the head of this file does not state"));
        }
        let by_contract = site.contract && argument.contains("contract");
        if cited.is_empty() && !by_contract {
            let text =
                "SAFETY cites no invariant `I<n>` of this file (nor, in an unsafe function, its contract)";
            report(site.line, text.into());
        }
    }
    for (name, line, documented) in &source.survey.unsafe_contracts {
        if !documented {
            report(*line, format!("unsafe `{name}` has no `# Safety` section"));
        }
    }
    findings
}

/// Compares the modules that allow unsafe code with the list, in both directions.
pub(crate) fn check_list(sources: &[Source], list: &[(&str, &str)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        let listed = list.iter().any(|(path, _)| *path == source.path);
        let mut report = |line, text: &str| findings.push(Finding::new(&source.path, line, RULE, text));
        match source.survey.unsafe_allowed.first() {
            Some(line) if !listed => report(*line, "allows unsafe code and is not in the list of tidy"),
            None if listed => report(1, "is in the list of tidy and allows no unsafe code: take it out"),
            _ => {}
        }
        if !source.survey.unsafe_allowed.is_empty() && source.survey.unsafe_sites.is_empty() {
            report(1, "allows unsafe code and has none");
        }
    }
    for (path, reason) in list {
        if !sources.iter().any(|source| source.path == *path) {
            findings.push(Finding::new(path, 1, RULE, "is in the list of tidy and does not exist"));
        }
        if reason.is_empty() {
            findings.push(Finding::new(path, 1, RULE, "is in the list of tidy without a reason"));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "//! A.\n//! - I1: the pointer is valid.\n#![allow(unsafe_code, reason = \"r\")]\n";

    fn source(body: &str) -> Source {
        Source::parse("a.rs", &format!("{HEAD}{body}")).unwrap()
    }

    fn texts(body: &str) -> Vec<String> {
        check(&source(body), None).into_iter().map(|finding| finding.text).collect()
    }

    #[test]
    fn a_block_that_cites_an_invariant_passes() {
        assert!(texts("fn f() {\n    // SAFETY: I1, p came from new.\n    unsafe { g(p) }\n}\n").is_empty());
        assert!(texts("// SAFETY: by I1.\nunsafe impl Send for A {}\n").is_empty());
    }

    #[test]
    fn no_comment_no_citation_and_a_false_citation_fail() {
        assert!(texts("fn f() {\n    unsafe { g(p) }\n}\n")[0].contains("no `// SAFETY:`"));
        assert!(
            texts("fn f() {\n    // SAFETY: it is fine.\n    unsafe { g(p) }\n}\n")[0]
                .contains("no invariant")
        );
        assert!(texts("fn f() {\n    // SAFETY: I2.\n    unsafe { g(p) }\n}\n")[0].contains("cites I2"));
        assert_eq!(texts("unsafe impl Send for A {}\n").len(), 1);
        assert_eq!(texts("macro_rules! m { () => { unsafe { g() } } }\n").len(), 1);
    }

    #[test]
    fn the_head_of_the_module_above_counts() {
        let below = Source::parse("a/b.rs", "//! B.\nfn f() {\n    // SAFETY: I1.\n    unsafe { g(p) }\n}\n")
            .unwrap();
        assert_eq!(check(&below, None).len(), 1);
        assert!(check(&below, Some(&source(""))).is_empty());
    }

    #[test]
    fn a_contract_counts_inside_a_documented_unsafe_function_only() {
        let block = "    // SAFETY: the contract of this function.\n    unsafe { g(p) }\n}\n";
        assert!(
            texts(&format!("/// A.\n/// # Safety\n/// p is valid.\nunsafe fn f() {{\n{block}")).is_empty()
        );
        assert_eq!(texts(&format!("fn f() {{\n{block}")).len(), 1);
        assert_eq!(texts(&format!("unsafe fn f() {{\n{block}")).len(), 2);
    }

    #[test]
    fn the_list_must_match_the_tree() {
        let block = "fn f() {\n    // SAFETY: I1.\n    unsafe { g(p) }\n}\n";
        assert!(check_list(&[source(block)], &[("a.rs", "r")]).is_empty());
        assert_eq!(check_list(&[source(block)], &[]).len(), 1);
        assert_eq!(check_list(&[source(block)], &[("a.rs", "")]).len(), 1);
        assert_eq!(check_list(&[source(block)], &[("a.rs", "r"), ("b.rs", "r")]).len(), 1);
        assert_eq!(check_list(&[source("fn f() {}\n")], &[("a.rs", "r")]).len(), 1);
        let plain = Source::parse("a.rs", "//! A.\n").unwrap();
        assert_eq!(check_list(&[plain], &[("a.rs", "r")]).len(), 1);
    }
}
