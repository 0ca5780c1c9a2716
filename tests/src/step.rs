//! Every operation, interrupted by SIGKILL after each of its instructions.
//!
//! A [`Target`] is one operation in several states of the world. Its check recovers as a survivor would and compares
//! with the row of the crash table, exactly: what may have been sent, acknowledged or held at that instruction, and
//! nothing else; then full capacity, all participants' places, no object and no page left.

mod block;
mod broadcast;
mod control;
mod lane;
mod letter;
mod mpsc;
mod mutex;
mod peer;
mod pipe;
mod pool;
mod preempt;
mod process;
mod queue;
mod segment;
mod store;
mod sync;
mod value;

use ginnel::blocks::Block;
use ginnel::sync::Mutex;
use ginnel_testkit::sweep::{Fault, Plan, Report, Subject, sweep};

/// Hears how far a target is: trials done, of how many.
pub type Progress<'a> = &'a mut dyn FnMut(usize, usize);

/// An operation, in all its states.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// How it is called on the command line.
    pub name: &'static str,
    /// What is interrupted.
    pub what: &'static str,
    /// A broken one, which shows that the harness sees damage: it must fail.
    pub must_fail: bool,
    run: fn(&Plan, Progress<'_>) -> Result<Report, Fault>,
}

impl Target {
    const fn new(
        name: &'static str,
        what: &'static str,
        run: fn(&Plan, Progress<'_>) -> Result<Report, Fault>,
    ) -> Self {
        Self { name, what, must_fail: false, run }
    }

    const fn broken(self) -> Self {
        Self { must_fail: true, ..self }
    }

    /// Runs all its states, in a process with one thread.
    ///
    /// # Errors
    /// The first place where the comparison failed. For a broken target that is what has to happen.
    pub fn run(&self, plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
        (self.run)(plan, progress)
    }
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target::new("send", "send one message; the lane empty, filled, full, at its seam", lane::send),
    Target::new("send-many", "send 3 and 32 messages at once, with room for all or some", lane::send_many),
    Target::new("recv", "receive one message by copy", lane::recv),
    Target::new("recv-many", "receive up to 8 messages by copy, single ones and batches", lane::recv_many),
    Target::new("claim-commit", "write a message in place and commit it", lane::claim_commit),
    Target::new("claim-abort", "write a message in place and drop it", lane::claim_abort),
    Target::new("loan-release", "read a message in place and release it", lane::loan_release),
    Target::new("recv-asleep", "wait for a message that does not come", lane::recv_asleep),
    Target::new("take-ends", "take the end of a lane by its name", lane::take_ends),
    Target::new("lock", "lock a free mutex", mutex::lock),
    Target::new("lock-asleep", "wait for a mutex that another holds", mutex::lock_asleep),
    Target::new("unlock", "unlock a mutex after a change", mutex::unlock),
    Target::new("lock-or-repair", "repair what a dead holder left", mutex::lock_or_repair),
    Target::new("create", "make a named object", segment::create),
    Target::new("release", "drop the last handle of an object without a name", segment::release),
    Target::new("attach", "attach to a segment", segment::attach),
    Target::new("detach", "detach, with an end and objects in hand", segment::detach),
    Target::new("recover", "recover a dead one that held a lock, an end and an object", segment::recover),
    Target::new("create-named", "make a segment with a name", segment::create_named),
    Target::new("remove-stale", "remove a named segment that nobody has", segment::remove_stale),
    Target::new(
        "send-beside",
        "send while the consumer takes all, at each instruction of the send",
        preempt::send,
    ),
    Target::new(
        "recv-beside",
        "receive while the producer fills the lane, at each instruction",
        preempt::recv,
    ),
    Target::new(
        "queue-push",
        "send to a queue: empty, full, a sleeper to wake, behind a send given up",
        queue::push,
    ),
    Target::new("queue-pop", "receive: also what was put back, also the last of a closed queue", queue::pop),
    Target::new("queue-asleep", "wait in vain: for room, a message, a lease, the last ack", queue::asleep),
    Target::new("queue-lease", "lease a message: from its slot into a cell", queue::lease),
    Target::new("queue-ack", "acknowledge a lease, beside those who wait for it", queue::ack),
    Target::new("queue-nack", "give a lease back, beside those who wait for it", queue::nack),
    Target::new("queue-close", "close a queue at which others sleep", queue::close),
    Target::new("queue-recover", "recover one who died half-way in an act on a queue", queue::recover),
    Target::new("letter-send", "send a message with a handle in it", letter::send::<Mutex<u64>>),
    Target::new("letter-recv", "receive a message with a handle in it", letter::recv::<Mutex<u64>>),
    Target::new("letter-lease", "lease a message with a handle in it", letter::lease::<Mutex<u64>>),
    Target::new("letter-end-lease", "acknowledge it, give it back", letter::end_lease::<Mutex<u64>>),
    Target::new(
        "letter-recover",
        "recover one who died half-way with a handle in transit",
        letter::recover::<Mutex<u64>>,
    ),
    Target::new(
        "drop-queue",
        "drop the last handle of a queue with handles in its messages",
        letter::drop_queue,
    ),
    Target::new("drop-side", "drop the last sender, the last receiver of a channel", letter::drop_side),
    Target::new("block-claim", "claim a block", block::claim),
    Target::new("block-release", "give a block back, one who waits for it", block::release),
    Target::new("block-send", "send a block", letter::send::<Block>),
    Target::new("block-recv", "receive a block: a view of it", letter::recv::<Block>),
    Target::new("block-lease", "lease a message with a block in it", letter::lease::<Block>),
    Target::new("block-end-lease", "acknowledge it, give it back", letter::end_lease::<Block>),
    Target::new("block-recover", "recover one who died half-way with a block", letter::recover::<Block>),
    Target::new("ends-send", "send a message with both ends of a lane in it", letter::send::<letter::Ends>),
    Target::new(
        "ends-recv",
        "receive a message with both ends of a lane in it",
        letter::recv::<letter::Ends>,
    ),
    Target::new("ends-recover", "recover one who died half-way with ends in transit", letter::recover_ends),
    Target::new("end-send", "send an end, whose other end waits elsewhere", letter::send_end),
    Target::new("end-recv", "receive it", letter::recv_end),
    Target::new("end-redeem", "put an end into a token, redeem the token", letter::redeem_end),
    Target::new("end-drop", "drop the last handle of a queue with an end in it", letter::drop_with_end),
    Target::new("pipe-send", "send through a pipe: short, with a handle, in parts", pipe::send),
    Target::new("pipe-recv", "receive from it", pipe::recv),
    Target::new("pipe-close", "close one end of a duplex pipe", pipe::close),
    Target::new("pipe-abandon", "drop the last end of a pipe that carries handles", pipe::abandon),
    Target::new("peer-send", "send to a peer: short, in parts", peer::send),
    Target::new("peer-recv", "receive from a peer: short, in parts", peer::recv),
    Target::new("peer-close", "close a connection with messages in both directions", peer::close),
    Target::new("peer-connect", "connect to a listener", peer::connect),
    Target::new("peer-listen", "listen at a path, and leave it", peer::listen),
    Target::new("peer-accept", "let a client in", peer::accept),
    Target::new("mpsc-send", "send through an mpsc channel", mpsc::send),
    Target::new("mpsc-recv", "receive from an mpsc channel", mpsc::recv),
    Target::new("mpsc-ends", "take and give up the ends of an mpsc channel", mpsc::ends),
    Target::new("broadcast-send", "overwrite the oldest message of a broadcast channel", broadcast::send),
    Target::new("broadcast-recv", "receive from a broadcast channel, which changes nothing", broadcast::recv),
    Target::new("broadcast-recover", "recover one who died in the middle of a broadcast", broadcast::recover),
    Target::new("mutex-door", "enter and leave a mutex, beside others who sleep at it", sync::mutex),
    Target::new("lock-door", "the same with a lock; release what another took", sync::lock),
    Target::new("rlock-door", "the same with a recursive lock; enter twice, leave twice", sync::rlock),
    Target::new("lock-watched", "the same where deadlocks are detected; close a cycle", sync::detect),
    Target::new("locks-recover", "recover one who died inside a lock", sync::locks_recover),
    Target::new("rwlock-read", "read, also once more, also beside others", sync::rwlock_read),
    Target::new("rwlock-write", "write: wait for readers, change half, wake both kinds", sync::rwlock_write),
    Target::new("rwlock-recover", "recover a reader, a writer", sync::rwlock_recover),
    Target::new("condvar", "wait for a condition; notify none, one, two who sleep", sync::condvar),
    Target::new("condvar-recover", "recover one who was to notify", sync::condvar_recover),
    Target::new("semaphore", "acquire, release, wait for a semaphore", sync::semaphore),
    Target::new("event", "set, clear, wait for an event that stays set", sync::event),
    Target::new("event-auto", "set and take an event that lets one pass", sync::event_auto),
    Target::new("signals-recover", "recover one who gave and woke nobody", sync::signals_recover),
    Target::new("permits", "acquire and release permits, one of one and one of two", sync::permits),
    Target::new("permits-recover", "recover one who died with the permit", sync::permits_recover),
    Target::new(
        "barrier-break",
        "arrive, lead, give up, abort, reset; a death breaks it",
        sync::barrier_break,
    ),
    Target::new("barrier-leave", "the same; the dead leave it", sync::barrier_leave),
    Target::new("barrier-recover", "recover one who died at a barrier", sync::barrier_recover),
    Target::new("once", "do it, find it done, set and wait for a value", sync::once),
    Target::new("once-recover", "recover one who died in the call", sync::once_recover),
    Target::new("select-lock", "wait for a lock or an event", sync::select_lock),
    Target::new("select-semaphore", "wait for a semaphore or an event", sync::select_semaphore),
    Target::new("select-queue", "wait for a message or an event", sync::select_queue),
    Target::new("bells", "wait by a descriptor", sync::bells),
    Target::new("select-recover", "recover somebody whom they wait for", sync::select_recover),
    Target::new("process-start", "make the record of a start, publish it, take it back", process::start),
    Target::new("process-child", "redeem, start, take the arguments, leave a result", process::child),
    Target::new("process-take", "take the result of a child that has ended", process::take),
    Target::new(
        "process-dismantle",
        "recover a starter, and a starter with its child: the record is taken apart",
        process::dismantle,
    ),
    Target::new(
        "pool-worker",
        "claim, run and commit a task, which is then run again or given up",
        pool::worker,
    ),
    Target::new("pool-chunk", "run three items of a chunk", pool::chunk),
    Target::new("pool-parent", "submit a task, cancel it, take the result of one", pool::parent),
    Target::new("pool-recover", "recover a worker in a task, and a parent with its worker", pool::recover),
    Target::new("value-set", "replace a value of three words", value::set),
    Target::new("value-update", "update it", value::update),
    Target::new("array", "write the elements of an array, read one", value::array),
    Target::new("dict-insert", "put a key that is not there", store::insert),
    Target::new("dict-replace", "put a key that is there", store::replace),
    Target::new("dict-remove", "remove a key, or all", store::remove),
    Target::new("dict-update", "change a value under the lock", store::update),
    Target::new("dict-counter", "change a number in place", store::counter),
    Target::new("dict-rehash", "put a key for which the table is too small, or full of tombs", store::rehash),
    Target::new("dict-memory", "take and give back memory of every kind", store::allocate),
    Target::new("dict-transaction", "change three keys at once", store::transaction),
    Target::new("dict-recover", "recover one who died half-way in a dict", store::recover),
    Target::new("list-ends", "push, extend, pop, truncate, set: in place", store::list_ends),
    Target::new("list-middle", "insert, remove, sort, clear: by another directory", store::list_middle),
    Target::new("control-nobodys", "a lock that does not know who holds it", sync::nobodys).broken(),
    Target::new("push-stopped", "send, stopped at each instruction while others work", queue::push_stopped),
    Target::new("pop-stopped", "receive, stopped at each instruction", queue::pop_stopped),
    Target::new("lease-stopped", "lease, stopped at each instruction", queue::lease_stopped),
    Target::new("ack-stopped", "acknowledge and give back, stopped at each instruction", queue::ack_stopped),
    Target::new("control-right", "the harness's own lane, in the right order", control::right),
    Target::new("control-broken", "the same lane, committing before it writes", control::broken).broken(),
    Target::new("control-plain", "a plain queue, nobody dies: right", control::plain_beside),
    Target::new(
        "control-plain-push",
        "push into a plain queue, which is not made for deaths",
        control::plain_push,
    )
    .broken(),
    Target::new(
        "control-plain-pop",
        "pop from a plain queue, which is not made for deaths",
        control::plain_pop,
    )
    .broken(),
];

/// Runs one subject after the other and adds up.
fn all<W>(
    plan: &Plan,
    progress: Progress<'_>,
    subjects: impl IntoIterator<Item = (String, Subject<'static, W>)>,
) -> Result<Report, Fault> {
    let mut total = Report::default();
    for (state, mut subject) in subjects {
        let report = sweep(plan, &mut subject, &mut *progress).map_err(|mut fault| {
            fault.what = format!("{state}: {}", fault.what);
            fault.trials += total.trials;
            fault
        })?;
        total = total.and(report);
    }
    Ok(total)
}
